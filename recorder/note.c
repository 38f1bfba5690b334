/* The in-process side of the recorder: a lock-free trie of hashes in a shared mapping.
 *
 * Runs inside the user's process, in any context: no heap, no lock, no descriptor kept, no libc. */
#include "recorder/note.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <time.h>

#include "libdlcache/hash.h"
#include "libdlcache/sys.h"

/* Address space, not storage: a process that touches more than this loses notes, and the header says how many. */
#define SPOOL_MAX ((uint64_t)1 << 30)
/* Storage is taken before it is written to: a write into a hole of a full file system would be a SIGBUS. */
#define CHUNK ((uint64_t)256 << 10)

static uint64_t now_ns(void)
{
    struct timespec ts = {0, 0};
    sys_call(__NR_clock_gettime, CLOCK_REALTIME, &ts, 0, 0);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static size_t put_text(char *buf, size_t n, size_t size, const char *text)
{
    while (*text && n + 1 < size)
        buf[n++] = *text++;
    buf[n] = '\0';
    return n;
}

static size_t put_number(char *buf, size_t n, size_t size, uint64_t number)
{
    char digits[24];
    size_t d = sizeof digits;

    digits[--d] = '\0';
    do
        digits[--d] = (char)('0' + number % 10);
    while (number /= 10);
    return put_text(buf, n, size, digits + d);
}

/* Of a file system without fallocate (NFSv3, ext2). Zeros are appended, never written where a note may be already:
 * others who do the same only make the file longer. */
static int append_storage(int fd, uint64_t end)
{
    static const char zeros[4096];
    struct stat st;
    int rc;

    while ((rc = sys_fstat(fd, &st)) == 0 && (uint64_t)st.st_size < end) {
        const long n = sys_write(fd, zeros, sizeof zeros);
        if (n < 0 && n != -EINTR)
            return (int)n;
    }
    return rc;
}

/* Storage up to `end`; the descriptor is one with O_APPEND. */
static int take_storage(int fd, uint64_t end)
{
    struct rlimit most;
    long rc;

    /* Beyond that, a signal would come. */
    if (sys_call(__NR_prlimit64, 0, RLIMIT_FSIZE, 0, (long)&most) == 0 && end > most.rlim_cur)
        return -EFBIG;
    do
        rc = sys_call(__NR_fallocate, fd, 0, 0, end);
    while (rc == -EINTR);
    return rc == -EOPNOTSUPP || rc == -ENOSYS ? append_storage(fd, end) : (int)rc;
}

int recorder_open(struct recorder *r, const char *dir, const char *door, long rank)
{
    const uint64_t start = now_ns();
    struct utsname uts = {0};
    const unsigned pid = (unsigned)sys_call(__NR_getpid, 0, 0, 0, 0);
    int fd = -EEXIST;

    r->spool = NULL;
    if (dlc_strlen(dir) + 64 > sizeof r->file)
        return -ENAMETOOLONG;
    /* A process that execs keeps its pid and gets a new file: the time tells them apart. */
    for (unsigned try = 0; try < 100 && fd == -EEXIST; try++) {
        size_t n = put_text(r->file, 0, sizeof r->file, dir);
        n = put_text(r->file, n, sizeof r->file, "/");
        n = put_number(r->file, n, sizeof r->file, pid);
        n = put_text(r->file, n, sizeof r->file, ".");
        n = put_number(r->file, n, sizeof r->file, start + try);
        n = put_text(r->file, n, sizeof r->file, ".");
        n = put_text(r->file, n, sizeof r->file, door);
        put_text(r->file, n, sizeof r->file, SPOOL_SUFFIX);
        fd = sys_openat(AT_FDCWD, r->file, O_RDWR | O_APPEND | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    }
    if (fd < 0)
        return fd;
    int rc = take_storage(fd, CHUNK);
    struct spool_header *h = NULL;
    if (rc == 0) {
        h = sys_mmap(SPOOL_MAX, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (!h)
            rc = -ENOMEM;
    }
    sys_close(fd);
    if (rc) {
        sys_call(__NR_unlinkat, AT_FDCWD, r->file, 0, 0);
        return rc;
    }
    h->version = SPOOL_VERSION;
    h->pid = pid;
    h->size = SPOOL_MAX;
    h->used = SPOOL_FIRST;
    h->allocated = CHUNK;
    h->start_ns = start;
    h->rank = rank;
    sys_call(__NR_uname, &uts, 0, 0, 0);
    put_text(h->host, 0, sizeof h->host, uts.nodename);
    long n = sys_readlinkat(AT_FDCWD, "/proc/self/exe", h->exe, sizeof h->exe - 1);
    h->exe[n > 0 ? n : 0] = '\0';
    uint64_t magic;
    __builtin_memcpy(&magic, SPOOL_MAGIC, sizeof magic);
    __atomic_store_n((uint64_t *)(void *)h->magic, magic, __ATOMIC_RELEASE); /* last: before, it is no spool */
    r->spool = h;
    return 0;
}

/* More storage, up to `end`. Several threads, and the processes of a fork, may come here at once: taking it twice is
 * harmless. */
static int extend(struct recorder *r, uint64_t end)
{
    struct spool_header *h = r->spool;
    uint64_t have = __atomic_load_n(&h->allocated, __ATOMIC_ACQUIRE);

    if (end <= have)
        return 0;
    if (end > h->size || __atomic_load_n(&h->dead, __ATOMIC_RELAXED))
        return -ENOSPC;
    const uint64_t want = (end + CHUNK - 1) / CHUNK * CHUNK;
    int fd = sys_openat(AT_FDCWD, r->file, O_RDWR | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0);
    int rc = fd < 0 ? fd : take_storage(fd, want);
    if (fd >= 0)
        sys_close(fd);
    if (rc) {
        /* For good only where the storage is at its end: a process that is out of descriptors, or somebody else, or in
         * another root, shares the file with others, who can. */
        if (rc == -ENOSPC || rc == -EDQUOT || rc == -EIO || rc == -EROFS)
            __atomic_store_n(&h->dead, 1, __ATOMIC_RELAXED);
        return rc;
    }
    while (have < want && !__atomic_compare_exchange_n(&h->allocated, &have, want, 0, __ATOMIC_RELEASE, __ATOMIC_ACQUIRE))
        ;
    return 0;
}

static struct spool_note *note_at(struct spool_header *h, uint32_t place)
{
    return (struct spool_note *)((char *)h + (uint64_t)place * 8);
}

/* The place of a new note, which nothing leads to yet; 0 where there is no room. */
static uint32_t new_note(struct recorder *r, uint32_t hash, enum spool_op op, enum spool_result result,
                         const char *path, size_t len)
{
    const uint64_t bytes = SPOOL_NOTE_BYTES(len);
    const uint64_t offset = __atomic_fetch_add(&r->spool->used, bytes, __ATOMIC_RELAXED);

    if (extend(r, offset + bytes) != 0) {
        __atomic_fetch_add(&r->spool->lost, 1, __ATOMIC_RELAXED);
        return 0;
    }
    struct spool_note *n = note_at(r->spool, (uint32_t)(offset / 8));
    n->hash = hash;
    n->when = now_ns();
    n->count = 1;
    n->len = (uint16_t)len;
    n->op = (uint8_t)op;
    n->result = (uint8_t)result;
    __builtin_memcpy(n->path, path, len);
    n->path[len] = '\0';
    return (uint32_t)(offset / 8);
}

void recorder_note(struct recorder *r, enum spool_op op, enum spool_result result, const char *path, size_t len)
{
    struct spool_header *h = r->spool;
    uint32_t place, own = 0;

    if (!h || len == 0 || len > 0xffff || path[0] != '/')
        return;
    const uint64_t hash = dlc_hash64((uint64_t)op << 8 | result, path, len);
    uint64_t way = hash / SPOOL_HEADS;
    uint32_t *slot = (uint32_t *)(h + 1) + hash % SPOOL_HEADS;

    for (;;) {
        while ((place = __atomic_load_n(slot, __ATOMIC_ACQUIRE))) {
            struct spool_note *n = note_at(h, place);
            if (n->hash == (uint32_t)hash && n->op == op && n->result == result && n->len == len &&
                dlc_same(n->path, path, len)) {
                __atomic_fetch_add(&n->count, 1, __ATOMIC_RELAXED);
                return; /* our own, if another was quicker, stays where nothing leads to it */
            }
            slot = &n->child[way % SPOOL_CHILDREN];
            way /= SPOOL_CHILDREN;
        }
        if (!own && !(own = new_note(r, (uint32_t)hash, op, result, path, len)))
            return;
        /* Where another has got the slot, the way leads on from there. */
        if (__atomic_compare_exchange_n(slot, &place, own, 0, __ATOMIC_RELEASE, __ATOMIC_RELAXED))
            return;
    }
}

/* Below the current directory, or a descriptor's. With less than `room` bytes of the stack, which may be a handler's;
 * false: it takes more. */
static __attribute__((noinline)) int note_below(size_t room, struct recorder *r, enum spool_op op,
                                                enum spool_result result, int dirfd, const char *path, size_t len)
{
    char *const buf = __builtin_alloca(room);
    long n;

    if (dirfd == AT_FDCWD) {
        n = sys_getcwd(buf, room) - 1;
        if (n == -ERANGE - 1)
            return 0;
    } else {
        char link[40];
        size_t at = put_text(link, 0, sizeof link, "/proc/self/fd/");
        put_number(link, at, sizeof link, (uint64_t)(unsigned)dirfd);
        n = sys_readlinkat(AT_FDCWD, link, buf, room);
    }
    if (n <= 0 || buf[0] != '/')
        return 1; /* unreachable, deleted, or no directory at all */
    if ((size_t)n + 1 + len > room)
        return 0;
    buf[n++] = '/';
    __builtin_memcpy(buf + n, path, len);
    recorder_note(r, op, result, buf, (size_t)n + len);
    return 1;
}

void recorder_note_at(struct recorder *r, enum spool_op op, enum spool_result result, int dirfd, const char *path,
                      size_t len)
{
    enum { LONGEST = 4096 }; /* nobody can ask for a longer path by its name */

    if (!r->spool || len == 0 || len >= LONGEST)
        return;
    if (path[0] == '/')
        recorder_note(r, op, result, path, len);
    else if (!note_below(1024, r, op, result, dirfd, path, len))
        note_below(LONGEST, r, op, result, dirfd, path, len);
}
