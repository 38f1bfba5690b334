#include "ops.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "control.h"
#include "service.h"

static void reply_attributes(fuse_req_t req, fuse_ino_t ino)
{
    struct stat st;

    if (fstatat(fd_of(req, ino), "", &st, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) != 0)
        fuse_reply_err(req, errno);
    else
        fuse_reply_attr(req, &st, settings.attr_timeout);
}

void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    (void)fi;
    if (control_owns(req, ino))
        control_getattr(req, ino);
    else if (service(req, KIND_getattr, ino, NULL, 0))
        reply_attributes(req, ino);
}

static int set_owner(int fd, const struct stat *st, int which)
{
    return fchownat(fd, "", which & FUSE_SET_ATTR_UID ? st->st_uid : (uid_t)-1,
                    which & FUSE_SET_ATTR_GID ? st->st_gid : (gid_t)-1, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW);
}

static int set_times(int fd, const struct stat *st, int which)
{
    struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_nsec = UTIME_OMIT}};

    if (which & FUSE_SET_ATTR_ATIME_NOW)
        times[0].tv_nsec = UTIME_NOW;
    else if (which & FUSE_SET_ATTR_ATIME)
        times[0] = st->st_atim;
    if (which & FUSE_SET_ATTR_MTIME_NOW)
        times[1].tv_nsec = UTIME_NOW;
    else if (which & FUSE_SET_ATTR_MTIME)
        times[1] = st->st_mtim;
    return utimensat(AT_FDCWD, proc_name(fd).text, times, 0);
}

void op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *st, int which, struct fuse_file_info *fi)
{
    (void)fi;
    if (control_owns(req, ino)) { /* a shell's ">" */
        control_getattr(req, ino);
        return;
    }
    if (!service(req, KIND_setattr, ino, NULL, 0))
        return;
    const int fd = fd_of(req, ino);
    const struct proc_name name = proc_name(fd);
    if (((which & FUSE_SET_ATTR_MODE) && chmod(name.text, st->st_mode) != 0) ||
        ((which & (FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID)) && set_owner(fd, st, which) != 0) ||
        ((which & FUSE_SET_ATTR_SIZE) && truncate(name.text, st->st_size) != 0) ||
        ((which & (FUSE_SET_ATTR_ATIME | FUSE_SET_ATTR_MTIME)) && set_times(fd, st, which) != 0))
        fuse_reply_err(req, errno);
    else
        reply_attributes(req, ino);
}

void op_statfs(fuse_req_t req, fuse_ino_t ino)
{
    struct statvfs st;

    if (!control_owns(req, ino) && !service(req, KIND_statfs, ino, NULL, 0))
        return;
    if (fstatvfs(settings.source, &st) != 0)
        fuse_reply_err(req, errno);
    else
        fuse_reply_statfs(req, &st);
}
