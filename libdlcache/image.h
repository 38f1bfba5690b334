/* An image in memory: checking it, and reading it. Nothing here allocates or makes a system call. */
#ifndef DLCACHE_IMAGE_H
#define DLCACHE_IMAGE_H

#include "format.h"
#include "hash.h"

/* The index of an image, mapped or read into memory by somebody else, who keeps it alive. Plain pointers into it. */
struct image {
    const struct dlc_header *header;
    const struct dlc_node *nodes;
    const struct dlc_bucket *buckets;
    const char *strings;
    const struct dlc_mount *mounts;
    const struct dlc_object *objects;
    const struct dlc_inode *inodes;
    uint32_t node_count;
    uint32_t bucket_mask;
    uint32_t mount_count;
    uint32_t object_count;
    uint64_t inode_count;
    uint64_t string_bytes;
};

/* Looks at the header alone: magic, version, features, checksum, and that every table lies inside `bytes`. 0, or
 * -errno: -EPROTO not an image; -EPROTONOSUPPORT another version or an unknown feature; -EBADMSG damaged, or shorter
 * than it says. `bytes`: what is mapped at p (at least the index; contents may follow). Any context. */
int image_open(struct image *im, const void *p, uint64_t bytes);

/* After image_open: looks at every record of every table, so that a reader may follow any of them. 0 or -EBADMSG, and
 * then *why (if not NULL) is a static text that says what is wrong. Cost: one pass over the index. */
int image_check(const struct image *im, const char **why);

/* As memcmp() == 0, of 1 to 255 bytes; a call would take longer than a name of usual length. */
static inline int image_same_name(const char *a, const char *b, size_t n)
{
    uint64_t x, y;
    uint32_t u, v;

    if (n >= 8) {
        for (size_t i = 0; i + 8 < n; i += 8) {
            __builtin_memcpy(&x, a + i, 8);
            __builtin_memcpy(&y, b + i, 8);
            if (x != y)
                return 0;
        }
        __builtin_memcpy(&x, a + n - 8, 8);
        __builtin_memcpy(&y, b + n - 8, 8);
        return x == y;
    }
    if (n >= 4) {
        __builtin_memcpy(&u, a, 4);
        __builtin_memcpy(&v, b, 4);
        if (u != v)
            return 0;
        __builtin_memcpy(&u, a + n - 4, 4);
        __builtin_memcpy(&v, b + n - 4, 4);
        return u == v;
    }
    return a[0] == b[0] && a[n / 2] == b[n / 2] && a[n - 1] == b[n - 1];
}

/* The node of that name directly below `parent`, or DLC_NONE. Any context. */
static inline uint32_t image_find(const struct image *im, uint32_t parent, const char *name, size_t len)
{
    const uint64_t hash = dlc_name_hash(parent, name, len);
    const uint32_t tag = (uint32_t)(hash >> 32);

    for (uint32_t b = (uint32_t)hash & im->bucket_mask;; b = (b + 1) & im->bucket_mask) {
        const struct dlc_bucket *bucket = &im->buckets[b];
        if (bucket->node == 0)
            return DLC_NONE;
        if (bucket->tag != tag)
            continue;
        const struct dlc_node *n = &im->nodes[bucket->node];
        if (n->parent == parent && n->name_len == len && image_same_name(im->strings + n->name, name, len))
            return bucket->node;
    }
}

/* The first node that had this (dev, ino) on the reader, or NULL. Any context. */
const struct dlc_inode *image_inode(const struct image *im, uint64_t dev, uint64_t ino);

/* Writes the absolute path of a node, NUL-terminated, into the `size` bytes at buf. Its length, or -ENAMETOOLONG. Any
 * context. */
long image_path(const struct image *im, uint32_t node, char *buf, size_t size);

/* The bytes that image_path writes for it, the NUL included. Any context. */
size_t image_path_room(const struct image *im, uint32_t node);

#endif
