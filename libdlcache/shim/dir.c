/* Directory streams. Rules: shim.h.
 *
 * The stream of a frozen directory is one of its mirror, which has every name: only d_ino and d_type are put right. */
#include "libdlcache/sys.h"
#include "shim.h"

_Static_assert(sizeof(struct dirent) == sizeof(struct dirent64), "one dirent for both names");

/* --- the open streams of mirror directories --------------------------------------------------------------------- */

/* A stream is only made by opendir and fdopendir, so that this table is exact, as one of descriptors could not be. A
 * stream finds its slot within PROBES of its hash or not at all: then the original is read. Stored is node + 1. */
#define STREAMS 1024u
#define PROBES 16u
static struct {
    DIR *dir;
    uint32_t node1;
} streams[STREAMS] DLC_LARGE;

static unsigned slot(const DIR *dir, unsigned probe)
{
    const uint64_t hash = (uintptr_t)dir * 0x9e3779b97f4a7c15ull >> 32;
    return (unsigned)(hash + probe) % STREAMS;
}

static bool remember(DIR *dir, uint32_t node)
{
    for (unsigned i = 0; i < PROBES; i++) {
        DIR *none = NULL;
        const unsigned s = slot(dir, i);
        if (__atomic_compare_exchange_n(&streams[s].dir, &none, dir, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED)) {
            __atomic_store_n(&streams[s].node1, node + 1, __ATOMIC_RELEASE);
            return true;
        }
    }
    return false;
}

static unsigned slot_of(const DIR *dir)
{
    for (unsigned i = 0; i < PROBES; i++) {
        const unsigned s = slot(dir, i);
        if (__atomic_load_n(&streams[s].dir, __ATOMIC_ACQUIRE) == dir)
            return s;
    }
    return STREAMS;
}

static void forget(const DIR *dir)
{
    const unsigned s = slot_of(dir);

    if (s < STREAMS) {
        __atomic_store_n(&streams[s].node1, 0, __ATOMIC_RELAXED);
        __atomic_store_n(&streams[s].dir, NULL, __ATOMIC_RELEASE);
    }
}

static uint32_t node_of(const DIR *dir)
{
    if (!shim.serving || !dir)
        return DLC_NONE;
    const unsigned s = slot_of(dir);
    return s < STREAMS ? __atomic_load_n(&streams[s].node1, __ATOMIC_ACQUIRE) - 1 : DLC_NONE;
}

/* --- entries ---------------------------------------------------------------------------------------------------- */

/* What the directory's own file system says of an entry. */
static void correct(uint32_t dir, const char *name, ino64_t *ino, unsigned char *type)
{
    const struct image *im = &shim.stage.view.image;
    const size_t len = strlen(name);
    uint32_t node;

    if (len == 1 && name[0] == '.')
        node = dir;
    else if (len == 2 && name[0] == '.' && name[1] == '.')
        node = im->nodes[dir].parent;
    else
        node = image_find(im, dir, name, len);
    if (node == DLC_NONE)
        return;
    if (im->nodes[node].ino)
        *ino = im->nodes[node].ino;
    *type = im->nodes[node].kind;
}

struct dirent *readdir(DIR *dir)
{
    struct dirent *entry = REAL(readdir)(dir);
    const uint32_t node = entry ? node_of(dir) : DLC_NONE;
    if (node != DLC_NONE)
        correct(node, entry->d_name, &entry->d_ino, &entry->d_type);
    return entry;
}

struct dirent64 *readdir64(DIR *dir)
{
    struct dirent64 *entry = REAL(readdir64)(dir);
    const uint32_t node = entry ? node_of(dir) : DLC_NONE;
    if (node != DLC_NONE)
        correct(node, entry->d_name, &entry->d_ino, &entry->d_type);
    return entry;
}

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
int readdir_r(DIR *dir, struct dirent *entry, struct dirent **result)
{
    const int rc = REAL(readdir_r)(dir, entry, result);
    const uint32_t node = rc == 0 && *result ? node_of(dir) : DLC_NONE;
    if (node != DLC_NONE)
        correct(node, entry->d_name, &entry->d_ino, &entry->d_type);
    return rc;
}

int readdir64_r(DIR *dir, struct dirent64 *entry, struct dirent64 **result)
{
    const int rc = REAL(readdir64_r)(dir, entry, result);
    const uint32_t node = rc == 0 && *result ? node_of(dir) : DLC_NONE;
    if (node != DLC_NONE)
        correct(node, entry->d_name, &entry->d_ino, &entry->d_type);
    return rc;
}
#pragma GCC diagnostic pop

