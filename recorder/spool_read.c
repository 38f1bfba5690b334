#include "spool_read.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libdlcache/hash.h"
#include "facts/memory.h"

/* A spool in memory: `bytes` of it may be read. */
struct spool {
    const char *base;
    uint64_t bytes;
    uint8_t *reached; /* one bit for each place where a note may begin */
    uint32_t *ahead;  /* places that notes lead to */
    size_t ahead_count, ahead_capacity;
};

/* The note at offset / 8, or NULL where none can be. What it says is read once: somebody may be writing. */
static const struct spool_note *note_at(const struct spool *s, uint64_t place, struct spool_seen *seen)
{
    const uint64_t off = place * 8;

    if (off < SPOOL_FIRST || off > s->bytes || s->bytes - off < SPOOL_NOTE_BYTES(0))
        return NULL;
    const struct spool_note *n = (const void *)(s->base + off);
    const uint32_t count = __atomic_load_n(&n->count, __ATOMIC_RELAXED);
    *seen = (struct spool_seen){
        .op = (enum spool_op)__atomic_load_n(&n->op, __ATOMIC_RELAXED),
        .result = (enum spool_result)__atomic_load_n(&n->result, __ATOMIC_RELAXED),
        .when = __atomic_load_n(&n->when, __ATOMIC_RELAXED),
        .count = count ? count : 1,
        .path = n->path,
        .len = __atomic_load_n(&n->len, __ATOMIC_RELAXED),
    };
    if (seen->len >= s->bytes - off - offsetof(struct spool_note, path) || seen->op >= SPOOL_OPS ||
        seen->result >= SPOOL_RESULTS)
        return NULL;
    if (n->path[0] != '/' || n->path[seen->len] != '\0' || memchr(n->path, '\0', seen->len))
        return NULL;
    return n;
}

static bool fits_hash(const struct spool_note *n, const struct spool_seen *seen)
{
    const uint64_t seed = (uint64_t)seen->op << 8 | (uint64_t)seen->result;
    return n->hash == (uint32_t)dlc_hash64(seed, seen->path, seen->len);
}

static void lead_to(struct spool *s, const uint32_t *places, size_t count)
{
    s->ahead = memory_grow(s->ahead, &s->ahead_capacity, s->ahead_count + count, sizeof *s->ahead);
    for (size_t i = 0; i < count; i++) {
        const uint32_t place = __atomic_load_n(&places[i], __ATOMIC_ACQUIRE);
        if (place)
            s->ahead[s->ahead_count++] = place;
    }
}

/* Marks each sound note that something leads to. Whatever the file says: a note leads on once. */
static void follow(struct spool *s, struct spool_facts *facts)
{
    const uint64_t heads = (s->bytes - sizeof(struct spool_header)) / sizeof(uint32_t);

    facts->damaged = heads < SPOOL_HEADS;
    lead_to(s, (const void *)(s->base + sizeof(struct spool_header)), heads < SPOOL_HEADS ? heads : SPOOL_HEADS);
    while (s->ahead_count) {
        const uint32_t place = s->ahead[--s->ahead_count];
        struct spool_seen seen;
        const struct spool_note *n = note_at(s, place, &seen);
        if (!n || s->reached[place / 8] & 1u << place % 8 || !fits_hash(n, &seen)) {
            facts->damaged = true;
            continue;
        }
        s->reached[place / 8] |= (uint8_t)(1u << place % 8);
        lead_to(s, n->child, SPOOL_CHILDREN);
    }
}

/* In the order in which they lie in the file, which is nearly that of their times. */
static void visit_reached(const struct spool *s, struct spool_facts *facts, spool_visit *visit, void *context)
{
    for (uint64_t place = 0; place < s->bytes / 8; place++) {
        struct spool_seen seen;
        if (place % 8 == 0 && !s->reached[place / 8])
            place += 7;
        else if (s->reached[place / 8] & 1u << place % 8 && note_at(s, place, &seen)) {
            visit(context, &seen);
            facts->notes++;
        }
    }
}

static int read_mapped(const char *base, uint64_t bytes, struct spool_facts *facts, spool_visit *visit, void *context)
{
    const struct spool_header *h = (const void *)base;

    if (memcmp(h->magic, SPOOL_MAGIC, sizeof h->magic) != 0 || h->version != SPOOL_VERSION)
        return -EBADMSG;
    *facts = (struct spool_facts){
        .pid = h->pid,
        .start_ns = h->start_ns,
        .lost = __atomic_load_n(&h->lost, __ATOMIC_RELAXED),
        .rank = h->rank,
        .dead = __atomic_load_n(&h->dead, __ATOMIC_RELAXED) != 0,
    };
    memcpy(facts->host, h->host, strnlen(h->host, sizeof facts->host - 1));
    memcpy(facts->exe, h->exe, strnlen(h->exe, sizeof facts->exe - 1));

    /* Not bounded by `used`: that is more than there is when the storage ran out, and may be damaged. */
    struct spool s = {.base = base, .bytes = bytes, .reached = memory_new(bytes / 64 + 1, 1)};
    follow(&s, facts);
    visit_reached(&s, facts, visit, context);
    free(s.ahead);
    free(s.reached);
    return 0;
}

int spool_read(const char *file, struct spool_facts *facts, spool_visit *visit, void *context)
{
    struct stat st;
    int fd = open(file, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);

    memset(facts, 0, sizeof *facts);
    if (fd < 0)
        return -errno;
    int rc = fstat(fd, &st) == 0 ? 0 : -errno;
    if (rc == 0 && (!S_ISREG(st.st_mode) || (uint64_t)st.st_size < sizeof(struct spool_header)))
        rc = -EBADMSG;
    if (rc == 0) {
        /* An offset reaches no further than this. */
        const uint64_t most = (UINT32_MAX + (uint64_t)1) * 8;
        const uint64_t bytes = (uint64_t)st.st_size < most ? (uint64_t)st.st_size : most;
        void *p = mmap(NULL, bytes, PROT_READ, MAP_SHARED, fd, 0);
        if (p == MAP_FAILED) {
            rc = -errno;
        } else {
            rc = read_mapped(p, bytes, facts, visit, context);
            munmap(p, bytes);
        }
    }
    close(fd);
    return rc;
}
