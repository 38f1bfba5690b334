#include "ops.h"

#include <errno.h>
#include <stdio.h>

struct inodes *inodes(fuse_req_t req)
{
    struct node *const node = fuse_req_userdata(req);
    return &node->inodes;
}

int fd_of(fuse_req_t req, fuse_ino_t ino)
{
    return inodes_of(inodes(req), ino)->fd;
}

struct proc_name proc_name(int fd)
{
    struct proc_name name;
    snprintf(name.text, sizeof name.text, "/proc/self/fd/%d", fd);
    return name;
}

void reply_done(fuse_req_t req, int result)
{
    fuse_reply_err(req, result < 0 ? errno : 0);
}

/* Several lookups in one directory at a time. (libfuse 3.14.0 does not tell the kernel.) */
static void op_init(void *node, struct fuse_conn_info *conn)
{
    (void)node;
    conn->want |= conn->capable & FUSE_CAP_PARALLEL_DIROPS;
}

/* No flush: the kernel does not tell of every close then. No access: default_permissions. No locks: the node's own. No
 * extended attributes: clients keep "security.capability", which each write asks for, in their cache. */
#define OP(name) .name = op_##name
#define OPERATIONS                                                                                                     \
    .init = op_init, OP(lookup), OP(forget), OP(forget_multi), OP(mknod), OP(mkdir), OP(symlink), OP(link),            \
    OP(unlink), OP(rmdir), OP(rename), OP(readlink), OP(getattr), OP(setattr), OP(statfs), OP(open), OP(create),       \
    OP(read), OP(write), OP(fsync), OP(fallocate), OP(release), OP(opendir), OP(readdir), OP(releasedir)

const struct fuse_lowlevel_ops slowfs_operations = {OPERATIONS};
const struct fuse_lowlevel_ops slowfs_operations_plus = {OPERATIONS, OP(readdirplus)};
