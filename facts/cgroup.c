#include "facts/cgroup.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "facts/memory.h"
#include "facts/mounts.h"

/* The names of the two versions. */
struct names {
    const char *type, *controller; /* of the mount; "" in version 2 */
    const char *limit, *usage;     /* files of a group */
    const char *reclaimable[2];    /* of memory.stat */
};

static const struct names versions[] = {
    {"cgroup2", "", "memory.max", "memory.current", {"inactive_file ", "active_file "}},
    {"cgroup", "memory", "memory.limit_in_bytes", "memory.usage_in_bytes",
     {"total_inactive_file ", "total_active_file "}},
};

/* A number from a file of a group; UINT64_MAX where there is none ("max", no such file). */
static uint64_t read_number(const char *group, const char *name)
{
    char *path = memory_join(group, name, strlen(name)), text[64] = "";
    FILE *f = fopen(path, "re");
    uint64_t n = UINT64_MAX;

    if (f && fgets(text, sizeof text, f) && text[0] >= '0' && text[0] <= '9')
        n = strtoull(text, NULL, 10);
    if (f)
        fclose(f);
    free(path);
    return n;
}

static uint64_t read_reclaimable(const char *group, const struct names *names)
{
    char *path = memory_join(group, "memory.stat", 11), line[256];
    FILE *f = fopen(path, "re");
    uint64_t sum = 0;

    while (f && fgets(line, sizeof line, f))
        for (int i = 0; i < 2; i++)
            if (strncmp(line, names->reclaimable[i], strlen(names->reclaimable[i])) == 0)
                sum += strtoull(line + strlen(names->reclaimable[i]), NULL, 10);
    if (f)
        fclose(f);
    free(path);
    return sum;
}

static uint64_t left_in(const char *group, const struct names *names)
{
    const uint64_t limit = read_number(group, names->limit), used = read_number(group, names->usage);

    /* Version 1 says "none" by a very large number. */
    if (limit >= UINT64_C(1) << 62 || used == UINT64_MAX)
        return UINT64_MAX;
    const uint64_t free = read_reclaimable(group, names), taken = used > free ? used - free : 0;
    return limit > taken ? limit - taken : 0;
}

/* The path of this process's group: "7:memory:/a/b" or "0::/a/b". Heap, or NULL. */
static char *group_of(const char *proc, const struct names *names)
{
    char *line = NULL, *found = NULL;
    size_t size = 0;
    FILE *f = fopen(proc, "re");

    while (f && !found && getline(&line, &size, f) > 0) {
        char *rest = line, *controllers, *one;
        line[strcspn(line, "\n")] = '\0';
        strsep(&rest, ":");
        controllers = strsep(&rest, ":");
        if (!rest)
            continue;
        if (!*names->controller && !*controllers)
            found = memory_text(rest);
        while (*names->controller && !found && (one = strsep(&controllers, ",")))
            if (strcmp(one, names->controller) == 0)
                found = memory_text(rest);
    }
    if (f)
        fclose(f);
    free(line);
    return found;
}

/* The least of a group and of those above it, up to where the hierarchy is mounted. */
static uint64_t least_left(const struct mount_point *at, const char *group, const struct names *names)
{
    const size_t root = strcmp(at->root, "/") == 0 ? 0 : strlen(at->root), base = strlen(at->point);
    uint64_t least = UINT64_MAX;

    /* In a container the mount shows a part of the hierarchy. */
    if (strncmp(group, at->root, root) != 0)
        return UINT64_MAX;
    char *dir;
    if (asprintf(&dir, "%s%s", at->point, group + root) < 0)
        memory_check(NULL);
    for (;;) {
        const uint64_t left = left_in(dir, names);
        if (left < least)
            least = left;
        char *slash = strrchr(dir, '/');
        if (strlen(dir) <= base || !slash || (size_t)(slash - dir) < base)
            break;
        *slash = '\0';
    }
    free(dir);
    return least;
}

uint64_t cgroup_memory_left(const char *proc, const char *mounts)
{
    struct mounts m;
    uint64_t least = UINT64_MAX;

    if (mounts_read(&m, mounts) != 0)
        return least;
    for (size_t v = 0; v < sizeof versions / sizeof *versions; v++) {
        const struct names *names = &versions[v];
        char *group = group_of(proc, names);
        struct mount_point *p, *next;
        HASH_ITER(hh, m.by_point, p, next) {
            if (!group || strcmp(p->type, names->type) != 0)
                continue;
            const uint64_t left = least_left(p, group, names);
            if (left < least)
                least = left;
        }
        free(group);
    }
    mounts_free(&m);
    return least;
}
