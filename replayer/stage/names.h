/* Names in the mirror that is being made: as paths, and as what system calls take that begin at a directory. */
#ifndef DLCACHE_NAMES_H
#define DLCACHE_NAMES_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "libdlcache/image.h"

struct names {
    const struct image *im;
    char *path;        /* PLACE/…/root, and room for any path behind it */
    size_t root_len;
    uint32_t in_path;  /* the directory whose path it begins with, up to … */
    size_t in_len;     /* … there; 0: none */
    int dir;           /* a descriptor of the directory that was worked in last, or -1 … */
    uint32_t dir_node; /* … which is this one */
};

/* A directory's descriptor, or AT_FDCWD, and a name in it. */
struct name_at {
    int dir;
    const char *name;
};

/* `root`: the mirror's path. The image stays the caller's. */
void names_begin(struct names *s, const struct image *im, const char *root);
void names_end(struct names *s);

/* The node's path, until the next call. NULL where it would be too long for the kernel: such a name is not in the mirror,
 * and image_drop_long has seen to it that nobody looks for it there. */
const char *names_path(struct names *s, uint32_t node);

/* The same in any thread, into `path`. False where there is none. */
bool names_copy_path(const struct names *s, uint32_t node, char path[PATH_MAX]);

/* The same for the system calls that take a directory: the kernel soon walks a path of one component. Until the next
 * call. False where there is no path. */
bool names_at(struct names *s, uint32_t node, struct name_at *at);

/* Without any directory. */
static inline const char *name_of(const struct image *im, uint32_t node)
{
    return im->strings + im->nodes[node].name;
}

#endif
