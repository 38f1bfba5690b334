#include "replayer/image/glance.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "facts/memory.h"
#include "facts/parallel.h"
#include "libdlcache/format.h"

static char *read_target(const char *path, uint64_t expected)
{
    for (size_t size = expected < 256 ? 257 : (size_t)expected + 1; size <= (2u << 20); size *= 2) {
        char *text = memory_check(malloc(size));
        const ssize_t len = readlink(path, text, size);
        if (len > 0 && (size_t)len < size) {
            text[len] = '\0';
            return text;
        }
        free(text);
        if (len <= 0)
            break;
    }
    return NULL;
}

/* What the user who stages may do with it. */
static uint32_t read_access(const struct statx *st, const char *path)
{
    uint32_t access = 0;

    if (S_ISLNK(st->stx_mode) && (st->stx_mode & 0777) == 0777)
        return DLC_N_READ | DLC_N_EXEC; /* of the symlink itself: AT_SYMLINK_NOFOLLOW */
    if (!S_ISREG(st->stx_mode) && !S_ISDIR(st->stx_mode))
        return 0;
    if (faccessat(AT_FDCWD, path, R_OK, AT_EACCESS) == 0)
        access |= DLC_N_READ;
    /* Where nobody may execute it, nobody is asked: a network's client would look at its server once more for each. */
    if (S_ISREG(st->stx_mode) && !(st->stx_mode & 0111))
        access |= DLC_N_NOEXEC;
    else if (faccessat(AT_FDCWD, path, X_OK, AT_EACCESS) == 0)
        access |= DLC_N_EXEC;
    else if (errno == EACCES)
        access |= DLC_N_NOEXEC;
    return access;
}

void glance_look(struct glance *g, const char *path)
{
    g->access = 0;
    g->target = NULL;
    g->error = 0;
    if (statx(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, STATX_BASIC_STATS | STATX_BTIME, &g->st) != 0)
        g->error = -errno;
    else if ((g->st.stx_mask & STATX_BASIC_STATS) != STATX_BASIC_STATS)
        g->error = -ENODATA;
    if (g->error)
        return;
    if (S_ISLNK(g->st.stx_mode))
        g->target = read_target(path, g->st.stx_size);
    g->access = read_access(&g->st, path);
}

/* --- many -------------------------------------------------------------------------------------------------------- */

void glances_want(struct glances *all, const char *path)
{
    size_t len = strlen(path);
    unsigned depth = 0;

    for (size_t i = 0; i < len; i++)
        depth += path[i] == '/';
    /* From the path upwards, to the first directory that is there. */
    while (len > 1) {
        struct glance *g;
        HASH_FIND(hh, all->by_path, path, len, g);
        if (g)
            return;
        g = memory_check(calloc(1, sizeof *g + len + 1));
        memcpy(g->path, path, len);
        g->depth = depth;
        HASH_ADD_KEYPTR(hh, all->by_path, g->path, len, g);
        while (len > 1 && path[len - 1] != '/')
            len--;
        while (len > 1 && path[len - 1] == '/') {
            len--;
            depth--;
        }
    }
}

static void look_at(void *list, size_t i)
{
    struct glance *g = ((struct glance **)list)[i];

    glance_look(g, g->path);
}

/* Directories before what is in them; and what lies in one directory together. */
static int by_depth(const void *a, const void *b)
{
    const struct glance *x = *(struct glance *const *)a, *y = *(struct glance *const *)b;

    return x->depth != y->depth ? (x->depth < y->depth ? -1 : 1) : strcmp(x->path, y->path);
}

void glances_look(struct glances *all)
{
    struct glance **list = memory_new(HASH_COUNT(all->by_path), sizeof *list), *g, *next;
    size_t count = 0;

    HASH_ITER(hh, all->by_path, g, next)
        list[count++] = g;
    if (count)
        qsort(list, count, sizeof *list, by_depth);
    /* Level by level: two that are on their way through a directory at once would both ask for it. */
    for (size_t begin = 0, end = 0; begin < count; begin = end) {
        while (end < count && list[end]->depth == list[begin]->depth)
            end++;
        parallel_each(begin, end, look_at, list);
    }
    free(list);
}

struct glance *glances_take(struct glances *all, const char *path)
{
    struct glance *g = NULL;

    if (all->by_path)
        HASH_FIND_STR(all->by_path, path, g);
    if (g)
        HASH_DEL(all->by_path, g);
    return g;
}

void glances_free(struct glances *all)
{
    struct glance *g, *next;

    HASH_ITER(hh, all->by_path, g, next) {
        HASH_DEL(all->by_path, g);
        free(g->target);
        free(g);
    }
}
