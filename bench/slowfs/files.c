#include "ops.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "control.h"
#include "service.h"

/* Reading leaves the source's times of access as they are, as on such file systems. O_APPEND is the kernel's. */
static int server_flags(int flags)
{
    return (flags & (O_ACCMODE | O_TRUNC | O_DSYNC | O_SYNC)) | O_NOATIME | O_CLOEXEC;
}

static void reply_open(fuse_req_t req, int fd, struct fuse_file_info *fi)
{
    fi->fh = (uint64_t)fd;
    fi->keep_cache = settings.keep_cache;
    if (fuse_reply_open(req, fi) == -ENOENT)
        close(fd);
}

void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    if (control_owns(req, ino)) {
        control_open(req, ino, fi);
        return;
    }
    if (settings.read_only && ((fi->flags & O_ACCMODE) != O_RDONLY || (fi->flags & O_TRUNC))) {
        fuse_reply_err(req, EROFS);
        return;
    }
    if (!service(req, KIND_open, ino, NULL, 0))
        return;
    const int fd = open(proc_name(fd_of(req, ino)).text, server_flags(fi->flags));
    if (fd < 0)
        fuse_reply_err(req, errno);
    else
        reply_open(req, fd, fi);
}

void op_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *fi)
{
    struct fuse_entry_param entry;
    const struct fuse_ctx *const who = fuse_req_ctx(req);

    if (!service(req, KIND_create, parent, name, 0))
        return;
    const int fd = openat(fd_of(req, parent), name,
                          (server_flags(fi->flags) & ~O_NOATIME) | O_CREAT | O_NOFOLLOW | (fi->flags & O_EXCL), mode);
    if (fd < 0 || (who->uid != 0 && fchown(fd, who->uid, who->gid) != 0)) {
        fuse_reply_err(req, errno);
        if (fd >= 0)
            close(fd);
        return;
    }
    const int error = find(req, parent, name, &entry);
    if (error) {
        close(fd);
        fuse_reply_err(req, error);
        return;
    }
    struct inodes *const table = inodes(req);
    fi->fh = (uint64_t)fd;
    fi->keep_cache = settings.keep_cache;
    if (fuse_reply_create(req, &entry, fi) == -ENOENT) {
        close(fd);
        inodes_forget(table, entry.ino, 1);
    }
}

void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi)
{
    if (control_owns(req, ino)) {
        control_read(req, size, offset, fi);
        return;
    }
    char *const data = malloc(size);
    const ssize_t n = data ? pread((int)fi->fh, data, size, offset) : -1;
    const int error = errno;
    if (service(req, KIND_read, ino, NULL, n > 0 ? (size_t)n : 0)) {
        if (n < 0)
            fuse_reply_err(req, error);
        else
            fuse_reply_buf(req, data, (size_t)n);
    }
    free(data);
}

void op_write(fuse_req_t req, fuse_ino_t ino, const char *data, size_t size, off_t offset,
                     struct fuse_file_info *fi)
{
    if (control_owns(req, ino)) {
        control_write(req, ino, data, size);
        return;
    }
    if (!service(req, KIND_write, ino, NULL, size))
        return;
    const ssize_t n = pwrite((int)fi->fh, data, size, offset);
    if (n < 0)
        fuse_reply_err(req, errno);
    else
        fuse_reply_write(req, (size_t)n);
}

void op_fsync(fuse_req_t req, fuse_ino_t ino, int data_only, struct fuse_file_info *fi)
{
    if (service(req, KIND_fsync, ino, NULL, 0))
        reply_done(req, data_only ? fdatasync((int)fi->fh) : fsync((int)fi->fh));
}

void op_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t offset, off_t length,
                         struct fuse_file_info *fi)
{
    if (service(req, KIND_fallocate, ino, NULL, 0))
        reply_done(req, fallocate((int)fi->fh, mode, offset, length));
}

void op_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    if (control_owns(req, ino)) {
        control_release(req, fi);
        return;
    }
    const int fd = (int)fi->fh;
    if (service(req, KIND_release, ino, NULL, 0))
        fuse_reply_err(req, 0);
    close(fd);
}