/* n bytes of entries, as they were read from fd. */
static ssize_t correct_all(ssize_t n, int fd, void *buf)
{
    const uint32_t node = n > 0 && shim.serving ? shim_node_of_fd(fd) : DLC_NONE;

    if (node == DLC_NONE)
        return n;
    for (ssize_t at = 0; at < n;) {
        struct dirent64 *entry = (struct dirent64 *)((char *)buf + at);
        correct(node, entry->d_name, &entry->d_ino, &entry->d_type);
        at += entry->d_reclen;
    }
    return n;
}

/* The node of a directory of the mirror that is as it was. One whose names came or went becomes the original's, where
 * nothing was read of it yet. */
static uint32_t current_node(int fd)
{
    const uint32_t node = shim_node_of_fd(fd);

    if (node == DLC_NONE || !shim_is_dirty(node, DLC_D_SELF | DLC_D_NAMES) ||
        sys_call(__NR_lseek, fd, 0, SEEK_CUR, 0) != 0)
        return node;
    shim_reopen(fd);
    return shim_node_of_fd(fd);
}

ssize_t getdents64(int fd, void *buf, size_t size)
{
    if (shim.serving)
        current_node(fd);
    return correct_all(REAL(getdents64)(fd, buf, size), fd, buf);
}

ssize_t getdirentries(int fd, char *buf, size_t size, off_t *base)
{
    if (shim.serving)
        current_node(fd);
    return correct_all(REAL(getdirentries)(fd, buf, size, base), fd, buf);
}

ssize_t getdirentries64(int fd, char *buf, size_t size, off64_t *base)
{
    if (shim.serving)
        current_node(fd);
    return correct_all(REAL(getdirentries64)(fd, buf, size, base), fd, buf);
}

/* --- streams ---------------------------------------------------------------------------------------------------- */

static DIR *open_stream(int at, const char *path)
{
    const int saved = errno;
    struct found found;
    const enum verdict verdict = shim_ask(at, path, 0, &found);
    int fd;

    switch (verdict) {
    case VERDICT_ABSENT:
    case VERDICT_NOTDIR:
    case VERDICT_FILE:
        errno = verdict == VERDICT_ABSENT ? ENOENT : ENOTDIR;
        shim_count(SPOOL_LIST, -1, at, path);
        return NULL;
    default: break;
    }
    fd = (int)shim_count(SPOOL_LIST, shim_open(at, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NONBLOCK), at, path);
    if (fd >= 0) {
        DIR *dir = REAL(fdopendir)(fd);
        if (dir && remember(dir, found.node))
            return dir;
        if (dir)
            REAL(closedir)(dir);
        else
            sys_close(fd);
    }
    errno = saved;
    if (at == AT_FDCWD) {
        DIR *dir = REAL(opendir)(shim_original(path));
        if (dir && shim_node_of_fd(dirfd(dir)) != DLC_NONE) { /* as shim_guard */
            REAL(closedir)(dir);
            errno = EACCES;
            return NULL;
        }
        return dir;
    }
    struct pass p;
    shim_pass(&p, at, path);
    fd = shim_guard(REAL(openat64)(p.dirfd, p.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NONBLOCK));
    if (fd < 0)
        return NULL;
    DIR *dir = REAL(fdopendir)(fd);
    if (!dir)
        sys_close(fd);
    return dir;
}

DIR *opendir(const char *path)
{
    DIR *dir = shim.serving ? open_stream(AT_FDCWD, path) : REAL(opendir)(path);
    shim_note(SPOOL_LIST, !dir, AT_FDCWD, path);
    return dir;
}

DIR *fdopendir(int fd)
{
    const uint32_t node = shim.serving ? current_node(fd) : DLC_NONE;
    DIR *dir = REAL(fdopendir)(fd);

    if (dir && node != DLC_NONE)
        remember(dir, node); /* where it finds no room: inode numbers of the mirror, and no harm else */
    return dir;
}

int closedir(DIR *dir)
{
    /* Before: the next opendir of another thread may get the same address. */
    if (shim.serving && dir)
        forget(dir);
    return REAL(closedir)(dir);
}

/* To begin again is to see what has come and gone since. */
void rewinddir(DIR *dir)
{
    const uint32_t node = node_of(dir);

    if (node != DLC_NONE && shim_is_dirty(node, DLC_D_SELF | DLC_D_NAMES) &&
        shim_reopen(dirfd(dir)) != DLC_NONE)
        forget(dir);
    REAL(rewinddir)(dir);
}

