/* A stage on this node: opening one for reading, and the names of its parts. Raw system calls only; no descriptor
 * stays open. May be called where there is no C library. */
#ifndef DLCACHE_STAGE_H
#define DLCACHE_STAGE_H

#include "lookup.h"

#define STAGE_INDEX "index"
#define STAGE_STATE "state"
#define STAGE_MIRROR "root"
#define STAGE_RUN "run"
#define STAGE_LIB "lib/libdlcache.so"
#define STAGE_AUDIT "lib/libdlcache-audit.so"
#define STAGE_ABSENT "absent" /* is not there: below it are the names of what ld.so shall not find */

struct stage {
    struct view view;
    const struct dlc_mirror *mirror;  /* one a node */
    const uint32_t *inodes;           /* open addressing by mirror inode */
    uint32_t inode_mask;
    const struct dlc_loader *loader;
    struct dlc_counts *counts;        /* DLC_COUNT_SLOTS of them */
    uint64_t index_bytes, state_bytes; /* what is mapped */
    char dir[512];                     /* the stage's directory, absolute */
    uint32_t dir_len;
};

/* Opens the stage in the absolute directory `dir`: it must be the caller's own (owner = effective uid, mode 0700), an
 * image and a state of this version that belong together and are complete, on the file system that the state names.
 * Maps the index read-only and the state read-write; the view is that of the stage's node. 0, or -errno: -ENOENT no
 * such directory; -EPERM not the caller's own, or open to others; -EPROTO, -EPROTONOSUPPORT, -EBADMSG as image_open;
 * -ESTALE moved, incomplete, or index and state do not belong together; -ENAMETOOLONG. */
int stage_open(struct stage *s, const char *dir);
void stage_close(struct stage *s);

/* A text for what stage_open returned. */
const char *stage_error(int error);

/* The counts that this process adds to. */
struct dlc_counts *stage_counts(const struct stage *s);

static inline void stage_count(struct dlc_counts *counts, enum dlc_count what)
{
    __atomic_fetch_add(&counts->n[what], 1, __ATOMIC_RELAXED);
}

/* The node that a file of the mirror belongs to, from its stat data; DLC_NONE when it is none of ours. Any context. */
struct stat;
uint32_t stage_node_of(const struct stage *s, const struct stat *st);

#endif
