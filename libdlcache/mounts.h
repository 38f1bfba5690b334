/* What a process that went elsewhere (another root, another mount name space) sees of an image: where the file system
 * below it is the one that the stage's node had there. Raw system calls, no heap; one read of /proc/self/mountinfo.
 * For whatever attaches: the preloaded library, the audit library, programs of our own. */
#ifndef DLCACHE_MOUNTS_H
#define DLCACHE_MOUNTS_H

#include "lookup.h"

#define OWN_MOUNTS_MOST 256   /* mounts on directories and files that the image knows; more: not served */
#define OWN_MOUNTS_LINE 16384 /* bytes of one line that are looked at; all that matters has to lie there */
#define OWN_MOUNTS_ROOT 0u    /* the number of a root that is no mount point; the kernel's begin with 1 */

/* A mount of this process on a node of the image. */
struct own_mount {
    uint32_t id, parent; /* of mountinfo; OWN_MOUNTS_ROOT for the root of a chroot that is no mount point */
    uint32_t node;
    uint8_t same;  /* what is mounted there is what the image was read from */
    uint8_t known; /* the image was read from something there: without, nothing is lost */
};

/* Everything that is needed while looking, and the spots that a view points to afterwards. The caller's, to be kept
 * as long as the view. */
struct own_mounts {
    struct own_mount mounts[OWN_MOUNTS_MOST];
    uint32_t count;
    struct spot spots[OWN_MOUNTS_MOST];
    char line[OWN_MOUNTS_LINE];
};

/* Reads this process's mounts and lets the view say what of the image holds here: everything (all_agree), or what
 * its spots say. 0, or -errno, and then the view is as it was: -EXDEV nothing holds; -E2BIG too many mounts, or a
 * line that is too long; -EPROTO a line that is not one of mountinfo; or what the kernel said to opening or reading. */
int own_mounts_apply(struct own_mounts *own, struct view *v);

#endif
