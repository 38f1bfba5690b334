#include "replayer/replay/plan.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "facts/memory.h"

const char *const replay_kind_names[REPLAY_KINDS] = {"stat", "open", "list", "readlink", "load", "absent"};

/* The most that one entry becomes. */
#define ENTRY_STEPS 4

/* Counts are of all ranks of the pilot, and of all pilots: what one rank of one run does. */
static uint32_t share(const struct manifest_entry *e, uint64_t count)
{
    uint64_t parts = e->ranks > e->pilots ? e->ranks : e->pilots;

    if (parts == 0)
        parts = 1;
    const uint64_t n = count / parts + (count % parts != 0);
    return n < PLAN_MOST ? (uint32_t)n : PLAN_MOST;
}

static size_t add(struct step *to, size_t n, const struct manifest_entry *e, unsigned only, enum replay_kind kind,
                  enum replay_act act, uint64_t count)
{
    if (count == 0 || !(only & 1u << kind))
        return n;
    to[n] = (struct step){.times = share(e, count), .act = (uint16_t)act, .kind = (uint16_t)kind};
    return n + 1;
}

/* An entry's steps, of which the paths are still to be set: how many. */
static size_t steps_of(const struct manifest_entry *e, unsigned only, struct step to[ENTRY_STEPS])
{
    const struct manifest_counts *c = &e->counts;
    const bool whole = e->kind == MANIFEST_MODULE || e->kind == MANIFEST_BYTECODE;
    const uint64_t loads = manifest_sum(c->load, c->exec);
    size_t n = 0;

    if (e->kind == MANIFEST_ABSENT) {
        n = add(to, n, e, only, REPLAY_ABSENT, ACT_STAT, c->stat);
        return add(to, n, e, only, REPLAY_ABSENT, ACT_OPEN_HEAD, manifest_sum(manifest_sum(c->open, c->list), loads));
    }
    if (e->kind == MANIFEST_SYMLINK)
        n = add(to, n, e, only, REPLAY_READLINK, ACT_READLINK, c->stat);
    else
        n = add(to, n, e, only, REPLAY_STAT, ACT_STAT, c->stat);
    n = add(to, n, e, only, REPLAY_LIST, ACT_LIST,
            e->kind == MANIFEST_DIRECTORY ? manifest_sum(c->list, c->open) : c->list);
    if (e->kind != MANIFEST_DIRECTORY)
        n = add(to, n, e, only, REPLAY_OPEN, whole ? ACT_OPEN_WHOLE : ACT_OPEN_HEAD, c->open);
    return add(to, n, e, only, REPLAY_LOAD, ACT_LOAD, loads);
}

static int by_order(const void *a, const void *b)
{
    const struct manifest_entry *x = *(const struct manifest_entry *const *)a;
    const struct manifest_entry *y = *(const struct manifest_entry *const *)b;

    if (x->order != y->order)
        return x->order < y->order ? -1 : 1;
    return x < y ? -1 : x > y;
}

/* The entries with steps, in order: heap. Their number, and what they take. */
static const struct manifest_entry **entries_in_order(const struct manifest *m, unsigned only, size_t *count,
                                                      uint64_t *steps, uint64_t *text)
{
    const struct manifest_entry **list = memory_new(m->entry_count, sizeof *list);
    struct step unused[ENTRY_STEPS];

    *count = 0;
    *steps = *text = 0;
    for (size_t i = 0; i < m->entry_count; i++) {
        const size_t n = steps_of(&m->entries[i], only, unused);
        if (n == 0)
            continue;
        list[(*count)++] = &m->entries[i];
        *steps += n;
        *text += strlen(m->entries[i].path) + 1;
    }
    qsort(list, *count, sizeof *list, by_order);
    return list;
}

static void fill(struct plan *p, const struct manifest_entry *const *list, size_t count, unsigned only)
{
    struct step *step = (struct step *)((char *)p + p->steps_off);
    char *text = (char *)p + p->text_off;
    uint64_t at = 0;

    for (size_t i = 0; i < count; i++) {
        struct step steps[ENTRY_STEPS];
        const size_t n = steps_of(list[i], only, steps), len = strlen(list[i]->path) + 1;
        for (size_t k = 0; k < n; k++) {
            *step = steps[k];
            step++->path = at;
        }
        memcpy(text + at, list[i]->path, len);
        at += len;
    }
}

static struct plan *map(int fd, uint64_t bytes)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    return p == MAP_FAILED ? NULL : p;
}

/* All of the memory is had now, or told to be missing. */
static int make_file(uint64_t bytes)
{
    const int fd = memfd_create("dlcache-replay", 0);
    const int rc = fd < 0 ? errno : posix_fallocate(fd, 0, (off_t)bytes);

    if (rc == 0)
        return fd;
    if (fd >= 0)
        close(fd);
    errno = rc;
    return -1;
}

int plan_make(const struct manifest *m, unsigned only, uint32_t processes, uint32_t rounds, struct plan **plan)
{
    size_t count;
    uint64_t text;
    struct plan p = {.processes = processes, .rounds = rounds, .slots_off = sizeof p};
    const struct manifest_entry **list = entries_in_order(m, only, &count, &p.step_count, &text);

    memcpy(p.magic, PLAN_MAGIC, sizeof p.magic);
    p.steps_off = p.slots_off + processes * sizeof(struct slot);
    p.text_off = p.steps_off + p.step_count * sizeof(struct step);
    p.total = p.text_off + text;
    int fd = make_file(p.total);
    if (fd >= 0 && !(*plan = map(fd, p.total))) {
        const int error = errno;
        close(fd);
        errno = error;
        fd = -1;
    }
    if (fd >= 0) {
        **plan = p;
        fill(*plan, list, count, only);
    }
    free(list);
    return fd;
}

struct plan *plan_map(int fd)
{
    struct stat st;

    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || (uint64_t)st.st_size < sizeof(struct plan))
        return NULL;
    struct plan *p = map(fd, (uint64_t)st.st_size);
    return p && memcmp(p->magic, PLAN_MAGIC, sizeof p->magic) == 0 && p->total == (uint64_t)st.st_size ? p : NULL;
}
