/* Calls on a descriptor that have to reach the original: locks are seen by every node, attributes belong to the file.
 * Rules: shim.h.
 *
 * A descriptor of a mirror file becomes one of the original, under its number, before such a call. Copies of it that
 * were made before (dup, fork) stay the mirror's: they share no offset with it any more. */
#include <stdarg.h>
#include <sys/file.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>

#include "libdlcache/sys.h"
#include "shim.h"

uint32_t shim_reopen(int fd)
{
    const uint32_t node = shim.serving ? shim_node_of_fd(fd) : DLC_NONE;
    char path[4096 + 256];

    if (node == DLC_NONE || image_path(&shim.stage.view.image, node, path, sizeof path) < 0)
        return DLC_NONE;
    const long flags = sys_call(__NR_fcntl, fd, F_GETFL, 0, 0);
    const long cloexec = sys_call(__NR_fcntl, fd, F_GETFD, 0, 0);
    const long offset = sys_call(__NR_lseek, fd, 0, SEEK_CUR, 0);
    if (flags < 0 || cloexec < 0)
        return DLC_NONE;
    const int other = sys_openat(AT_FDCWD, path, (int)(flags & ~O_CREAT) | O_CLOEXEC, 0);
    if (other < 0)
        return DLC_NONE;
    if (offset > 0)
        sys_call(__NR_lseek, other, offset, SEEK_SET, 0);
    sys_call(__NR_dup3, other, fd, cloexec & FD_CLOEXEC ? O_CLOEXEC : 0, 0);
    sys_close(other);
    return node;
}

/* The path of the original, for calls that have a form with a path and change nothing. */
static bool original_path(int fd, char path[4096 + 256])
{
    const uint32_t node = shim.serving ? shim_node_of_fd(fd) : DLC_NONE;

    return node != DLC_NONE && image_path(&shim.stage.view.image, node, path, 4096 + 256) >= 0;
}

/* --- locks ------------------------------------------------------------------------------------------------------ */

int flock(int fd, int operation)
{
    shim_reopen(fd);
    return REAL(flock)(fd, operation);
}

int lockf(int fd, int command, off_t length)
{
    shim_reopen(fd);
    return REAL(lockf)(fd, command, length);
}

int lockf64(int fd, int command, off64_t length)
{
    shim_reopen(fd);
    return REAL(lockf64)(fd, command, length);
}

static bool locks(int command)
{
    switch (command) {
    case F_GETLK:
    case F_SETLK:
    case F_SETLKW:
    case F_OFD_GETLK:
    case F_OFD_SETLK:
    case F_OFD_SETLKW:
    case F_SETLEASE:
    case F_GETLEASE:
    case F_NOTIFY: return true;
    default: return false;
    }
}

/* Whatever the third argument is, it comes as one word. */
int fcntl(int fd, int command, ...)
{
    va_list ap;
    va_start(ap, command);
    void *arg = va_arg(ap, void *);
    va_end(ap);
    if (locks(command))
        shim_reopen(fd);
    return REAL(fcntl)(fd, command, arg);
}

int fcntl64(int fd, int command, ...)
{
    va_list ap;
    va_start(ap, command);
    void *arg = va_arg(ap, void *);
    va_end(ap);
    if (locks(command))
        shim_reopen(fd);
    return REAL(fcntl64)(fd, command, arg);
}

/* --- attributes ------------------------------------------------------------------------------------------------- */

static int changed(int rc, uint32_t node)
{
    if (rc == 0 && node != DLC_NONE)
        shim_changed_node(node);
    return rc;
}

/* The descriptor may be the original's already, and the file all the same one of the image. */
static uint32_t node_to_change(int fd)
{
    const uint32_t node = shim_reopen(fd);
    return node != DLC_NONE || !shim.serving ? node : shim_original_node_of_fd(fd);
}

int fchmod(int fd, mode_t mode)
{
    const uint32_t node = node_to_change(fd);
    return changed(REAL(fchmod)(fd, mode), node);
}

int fchown(int fd, uid_t owner, gid_t group)
{
    const uint32_t node = node_to_change(fd);
    return changed(REAL(fchown)(fd, owner, group), node);
}

int futimens(int fd, const struct timespec times[2])
{
    const uint32_t node = node_to_change(fd);
    return changed(REAL(futimens)(fd, times), node);
}

int futimes(int fd, const struct timeval times[2])
{
    const uint32_t node = node_to_change(fd);
    return changed(REAL(futimes)(fd, times), node);
}

int fsetxattr(int fd, const char *name, const void *value, size_t size, int flags)
{
    const uint32_t node = node_to_change(fd);
    return changed(REAL(fsetxattr)(fd, name, value, size, flags), node);
}

int fremovexattr(int fd, const char *name)
{
    const uint32_t node = node_to_change(fd);
    return changed(REAL(fremovexattr)(fd, name), node);
}

ssize_t fgetxattr(int fd, const char *name, void *value, size_t size)
{
    char path[4096 + 256];
    return original_path(fd, path) ? getxattr(path, name, value, size) : REAL(fgetxattr)(fd, name, value, size);
}

ssize_t flistxattr(int fd, char *list, size_t size)
{
    char path[4096 + 256];
    return original_path(fd, path) ? listxattr(path, list, size) : REAL(flistxattr)(fd, list, size);
}

/* --- the file system -------------------------------------------------------------------------------------------- */

int fstatfs(int fd, struct statfs *fs)
{
    char path[4096 + 256];
    return original_path(fd, path) ? statfs(path, fs) : REAL(fstatfs)(fd, fs);
}

int fstatfs64(int fd, struct statfs64 *fs)
{
    char path[4096 + 256];
    return original_path(fd, path) ? statfs64(path, fs) : REAL(fstatfs64)(fd, fs);
}

int fstatvfs(int fd, struct statvfs *fs)
{
    char path[4096 + 256];
    return original_path(fd, path) ? statvfs(path, fs) : REAL(fstatvfs)(fd, fs);
}

int fstatvfs64(int fd, struct statvfs64 *fs)
{
    char path[4096 + 256];
    return original_path(fd, path) ? statvfs64(path, fs) : REAL(fstatvfs64)(fd, fs);
}

long fpathconf(int fd, int name)
{
    char path[4096 + 256];
    return original_path(fd, path) ? pathconf(path, name) : REAL(fpathconf)(fd, name);
}
