#include "ops.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "control.h"
#include "service.h"

int find(fuse_req_t req, fuse_ino_t parent, const char *name, struct fuse_entry_param *entry)
{
    const int fd = openat(fd_of(req, parent), name, O_PATH | O_NOFOLLOW | O_CLOEXEC);

    memset(entry, 0, sizeof *entry);
    if (fd < 0)
        return errno;
    if (fstatat(fd, "", &entry->attr, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) != 0) {
        const int error = errno;
        close(fd);
        return error;
    }
    const struct inode *const inode = inodes_enter(inodes(req), fd, &entry->attr);
    if (!inode)
        return ENOMEM;
    entry->ino = inodes_number(inodes(req), inode);
    entry->generation = inode->generation;
    entry->attr_timeout = settings.attr_timeout;
    entry->entry_timeout = settings.entry_timeout;
    return 0;
}

/* The kernel does not take what was found where its caller was killed meanwhile. */
static void reply_entry(fuse_req_t req, const struct fuse_entry_param *entry)
{
    struct inodes *const table = inodes(req);

    if (fuse_reply_entry(req, entry) == -ENOENT && entry->ino)
        inodes_forget(table, entry->ino, 1);
}

static void reply_found(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    struct fuse_entry_param entry;
    const int error = find(req, parent, name, &entry);

    if (error == ENOENT)
        service_absent(req);
    if (error == ENOENT && settings.negative_timeout > 0) {
        entry.entry_timeout = settings.negative_timeout;
        reply_entry(req, &entry);
    } else if (error) {
        fuse_reply_err(req, error);
    } else {
        reply_entry(req, &entry);
    }
}

void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    if (!control_lookup(req, parent, name) && service(req, KIND_lookup, parent, name, 0))
        reply_found(req, parent, name);
}

void op_forget(fuse_req_t req, fuse_ino_t ino, uint64_t lookups)
{
    if (!control_owns(req, ino))
        inodes_forget(inodes(req), ino, lookups);
    fuse_reply_none(req);
}

void op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *all)
{
    for (size_t i = 0; i < count; i++)
        if (!control_owns(req, all[i].ino))
            inodes_forget(inodes(req), all[i].ino, all[i].nlookup);
    fuse_reply_none(req);
}

/* What is made belongs to whoever asked for it. */
static void reply_made(fuse_req_t req, fuse_ino_t parent, const char *name, int result)
{
    const struct fuse_ctx *const who = fuse_req_ctx(req);

    if (result == 0 && who->uid != 0)
        result = fchownat(fd_of(req, parent), name, who->uid, who->gid, AT_SYMLINK_NOFOLLOW);
    if (result != 0)
        fuse_reply_err(req, errno);
    else
        reply_found(req, parent, name);
}

void op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t device)
{
    if (service(req, KIND_mknod, parent, name, 0))
        reply_made(req, parent, name, mknodat(fd_of(req, parent), name, mode, device));
}

void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
    if (service(req, KIND_mkdir, parent, name, 0))
        reply_made(req, parent, name, mkdirat(fd_of(req, parent), name, mode));
}

void op_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
    if (service(req, KIND_symlink, parent, name, 0))
        reply_made(req, parent, name, symlinkat(target, fd_of(req, parent), name));
}

void op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent, const char *name)
{
    if (!service(req, KIND_link, parent, name, 0))
        return;
    if (linkat(AT_FDCWD, proc_name(fd_of(req, ino)).text, fd_of(req, parent), name, AT_SYMLINK_FOLLOW) != 0)
        fuse_reply_err(req, errno);
    else
        reply_found(req, parent, name);
}

void op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    if (service(req, KIND_unlink, parent, name, 0))
        reply_done(req, unlinkat(fd_of(req, parent), name, 0));
}

void op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    if (service(req, KIND_rmdir, parent, name, 0))
        reply_done(req, unlinkat(fd_of(req, parent), name, AT_REMOVEDIR));
}

void op_rename(fuse_req_t req, fuse_ino_t from, const char *name, fuse_ino_t to, const char *new_name,
                      unsigned flags)
{
    if (service(req, KIND_rename, from, name, 0))
        reply_done(req, renameat2(fd_of(req, from), name, fd_of(req, to), new_name, flags));
}

void op_readlink(fuse_req_t req, fuse_ino_t ino)
{
    char target[4097];

    if (!service(req, KIND_readlink, ino, NULL, 0))
        return;
    const ssize_t n = readlinkat(fd_of(req, ino), "", target, sizeof target - 1);
    if (n < 0) {
        fuse_reply_err(req, errno);
        return;
    }
    target[n] = '\0';
    fuse_reply_readlink(req, target);
}
