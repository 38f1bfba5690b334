/* Calls through a descriptor that mean the original's file system, not only its bytes: handles, marks, syncing,
 * copies within one file system, its ioctls, and the directory that a spawned child begins in. Rules: shim.h.
 *
 * As in descriptor.c, a descriptor of the mirror becomes one of the original, under its number, before such a call.
 */
#include <linux/fs.h>
#include <stdarg.h>
#include <stdint.h>

#include "libdlcache/sys.h"
#include "shim.h"

/* The object is the descriptor itself. */
static void reopen_empty(int dirfd, const char *path, bool empty_means_dirfd)
{
    if (shim.serving && empty_means_dirfd && (!path || shim_strlen(path) == 0))
        shim_reopen(dirfd);
}

/* --- handles and marks ------------------------------------------------------------------------------------------ */

int name_to_handle_at(int dirfd, const char *path, struct file_handle *handle, int *mount_id, int flags)
{
    struct pass p;
    reopen_empty(dirfd, path, flags & AT_EMPTY_PATH);
    shim_pass(&p, dirfd, path);
    return REAL(name_to_handle_at)(p.dirfd, p.path, handle, mount_id, flags);
}

/* What it opens has no path that was asked for: it is known by the path that it has. */
int open_by_handle_at(int mount_fd, struct file_handle *handle, int flags)
{
    shim_reopen(mount_fd);
    const int fd = REAL(open_by_handle_at)(mount_fd, handle, flags);
    if (fd >= 0 && shim.serving && ((flags & O_ACCMODE) != O_RDONLY || flags & O_TRUNC)) {
        const uint32_t node = shim_original_node_of_fd(fd);
        if (node != DLC_NONE)
            shim_changed_node(node);
    }
    return fd;
}

int fanotify_mark(int group, unsigned flags, uint64_t mask, int dirfd, const char *path)
{
    struct pass p;
    reopen_empty(dirfd, path, !path);
    shim_pass(&p, dirfd, path);
    return REAL(fanotify_mark)(group, flags, mask, p.dirfd, p.path);
}

/* --- syncing: a directory's descriptor for the names in it, any descriptor for its file system ------------------ */

int fsync(int fd)
{
    shim_reopen(fd);
    return REAL(fsync)(fd);
}

int fdatasync(int fd)
{
    shim_reopen(fd);
    return REAL(fdatasync)(fd);
}

int syncfs(int fd)
{
    shim_reopen(fd);
    return REAL(syncfs)(fd);
}

/* --- copies within one file system ------------------------------------------------------------------------------ */

ssize_t copy_file_range(int from, off64_t *from_offset, int to, off64_t *to_offset, size_t size, unsigned flags)
{
    shim_reopen(from);
    return REAL(copy_file_range)(from, from_offset, to, to_offset, size, flags);
}

/* The descriptor in a struct file_clone_range of the caller's, which may not be readable. */
static int cloned_from(const void *range)
{
    if (sys_call(__NR_rt_sigprocmask, -1, (long)range, 0, 8) != -EINVAL)
        return -1;
    return (int)((const struct file_clone_range *)range)->src_fd;
}

/* Those of file systems: attributes (chattr), extents, clones. Everything else is a device's. */
int ioctl(int fd, unsigned long request, ...)
{
    va_list ap;
    va_start(ap, request);
    void *arg = va_arg(ap, void *);
    va_end(ap);
    const unsigned type = (request >> 8) & 0xff;
    uint32_t node = DLC_NONE;

    if (shim.serving && (type == 'f' || type == 'v' || type == 'X' || type == 0x94)) {
        node = shim_reopen(fd);
        if (request == FICLONE)
            shim_reopen((int)(intptr_t)arg);
        else if (request == FICLONERANGE)
            shim_reopen(cloned_from(arg));
        if (node == DLC_NONE)
            node = shim_original_node_of_fd(fd);
    }
    const int rc = REAL(ioctl)(fd, request, arg);
    /* Those that only ask are told from the others by their direction. */
    if (rc == 0 && node != DLC_NONE && (request >> 30 & 1))
        shim_changed_node(node);
    return rc;
}

/* --- others ----------------------------------------------------------------------------------------------------- */

/* The child's current directory is seen by everybody: never one of the mirror. */
int posix_spawn_file_actions_addfchdir_np(posix_spawn_file_actions_t *actions, int fd)
{
    shim_reopen(fd);
    return REAL(posix_spawn_file_actions_addfchdir_np)(actions, fd);
}

/* Another name that the C library exports for fcntl. */
int __fcntl(int fd, int command, ...)
{
    va_list ap;
    va_start(ap, command);
    void *arg = va_arg(ap, void *);
    va_end(ap);
    return fcntl(fd, command, arg);
}
