#include "silent.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
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

static bool has_our_clock(const char *path)
{
    static const uint32_t own[] = {0xef53 /* ext4 */, 0x58465342 /* XFS */, 0x9123683e /* Btrfs */,
                                   0x01021994 /* tmpfs */, 0x794c7630 /* overlay */};
    struct statfs fs;

    if (statfs(path, &fs) != 0)
        return false;
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        if (own[i] == (uint32_t)fs.f_type)
            return true;
    return false;
}

static uint64_t in_ns(struct timespec t)
{
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* The time of the last change is not the program's to set. */
static bool changed_since(const struct place *p, uint64_t started_ns)
{
    const uint64_t changed = in_ns(p->ctime);

    return changed >= started_ns ||
           (changed + CLOCKS_DIFFER_NS >= started_ns && !has_our_clock(p->path));
}

static void mark(struct place *p, uint64_t started_ns)
{
    if (!p->exists || p->opaque || (!S_ISDIR(p->mode) && !S_ISREG(p->mode)) || !changed_since(p, started_ns))
        return;
    p->is_volatile |= S_ISDIR(p->mode);
    /* What is being executed cannot be written to. */
    p->is_changed |= S_ISREG(p->mode) && !p->started && !p->counts[SPOOL_EXEC][SPOOL_FOUND];
}

void silent_programs(struct places *ps, uint64_t started_ns, struct collect_report *report)
{
    for (struct place *p = ps->root; p; p = p->next) {
        if (!p->touched || !is_silent(p))
            continue;
        report->silent++;
        if (!report->silent_example)
            report->silent_example = memory_text(p->path);
    }
    if (!report->silent)
        return;
    for (struct place *p = ps->root; p; p = p->next) {
        if (p->touched) {
            mark(p, started_ns);
            mark(places_existing(p->parent), started_ns);
        }
    }
}
