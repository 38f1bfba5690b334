#include "spool_read.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libdlcache/hash.h"
#include "facts/memory.h"

#define FIRST_NOTE ((sizeof(struct spool_header) + SPOOL_HEADS * sizeof(uint32_t) + 7) / 8 * 8)

/* A spool in memory: `bytes` of it may be read. */
struct spool {
    const char *base;
    uint64_t bytes;
    uint8_t *visited; /* one bit for each place where a note may begin */
};

/* The note at offset / 8, or NULL where none can be, or where it was visited before. */
static const struct spool_note *note_at(const struct spool *s, uint32_t place, struct spool_seen *seen)
{
    const uint64_t off = (uint64_t)place * 8;

    if (off < FIRST_NOTE || off > s->bytes || s->bytes - off < sizeof(struct spool_note))
        return NULL;
    if (s->visited[place / 8] & 1u << place % 8)
        return NULL;
    const struct spool_note *n = (const void *)(s->base + off);
    if (n->len >= s->bytes - off - sizeof *n || n->op >= SPOOL_OPS || n->result >= SPOOL_RESULTS)
        return NULL;
    if (n->path[0] != '/' || n->path[n->len] != '\0' || memchr(n->path, '\0', n->len))
        return NULL;
    if (n->hash != (uint32_t)dlc_hash64((uint64_t)n->op << 8 | n->result, n->path, n->len))
        return NULL;
    s->visited[place / 8] |= (uint8_t)(1u << place % 8);
    const uint32_t count = __atomic_load_n(&n->count, __ATOMIC_RELAXED);
    *seen = (struct spool_seen){
        .op = (enum spool_op)n->op,
        .result = (enum spool_result)n->result,
        .when = n->when,
        .count = count ? count : 1,
        .path = n->path,
        .len = n->len,
    };
    return n;
}

static void walk_chains(const struct spool *s, struct spool_facts *facts, spool_visit *visit, void *context)
{
    const uint32_t *heads = (const void *)(s->base + sizeof(struct spool_header));
    uint64_t count = (s->bytes - sizeof(struct spool_header)) / sizeof *heads;

    if (count < SPOOL_HEADS)
        facts->damaged = true;
    else
        count = SPOOL_HEADS;
    for (uint64_t i = 0; i < count; i++) {
        uint32_t place = __atomic_load_n(&heads[i], __ATOMIC_ACQUIRE);
        while (place) {
            struct spool_seen seen;
            const struct spool_note *n = note_at(s, place, &seen);
            if (!n) {
                facts->damaged = true;
                break;
            }
            visit(context, &seen);
            facts->notes++;
            place = n->next;
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
    struct spool s = {base, bytes, memory_new(bytes / 64 + 1, 1)};
    walk_chains(&s, facts, visit, context);
    free(s.visited);
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
