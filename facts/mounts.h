/* The mounts of this process's name space, from /proc/self/mountinfo. */
#ifndef DLCACHE_MOUNTS_H
#define DLCACHE_MOUNTS_H

#include <stdbool.h>
#include <stdint.h>
#include <uthash.h>

struct mount_point {
    char *point, *type, *source, *root; /* unescaped */
    uint64_t dev;                       /* major:minor, as makedev() */
    bool used;                          /* the caller's */
    UT_hash_handle hh;
};

struct mounts {
    struct mount_point *by_point; /* uthash; of two on one point, the one on top */
};

/* Reads the file. In a chroot that is no mount point, "/" is not in it: then it is told by what statfs and stat say of it
 * (type: the number of its file system's type; source: its inode). 0 or -errno; then there are no mounts. Lines that it does not understand are left out. */
int mounts_read(struct mounts *m, const char *file);
void mounts_free(struct mounts *m);

/* The mount that an absolute path, with its symlinks resolved, lies on; or NULL. */
struct mount_point *mounts_of(const struct mounts *m, const char *path);

#endif
