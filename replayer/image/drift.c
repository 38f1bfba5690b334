#include "replayer/image/drift.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "facts/memory.h"
#include "facts/parallel.h"
#include "libdlcache/format.h"
#include "libdlcache/image.h"
#include "replayer/image/build.h"

struct check {
    struct image im;
    const char **what;      /* one a node: what it is now, or NULL */
};

static const char *compare(const struct dlc_node *n, const char *path)
{
    struct stat st;

    if (lstat(path, &st) != 0)
        return errno == ENOENT || errno == ENOTDIR ? "is gone" : "cannot be looked at";
    if ((st.st_mode & S_IFMT) >> 12 != n->kind)
        return "is of another kind now";
    if (st.st_ino != n->ino)
        return "is another file now";
    if (st.st_mtim.tv_sec != n->mtime || (uint32_t)st.st_mtim.tv_nsec != n->mtime_ns ||
        (n->kind != DT_DIR && (uint64_t)st.st_size != n->size))
        return n->kind == DT_DIR ? "has other names now" : "has other contents now";
    if (st.st_ctim.tv_sec != n->ctime || (uint32_t)st.st_ctim.tv_nsec != n->ctime_ns)
        return "has another owner, mode or number of links now";
    return NULL;
}

static void check(void *context, size_t i)
{
    struct check *c = context;
    const struct dlc_node *n = &c->im.nodes[i];
    char path[PATH_MAX];

    if (n->flags & DLC_N_STAT && !(n->flags & DLC_N_MADE))
        c->what[i] = image_path(&c->im, (uint32_t)i, path, sizeof path) < 0 ? "has too long a path" : compare(n, path);
}

/* What is no directory may be anything now. */
static void forget(struct dlc_node *n)
{
    n->flags &= (uint32_t)DLC_N_VOLATILE;
    if (n->kind != DT_DIR)
        n->kind = DT_UNKNOWN;
}

long image_drop_drifted(void *index, void (*say)(const char *path, const char *what))
{
    const struct dlc_header *h = index;
    struct dlc_node *nodes = (void *)((char *)index + h->nodes.off);
    struct check c;
    uint32_t *dropped;
    size_t with_data = 0;
    long drifted = 0;

    if (image_open(&c.im, index, h->index_size) != 0)
        return -1;
    c.what = memory_new(c.im.node_count, sizeof *c.what);
    dropped = memory_new(c.im.node_count, sizeof *dropped);
    parallel_each(0, c.im.node_count, check, &c);
    for (uint32_t i = 0; i < c.im.node_count; i++) {
        char path[PATH_MAX];
        if (!c.what[i])
            continue;
        drifted++;
        if (image_path(&c.im, i, path, sizeof path) > 0)
            say(path, c.what[i]);
        if (nodes[i].flags & DLC_N_DATA)
            dropped[with_data++] = i;
    }
    if (drifted) {
        image_drop_data(index, dropped, with_data);
        for (uint32_t i = 0; i < c.im.node_count; i++)
            if (c.what[i])
                forget(&nodes[i]);
        image_seal(index);
    }
    free(dropped);
    free(c.what);
    return drifted;
}
