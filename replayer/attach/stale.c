/* Stages that nobody needs any more: those of jobs that are over, and kept ones that have to give way. */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "facts/memory.h"
#include "replayer/attach/about.h"
#include "replayer/attach/remove.h"
#include "replayer/attach/removing.h"

static bool is_dot(const char *name)
{
    return name[0] == '.' && (!name[1] || (name[1] == '.' && !name[2]));
}

/* Of one user: number removed, or -errno. */
static int remove_stale_below(const char *parent, uid_t uid, int *untold)
{
    const int fd = removing_open_parent(parent, uid);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    const struct dirent *e;
    int removed = 0, rc = 0;

    if (!d)
        return fd < 0 ? (fd == -ENOENT ? 0 : fd) : -errno;
    while ((e = readdir(d))) {
        struct about about;
        int one;
        if (is_dot(e->d_name))
            continue;
        if (e->d_name[0] == '.') {
            one = removing_leftover(fd, e->d_name);
        } else {
            if (removing_looks_like_stage(fd, e->d_name, uid) != 0 || about_read(&about, fd, e->d_name) != 0)
                continue;
            const int over = about_is_over(&about);
            *untold += over < 0;
            if (over != 1)
                continue;
            one = removing_stage(fd, e->d_name);
        }
        if (one == 0)
            removed++;
        else if (one != -ENOENT && one != -EBUSY)
            rc = one;
    }
    closedir(d);
    removing_parent(parent);
    return rc ? rc : removed;
}

int stage_remove_stale(const char *place, int *untold)
{
    char own[32];
    int removed = 0, rc = 0;

    *untold = 0;
    if (geteuid() != 0) {
        snprintf(own, sizeof own, "dlcache-%u", (unsigned)geteuid());
        char *parent = memory_join(place, own, strlen(own));
        removed = remove_stale_below(parent, geteuid(), untold);
        free(parent);
        return removed;
    }
    DIR *d = opendir(place);
    const struct dirent *e;
    if (!d)
        return -errno;
    while ((e = readdir(d))) {
        char *end;
        if (strncmp(e->d_name, "dlcache-", 8) != 0 || !isdigit((unsigned char)e->d_name[8]))
            continue;
        const unsigned long uid = strtoul(e->d_name + 8, &end, 10);
        if (*end)
            continue;
        char *parent = memory_join(place, e->d_name, strlen(e->d_name));
        const int one = remove_stale_below(parent, (uid_t)uid, untold);
        /* What is not as ours are is somebody's trick, or another thing: left alone. */
        if (one >= 0)
            removed += one;
        else if (one != -EPERM && one != -EINVAL)
            rc = one;
        free(parent);
    }
    closedir(d);
    return rc ? rc : removed;
}

/* --- making room ------------------------------------------------------------------------------------------------ */

struct kept {
    char name[256];
    uint64_t bytes;
    struct timespec used;
};

static int by_use(const void *a, const void *b)
{
    const struct kept *x = a, *y = b;

    if (x->used.tv_sec != y->used.tv_sec)
        return x->used.tv_sec < y->used.tv_sec ? -1 : 1;
    return x->used.tv_nsec < y->used.tv_nsec ? -1 : x->used.tv_nsec > y->used.tv_nsec;
}

/* A process of ours has the index mapped. */
static bool is_mapped(const char *pid, const char *index)
{
    char path[64], *line = NULL;
    size_t size = 0;
    bool is = false;

    snprintf(path, sizeof path, "/proc/%.20s/maps", pid);
    FILE *f = fopen(path, "re");
    while (f && !is && getline(&line, &size, f) > 0)
        is = strstr(line, index) != NULL;
    if (f)
        fclose(f);
    free(line);
    return is;
}

static bool in_use(const char *parent, const char *name)
{
    char *index;
    DIR *d = opendir("/proc");
    const struct dirent *e;
    bool used = false;

    if (asprintf(&index, "%s/%s/index", parent, name) < 0)
        memory_check(NULL);
    while (d && !used && (e = readdir(d)))
        used = isdigit((unsigned char)e->d_name[0]) && is_mapped(e->d_name, index);
    if (d)
        closedir(d);
    free(index);
    return used;
}

uint64_t stage_make_room(const char *parent, const char *name, uint64_t bytes, uint64_t most)
{
    const int fd = removing_open_parent(parent, geteuid());
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    struct kept *kept = NULL;
    size_t count = 0, room = 0;
    uint64_t taken = 0;
    const struct dirent *e;

    while (d && (e = readdir(d))) {
        struct about about;
        struct stat st;
        if (e->d_name[0] == '.' || strcmp(e->d_name, name) == 0 || about_read(&about, fd, e->d_name) != 0 ||
            fstatat(fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0)
            continue;
        taken += about.bytes;
        if (*about.manager)
            continue;
        kept = memory_grow(kept, &room, count + 1, sizeof *kept);
        kept[count] = (struct kept){.bytes = about.bytes, .used = st.st_mtim};
        snprintf(kept[count++].name, sizeof kept->name, "%s", e->d_name);
    }
    if (count)
        qsort(kept, count, sizeof *kept, by_use);
    for (size_t i = 0; i < count && bytes <= most && taken + bytes > most; i++)
        if (!in_use(parent, kept[i].name) && removing_stage(fd, kept[i].name) == 0)
            taken -= kept[i].bytes;
    free(kept);
    if (d)
        closedir(d);
    return taken;
}
