#include "silent.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "facts/memory.h"

/* A file server has a clock of its own. A change that is taken for one of the pilot's only costs requests; one that is
 * missed would be an answer that is wrong. */
#define CLOCKS_DIFFER_NS 2000000000u

static bool is_elf(const char *path)
{
    char magic[4] = "";
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    const bool elf = fd >= 0 && read(fd, magic, sizeof magic) == sizeof magic && memcmp(magic, "\177ELF", 4) == 0;

    if (fd >= 0)
        close(fd);
    return elf;
}

/* D/run starts the program that follows it, and does nothing else. */
static bool is_launcher(const struct place *p)
{
    char *index = memory_join(p->parent->path, "index", 5), *state = memory_join(p->parent->path, "state", 5);
    const bool stage = strcmp(place_name(p), "run") == 0 && access(index, F_OK) == 0 && access(state, F_OK) == 0;

    free(index);
    free(state);
    return stage;
}

static bool is_silent(const struct place *p)
{
    return p->exists && !p->opaque && S_ISREG(p->mode) && !p->programs &&
           (p->started || p->counts[SPOOL_EXEC][SPOOL_FOUND]) && is_elf(p->path) && !is_launcher(p);
}

static bool later(struct timespec t, uint64_t ns)
{
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec >= ns;
}

static void mark(struct place *p, uint64_t since)
{
    if (!p->exists || p->opaque || !(later(p->mtime, since) || later(p->ctime, since)))
        return;
    p->is_volatile |= S_ISDIR(p->mode);
    p->is_changed |= S_ISREG(p->mode);
}

void silent_programs(struct places *ps, uint64_t started_ns, struct collect_report *report)
{
    const uint64_t since = started_ns > CLOCKS_DIFFER_NS ? started_ns - CLOCKS_DIFFER_NS : 0;
    struct place *p, *next;

    HASH_ITER(hh, ps->by_path, p, next) {
        if (!p->touched || !is_silent(p))
            continue;
        report->silent++;
        if (!report->silent_example)
            report->silent_example = memory_text(p->path);
    }
    if (!report->silent)
        return;
    HASH_ITER(hh, ps->by_path, p, next) {
        if (p->touched) {
            mark(p, since);
            mark(places_existing(p->parent), since);
        }
    }
}
