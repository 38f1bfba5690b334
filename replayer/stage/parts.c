#include "replayer/stage/parts.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "facts/memory.h"
#include "libdlcache/stage.h"
#include "replayer/attach/locate.h"

static struct part {
    const char *file, *name;
    mode_t mode;
    void *data;
    uint64_t bytes;
} parts[] = {
    {"dlcache-run", STAGE_RUN, 0500, NULL, 0},
    {"libdlcache.so", STAGE_LIB, 0500, NULL, 0},
    {"libdlcache-audit.so", STAGE_AUDIT, 0500, NULL, 0},
};

_Static_assert(sizeof parts / sizeof *parts == PARTS, "parts.h");

static void read_part(struct part *p, struct outcome *o)
{
    char *path = locate(p->file);
    struct stat st;
    const int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;

    if (fd < 0 || fstat(fd, &st) != 0) {
        outcome_fail(o, "%s: %s", path ? path : p->file, path ? strerror(errno) : "is not installed beside dlcache");
    } else {
        p->bytes = (uint64_t)st.st_size;
        p->data = memory_check(malloc(p->bytes + 1));
        if (read(fd, p->data, p->bytes) != st.st_size)
            outcome_fail(o, "%s: %s", path, "it cannot be read whole");
    }
    if (fd >= 0)
        close(fd);
    free(path);
}

void parts_read(struct outcome *o)
{
    for (size_t i = 0; i < PARTS; i++)
        read_part(&parts[i], o);
}

void parts_sizes(uint64_t sizes[PARTS])
{
    for (size_t i = 0; i < PARTS; i++)
        sizes[i] = parts[i].bytes;
}

void parts_put(char *to)
{
    for (size_t i = 0; i < PARTS; i++) {
        memcpy(to, parts[i].data, parts[i].bytes);
        to += parts[i].bytes;
    }
}

void parts_take(const uint64_t sizes[PARTS], const char *from)
{
    for (size_t i = 0; i < PARTS; i++) {
        parts[i].bytes = sizes[i];
        parts[i].data = memory_bytes(from, sizes[i]);
        from += sizes[i];
    }
}

uint64_t parts_bytes(void)
{
    uint64_t bytes = 0;

    for (size_t i = 0; i < PARTS; i++)
        bytes += (parts[i].bytes + 4095) & ~4095ull;
    return bytes;
}

/* The file of the stage that is there holds these bytes. */
static bool same_part(const char *dir, const struct part *p)
{
    char *path = memory_join(dir, p->name, strlen(p->name));
    struct stat st;
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    bool same = false;

    if (fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && (uint64_t)st.st_size == p->bytes && p->bytes) {
        void *there = mmap(NULL, p->bytes, PROT_READ, MAP_PRIVATE, fd, 0);
        same = there != MAP_FAILED && memcmp(there, p->data, p->bytes) == 0;
        if (there != MAP_FAILED)
            munmap(there, p->bytes);
    }
    if (fd >= 0)
        close(fd);
    free(path);
    return same;
}

bool parts_are_in(const char *dir)
{
    for (size_t i = 0; i < PARTS; i++)
        if (!same_part(dir, &parts[i]))
            return false;
    return true;
}

void parts_lay_down(const struct place *p, bool all, struct outcome *o)
{
    char *lib = memory_join(p->temporary, "lib", 3);

    if (all && !o->failed && mkdir(lib, 0700) != 0)
        outcome_fail(o, "%s: %s", lib, strerror(errno));
    free(lib);
    for (size_t i = 0; i < (all ? PARTS : 1); i++)
        place_file(p, parts[i].name, parts[i].data, parts[i].bytes, parts[i].mode, o);
}

void parts_free(void)
{
    for (size_t i = 0; i < PARTS; i++)
        free(parts[i].data);
}
