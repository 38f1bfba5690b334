/* The files of MOUNT/.slowfs: in every mount, in no list of names, never counted, never late. Whoever comes to them by
 * a node's mount may need that mount's own attributes, which is a request like any other; a mount of --control has
 * these files and nothing else, and makes none.
 *   counters   JSON            reset    writing anything sets the counters to 0
 *   fault      see faults.h    latency  "lookup=300,open=500" */
#ifndef SLOWFS_CONTROL_H
#define SLOWFS_CONTROL_H

#include "slowfs.h"

/* Whether the number is that of .slowfs or of a file in it. */
bool control_owns(fuse_req_t, fuse_ino_t);

/* Looks `name` up in `parent`; false: it is none of ours. */
bool control_lookup(fuse_req_t, fuse_ino_t parent, const char *name);

void control_getattr(fuse_req_t, fuse_ino_t);
void control_open(fuse_req_t, fuse_ino_t, struct fuse_file_info *);
void control_read(fuse_req_t, size_t size, off_t offset, const struct fuse_file_info *);
void control_write(fuse_req_t, fuse_ino_t, const char *data, size_t size);
void control_release(fuse_req_t, struct fuse_file_info *);
void control_opendir(fuse_req_t, struct fuse_file_info *);
void control_readdir(fuse_req_t, size_t size, off_t offset);

#endif
