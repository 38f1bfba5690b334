/* From a tree to the bytes of an index: doc/FORMAT.md. */
#ifndef DLCACHE_WRITE_H
#define DLCACHE_WRITE_H

#include "facts/elf.h"
#include "replayer/image/build.h"
#include "replayer/image/tree.h"

/* Contents and objects, in the order in which they were planned. All zero: none. */
struct image_plan {
    struct planned_data {
        struct tree_node *node;
        char *path;
        uint64_t data;
        bool again; /* another name of a file that is planned already */
        int fd;     /* the file, open; or -1: the plan's, then the source's */
    } *data;
    size_t data_count, data_capacity;
    struct planned_object {
        struct tree_node *node;
        char *soname;
        struct elf_facts facts; /* its numbers only */
    } *objects;
    size_t object_count, object_capacity;
    struct planned_inode *inodes; /* uthash */
    uint64_t data_size;
    uint64_t tls_size;
    const struct tree_node *bundle; /* where nodes with DLC_N_MADE begin */
};

/* The node's contents are to be held: sets its DLC_N_DATA and data. */
void plan_data(struct image_plan *p, struct tree_node *n, const char *path);
void plan_object(struct image_plan *p, struct tree_node *n, const struct elf_facts *facts);
void plan_free(struct image_plan *p);

/* Fills the index, its sizes, and the sources. 0, or -1 with *error (heap). */
int write_index(struct tree *t, const struct image_plan *p, struct built *out, char **error);

#endif
