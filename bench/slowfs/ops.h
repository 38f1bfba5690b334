/* What the files of operations share. A handler runs on a thread of its node's; service() is where it waits. */
#ifndef SLOWFS_OPS_H
#define SLOWFS_OPS_H

#include "slowfs.h"

struct inodes *inodes(fuse_req_t);

/* The descriptor, O_PATH, of an inode. */
int fd_of(fuse_req_t, fuse_ino_t);

/* A name by which calls that want one reach what an O_PATH descriptor is of. */
struct proc_name {
    char text[40];
};
struct proc_name proc_name(int fd);

/* Success, or errno where the result is below 0. */
void reply_done(fuse_req_t, int result);

/* What `name` is, known once more to the kernel: 0, or errno. */
int find(fuse_req_t, fuse_ino_t parent, const char *name, struct fuse_entry_param *);

/* names.c */
void op_lookup(fuse_req_t, fuse_ino_t parent, const char *name);
void op_forget(fuse_req_t, fuse_ino_t, uint64_t lookups);
void op_forget_multi(fuse_req_t, size_t count, struct fuse_forget_data *);
void op_mknod(fuse_req_t, fuse_ino_t parent, const char *name, mode_t, dev_t);
void op_mkdir(fuse_req_t, fuse_ino_t parent, const char *name, mode_t);
void op_symlink(fuse_req_t, const char *target, fuse_ino_t parent, const char *name);
void op_link(fuse_req_t, fuse_ino_t, fuse_ino_t parent, const char *name);
void op_unlink(fuse_req_t, fuse_ino_t parent, const char *name);
void op_rmdir(fuse_req_t, fuse_ino_t parent, const char *name);
void op_rename(fuse_req_t, fuse_ino_t from, const char *name, fuse_ino_t to, const char *new_name, unsigned flags);
void op_readlink(fuse_req_t, fuse_ino_t);

/* attributes.c */
void op_getattr(fuse_req_t, fuse_ino_t, struct fuse_file_info *);
void op_setattr(fuse_req_t, fuse_ino_t, struct stat *, int which, struct fuse_file_info *);
void op_statfs(fuse_req_t, fuse_ino_t);

/* files.c */
void op_open(fuse_req_t, fuse_ino_t, struct fuse_file_info *);
void op_create(fuse_req_t, fuse_ino_t parent, const char *name, mode_t, struct fuse_file_info *);
void op_read(fuse_req_t, fuse_ino_t, size_t, off_t, struct fuse_file_info *);
void op_write(fuse_req_t, fuse_ino_t, const char *data, size_t, off_t, struct fuse_file_info *);
void op_fsync(fuse_req_t, fuse_ino_t, int data_only, struct fuse_file_info *);
void op_fallocate(fuse_req_t, fuse_ino_t, int mode, off_t, off_t length, struct fuse_file_info *);
void op_release(fuse_req_t, fuse_ino_t, struct fuse_file_info *);

/* directories.c */
void op_opendir(fuse_req_t, fuse_ino_t, struct fuse_file_info *);
void op_readdir(fuse_req_t, fuse_ino_t, size_t, off_t, struct fuse_file_info *);
void op_readdirplus(fuse_req_t, fuse_ino_t, size_t, off_t, struct fuse_file_info *);
void op_releasedir(fuse_req_t, fuse_ino_t, struct fuse_file_info *);

#endif
