/* slowfs: a directory, passed through by FUSE to several nodes as a parallel file system's server would: all
 * requests of all nodes wait for one of a few slots, and hold it for a service time. They are counted, and can be made
 * to fail. */
#ifndef SLOWFS_H
#define SLOWFS_H

#define FUSE_USE_VERSION 31

#include <fuse_lowlevel.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "inodes.h"

enum kind {
#define KIND(name, us, changes) KIND_##name,
#include "kinds.def"
#undef KIND
    KINDS
};

/* One mount: a client, with the caches that the kernel keeps for it. The counts are service.c's, under its lock. */
struct node {
    const char *name, *mountpoint;
    struct fuse_session *session;
    bool mounted; /* by us, until we end */
    struct inodes inodes;
    int threads; /* that read requests; the last one to end tells main */
    uint64_t counts[KINDS], absent, failed, bytes_read, bytes_written;
};

/* What was asked for on the command line. Not changed once nodes are there. */
struct settings {
    int source; /* the directory passed through, O_PATH */
    char *source_path;
    struct node *nodes;
    size_t node_count;
    struct node control; /* has no files but those of control.h; its mount point may be NULL */
    unsigned slots;
    bool read_only, keep_cache, readdirplus;
    double attr_timeout, entry_timeout, negative_timeout;
    uint64_t bandwidth; /* bytes per second, of all nodes together; 0: no limit */
    int log;            /* descriptor, or -1 */
};
extern struct settings settings;

/* ops.c */
extern const struct fuse_lowlevel_ops slowfs_operations;
extern const struct fuse_lowlevel_ops slowfs_operations_plus;

#endif
