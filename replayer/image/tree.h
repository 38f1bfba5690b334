/* A name space that is being built: what lstat said of each name, looked at once. */
#ifndef DLCACHE_TREE_H
#define DLCACHE_TREE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <uthash.h>

#include "replayer/image/glance.h"

struct tree_node {
    struct tree_node *parent;   /* the root's: itself */
    struct tree_node *children; /* uthash, by name */
    uint32_t child_count;
    uint32_t index;             /* in the image, once it is written */
    uint32_t flags;             /* DLC_N_… */
    uint8_t kind;               /* DT_… */
    bool looked;                /* lstat was tried */
    bool wanted;                /* to be frozen, if that may be */
    bool object;                /* ELF facts are in the writer's list */
    uint32_t object_index;
    uint32_t order;             /* in its directory's list */
    uint64_t ino;
    uint64_t data;
    struct statx st;            /* with DLC_N_STAT */
    char *target;               /* symlink, with DLC_N_STAT */
    UT_hash_handle hh;
    uint16_t name_len;
    char name[];
};

struct tree {
    struct tree_node *root;
    size_t count;
    struct glances glances; /* what was looked at beforehand; empty where nothing was */
};

void tree_init(struct tree *t);
void tree_free(struct tree *t);

/* The child of that name, or NULL. */
struct tree_node *tree_child(const struct tree_node *dir, const char *name, size_t len);
/* The same; a node about which nothing is known yet is added. */
struct tree_node *tree_add(struct tree *t, struct tree_node *dir, const char *name, size_t len);

/* Resolves an absolute path as the kernel does; every name on the way becomes a node. The node, or NULL where there is
 * nothing (*missing: the directory in which the first missing name would be) or where it cannot be told (*missing
 * NULL). */
struct tree_node *tree_walk(struct tree *t, const char *path, bool follow, struct tree_node **missing);

/* The absolute path of a node: heap. */
char *tree_path(const struct tree_node *n);

/* Opens a file for reading, or with O_DIRECTORY a directory; its time of access stays as it is where the kernel
 * permits that. A descriptor, or -1 with errno. Never waits for a FIFO, never follows a symlink. */
int tree_open(const char *path, int flags);

/* What tells whether an open file or directory is still what was looked at: kind, inode, size, times of change. Not the
 * time of access, which having read would make a network's client ask its server for again. 0 or -errno. */
int tree_stat(int fd, struct statx *st);

/* From `n` on, of every directory that is not frozen only the way through it stays known: names come and go in it, and
 * change its stat data, while the job runs. */
void tree_forget_unfrozen(struct tree_node *n);

#endif
