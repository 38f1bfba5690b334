/* Resolving a path in an image as the kernel would: the verdict on it. Pure: reads the image and the state, makes no
 * system call, allocates nothing; any context. */
#ifndef DLCACHE_LOOKUP_H
#define DLCACHE_LOOKUP_H

#include "image.h"
#include "recent.h"

enum verdict {
    VERDICT_UNKNOWN, /* ask the kernel */
    VERDICT_FILE,    /* a regular file whose contents are held */
    VERDICT_META,    /* stat data are known, contents are not held (symlinks, devices, files too) */
    VERDICT_DIR,     /* a directory whose stat data are known */
    VERDICT_ABSENT,  /* proved: ENOENT */
    VERDICT_NOTDIR   /* proved: a component in the middle, or one before a trailing slash, is not a directory */
};

/* What holds of the image from this node on, down to the next spot. */
struct spot {
    uint32_t node;
    uint32_t agrees; /* 0: what is seen there is something else */
};

/* What lookups need: an image, and what this node says of it. `state` and its tables may be NULL: then nothing is
 * dirty and every mount agrees. Otherwise it is all_agree; or the spots, in a process that sees other mounts than its
 * node (mounts.h); or, without any, the mounts. */
struct view {
    struct image image;
    struct dlc_state *state;
    const uint8_t *dirty;                  /* one a node */
    const struct dlc_mount_state *mounts;  /* one a mount */
    const struct spot *spots;              /* in no order; nothing agrees that no spot lies above */
    uint32_t spot_count;
    struct recent *recent;                 /* of this image, in a process that looks up much; or NULL */
    int all_agree;                         /* what the image says holds everywhere */
    const char *prefix;                    /* the mirror's path; a path below it means the original */
    uint32_t prefix_len;                   /* 0: no mirror */
};

enum {
    LOOKUP_NOFOLLOW = 1, /* do not follow a symlink in the last component (a trailing slash follows all the same) */
    LOOKUP_CHANGED = 2   /* to mark what is dirty: whatever is dirty already, and whatever is known of a name but its
                          * stat data, is walked through and found */
};

struct found {
    uint32_t node;   /* FILE, META, DIR: the node, symlinks resolved. Otherwise DLC_NONE */
    uint32_t parent; /* the last directory that the walk stood in, or DLC_NONE */
};

/* Resolves `path`, `len` bytes, from the directory `start` (0 for the root; an absolute path starts at the root
 * whatever `start` says). */
enum verdict lookup_from(const struct view *v, uint32_t start, const char *path, size_t len, unsigned flags,
                         struct found *found);

/* The same for an absolute path; one below the mirror's prefix means the original. A relative path is UNKNOWN. */
enum verdict lookup(const struct view *v, const char *path, size_t len, unsigned flags, struct found *found);

/* Bytes of `path` that are the mirror's prefix: prefix_len when it lies below the mirror, 0 when not. The rest is the
 * original's path; it is empty for the mirror's root itself. */
size_t lookup_prefix(const struct view *v, const char *path, size_t len);

#endif