/* --- scandir, which calls opendir and readdir inside the C library ---------------------------------------------- */

typedef int (*filter_fn)(const struct dirent *);
typedef int (*order_fn)(const struct dirent **, const struct dirent **);

static void free_list(struct dirent **list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        free(list[i]);
    free(list);
}

static int scan(DIR *dir, struct dirent ***result, filter_fn filter, order_fn order)
{
    const int saved = errno;
    struct dirent **list = NULL, *entry;
    size_t n = 0, room = 0;

    for (errno = 0; (entry = readdir(dir)) != NULL; errno = 0) {
        if (filter && !filter(entry))
            continue;
        if (n == room) {
            const size_t more = room ? 2 * room : 16;
            struct dirent **bigger = realloc(list, more * sizeof *list);
            if (!bigger)
                break;
            list = bigger;
            room = more;
        }
        if (!(list[n] = malloc(entry->d_reclen)))
            break;
        __builtin_memcpy(list[n++], entry, entry->d_reclen);
    }
    const int error = errno;
    closedir(dir);
    if (error || n > INT32_MAX) {
        free_list(list, n);
        errno = error ? error : EOVERFLOW;
        return -1;
    }
    if (n && order)
        qsort(list, n, sizeof *list, (int (*)(const void *, const void *))order);
    *result = list;
    errno = saved;
    return (int)n;
}

/* The C library does it, except for a directory that is held. */
static bool held(int dirfd, const char *path)
{
    struct found found;

    switch (shim_ask(dirfd, path, 0, &found)) {
    case VERDICT_ABSENT:
    case VERDICT_NOTDIR:
    case VERDICT_FILE: return true;
    case VERDICT_DIR: return shim.stage.view.image.nodes[found.node].flags & DLC_N_FROZEN;
    default: return false;
    }
}

static int scan_held(int dirfd, const char *path, struct dirent ***list, filter_fn filter, order_fn order)
{
    DIR *dir = open_stream(dirfd, path);
    return dir ? scan(dir, list, filter, order) : -1;
}

static int done(int rc, int dirfd, const char *path)
{
    shim_note(SPOOL_LIST, rc < 0, dirfd, path);
    return rc;
}

int scandir(const char *path, struct dirent ***list, filter_fn filter, order_fn order)
{
    const int rc = held(AT_FDCWD, path) ? scan_held(AT_FDCWD, path, list, filter, order)
                                        : REAL(scandir)(shim_original(path), list, filter, order);
    return done(rc, AT_FDCWD, path);
}

int scandirat(int dirfd, const char *path, struct dirent ***list, filter_fn filter, order_fn order)
{
    int rc;
    if (held(dirfd, path)) {
        rc = scan_held(dirfd, path, list, filter, order);
    } else {
        struct pass p;
        shim_pass(&p, dirfd, path);
        rc = REAL(scandirat)(p.dirfd, p.path, list, filter, order);
    }
    return done(rc, dirfd, path);
}

int scandir64(const char *path, struct dirent64 ***list, int (*filter)(const struct dirent64 *),
              int (*order)(const struct dirent64 **, const struct dirent64 **))
{
    return scandir(path, (struct dirent ***)list, (filter_fn)filter, (order_fn)order);
}

int scandirat64(int dirfd, const char *path, struct dirent64 ***list, int (*filter)(const struct dirent64 *),
                int (*order)(const struct dirent64 **, const struct dirent64 **))
{
    return scandirat(dirfd, path, (struct dirent ***)list, (filter_fn)filter, (order_fn)order);
}

/* --- the current directory -------------------------------------------------------------------------------------- */

/* Nobody stands in the mirror: names relative to there would mean the originals. */
int chdir(const char *path)
{
    if (shim_in_mirror(path)) {
        errno = EACCES;
        return -1;
    }
    return REAL(chdir)(shim_original(path));
}

/* Never into the mirror: the current directory is seen by everybody, getcwd first. */
int fchdir(int fd)
{
    const uint32_t node = shim.serving ? shim_node_of_fd(fd) : DLC_NONE;

    if (node == DLC_NONE)
        return REAL(fchdir)(fd);
    char path[image_path_room(&shim.stage.view.image, node)];
    image_path(&shim.stage.view.image, node, path, sizeof path);
    return REAL(chdir)(path);
}
