#include "replayer/image/freeze.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "facts/memory.h"
#include "facts/parallel.h"
#include "libdlcache/format.h"

/* A name of a list, and behind it the next one. */
struct name {
    uint64_t ino;
    uint16_t len;
    uint8_t kind; /* DT_… */
    char text[];  /* NUL-terminated */
};

struct list {
    const struct tree_node *dir; /* read, while others are read, and written to by nobody */
    bool whole;
    char *names; /* struct name, at multiples of its alignment */
    size_t bytes, capacity;
};

static size_t size_of(size_t len)
{
    const size_t unit = _Alignof(struct name);

    return (sizeof(struct name) + len + unit) / unit * unit;
}

static void add_name(struct list *l, const struct dirent *e)
{
    const size_t len = strlen(e->d_name), size = size_of(len);

    l->names = memory_grow(l->names, &l->capacity, l->bytes + size, 1);
    struct name *n = (struct name *)(l->names + l->bytes);
    *n = (struct name){.ino = e->d_ino, .len = (uint16_t)len, .kind = e->d_type};
    memcpy(n->text, e->d_name, len + 1);
    l->bytes += size;
}

/* Still the directory that was looked at, with the names that it had then. */
static bool is_unchanged(int fd, const struct statx *then)
{
    struct statx now;

    return tree_stat(fd, &now) == 0 && now.stx_ino == then->stx_ino &&
           now.stx_mtime.tv_sec == then->stx_mtime.tv_sec && now.stx_mtime.tv_nsec == then->stx_mtime.tv_nsec;
}

static void read_list(void *lists, size_t i)
{
    struct list *l = (struct list *)lists + i;
    char *path = tree_path(l->dir);
    const int fd = tree_open(path, O_DIRECTORY);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);

    free(path);
    if (!d) {
        if (fd >= 0)
            close(fd);
        return;
    }
    if (is_unchanged(fd, &l->dir->st)) {
        const struct dirent *e;
        for (errno = 0; (e = readdir(d)); errno = 0)
            if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
                add_name(l, e);
        l->whole = errno == 0 && is_unchanged(fd, &l->dir->st);
    }
    closedir(d);
}

static bool apply(struct tree *t, struct tree_node *dir, const struct list *l)
{
    uint32_t listed = 0;

    for (size_t at = 0; at < l->bytes;) {
        const struct name *from = (const struct name *)(l->names + at);
        struct tree_node *n = tree_add(t, dir, from->text, from->len);
        n->order = listed++;
        at += size_of(from->len);
        if (n->looked)
            continue;
        n->kind = from->kind;
        n->ino = from->ino;
    }
    if (!l->whole || listed != dir->child_count)
        return false;
    dir->flags |= DLC_N_FROZEN;
    return true;
}

size_t freeze(struct tree *t, struct tree_node *const *dirs, size_t count)
{
    struct list *lists = memory_new(count, sizeof *lists);
    size_t wanted = 0, frozen = 0;

    /* A directory that may be read but not searched gives EACCES for every name, there or not. */
    for (size_t i = 0; i < count; i++)
        if (dirs[i]->flags & DLC_N_EXEC)
            lists[wanted++].dir = dirs[i];
    parallel_each(0, wanted, read_list, lists);
    for (size_t i = 0, k = 0; i < count; i++) {
        if (k == wanted || lists[k].dir != dirs[i])
            continue;
        frozen += apply(t, dirs[i], &lists[k]);
        free(lists[k++].names);
    }
    free(lists);
    return frozen;
}
