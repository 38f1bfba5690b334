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

/* The original of a mirror's file, open as that one is; -1 where it is gone from its place, and another may be
 * there. */
static int open_if_original(const char *path, uint32_t node, int flags)
{
    const int other = sys_openat(AT_FDCWD, path, (flags & ~O_CREAT) | O_CLOEXEC, 0);
    if (other >= 0 && !shim_is_original(node, other, "")) {
        sys_close(other);
        return -1;
    }
    return other;
}

/* By the name that the mirror's was opened by, which takes less than `room` bytes; -2: more. */
static __attribute__((noinline)) int open_by_fd(size_t room, int fd, uint32_t node, int flags)
{
    char path[room];
    const long n = shim_read_fd_link(fd, path, room);

    if (n == (long)room)
        return -2;
    const size_t below = n > 0 ? lookup_prefix(&shim.stage.view, path, (size_t)n) : 0;
    if (below == 0)
        return -1;
    path[n] = '\0';
    return open_if_original(below == (size_t)n ? "/" : path + below, node, flags);
}

/* By a name of the image. */
static __attribute__((noinline)) int open_by_name(uint32_t name, uint32_t node, int flags)
{
    char path[image_path_room(&shim.stage.view.image, name)];

    image_path(&shim.stage.view.image, name, path, sizeof path);
    return open_if_original(path, node, flags);
}

static int open_original(int fd, uint32_t node, int flags)
{
    const struct image *im = &shim.stage.view.image;
    const struct dlc_node *n = &im->nodes[node];

    /* By the name that it was opened by, first: a file of several has several nodes. */
    int other = open_by_fd(SHIM_SHORT, fd, node, flags);
    if (other == -2)
        other = open_by_fd(PATH_MAX, fd, node, flags);
    if (other < 0)
        other = open_by_name(node, node, flags);
    for (uint32_t i = 0; other < 0 && n->kind != DT_DIR && n->nlink > 1 && i < im->node_count; i++)
        if (im->nodes[i].ino == n->ino && i != node)
            other = open_by_name(i, node, flags);
    return other;
}

uint32_t shim_reopen(int fd)
{
    const uint32_t node = shim.serving ? shim_node_of_fd(fd) : DLC_NONE;

    if (node == DLC_NONE)
        return DLC_NONE;
    const long flags = sys_call(__NR_fcntl, fd, F_GETFL, 0, 0);
    const long cloexec = sys_call(__NR_fcntl, fd, F_GETFD, 0, 0);
    const long offset = sys_call(__NR_lseek, fd, 0, SEEK_CUR, 0);
    if (flags < 0 || cloexec < 0)
        return DLC_NONE;
    const int other = open_original(fd, node, (int)flags);
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

    return node != DLC_NONE && image_path(&shim.stage.view.image, node, path, 4096 + 256) >= 0 &&
           (!shim_is_dirty(node, DLC_D_SELF) || shim_is_original(node, AT_FDCWD, path));
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

/* The kernel refuses a descriptor that is none to read from. */
static bool only_a_path(int fd)
{
    return sys_call(__NR_fcntl, fd, F_GETFL, 0, 0) & O_PATH;
}

/* Makes fd ready for a change, and tells the node that it will change. The descriptor may be the original's already,
 * and the file all the same one of the image. False: the original has no name any more that is known, and cannot be
 * reached; the mirror's file must stay as it is, and nobody but this descriptor could see the change. */
static bool to_change(int fd, uint32_t *node)
{
    *node = shim_reopen(fd);
    if (*node != DLC_NONE || !shim.serving)
        return true;
    if (shim_node_of_fd(fd) != DLC_NONE && !only_a_path(fd))
        return false;
    *node = shim_original_node_of_fd(fd);
    return true;
}

int fchmod(int fd, mode_t mode)
{
    uint32_t node;
    return to_change(fd, &node) ? changed(REAL(fchmod)(fd, mode), node) : 0;
}

int fchown(int fd, uid_t owner, gid_t group)
{
    uint32_t node;
    return to_change(fd, &node) ? changed(REAL(fchown)(fd, owner, group), node) : 0;
}

int futimens(int fd, const struct timespec times[2])
{
    uint32_t node;
    return to_change(fd, &node) ? changed(REAL(futimens)(fd, times), node) : 0;
}

int futimes(int fd, const struct timeval times[2])
{
    uint32_t node;
    return to_change(fd, &node) ? changed(REAL(futimes)(fd, times), node) : 0;
}

int fsetxattr(int fd, const char *name, const void *value, size_t size, int flags)
{
    uint32_t node;
    return to_change(fd, &node) ? changed(REAL(fsetxattr)(fd, name, value, size, flags), node) : 0;
}

int fremovexattr(int fd, const char *name)
{
    uint32_t node;
    return to_change(fd, &node) ? changed(REAL(fremovexattr)(fd, name), node) : 0;
}

ssize_t fgetxattr(int fd, const char *name, void *value, size_t size)
{
    char path[4096 + 256];
    return original_path(fd, path) && !only_a_path(fd) ? getxattr(path, name, value, size)
                                                       : REAL(fgetxattr)(fd, name, value, size);
}

ssize_t flistxattr(int fd, char *list, size_t size)
{
    char path[4096 + 256];
    return original_path(fd, path) && !only_a_path(fd) ? listxattr(path, list, size)
                                                       : REAL(flistxattr)(fd, list, size);
}

/* --- the file system -------------------------------------------------------------------------------------------- */

/* A path of the original's file system: where the file is gone from its place, the nearest directory above it. */
static bool original_place(int fd, char path[4096 + 256])
{
    const uint32_t node = shim.serving ? shim_node_of_fd(fd) : DLC_NONE;
    struct stat st;

    if (node == DLC_NONE || image_path(&shim.stage.view.image, node, path, 4096 + 256) < 0)
        return false;
    while (shim_is_dirty(node, DLC_D_SELF) && sys_fstatat(AT_FDCWD, path, &st, 0) != 0) {
        char *slash = strrchr(path, '/');
        if (slash == path)
            return false;
        *slash = '\0';
    }
    return true;
}

int fstatfs(int fd, struct statfs *fs)
{
    char path[4096 + 256];
    return original_place(fd, path) ? statfs(path, fs) : REAL(fstatfs)(fd, fs);
}

int fstatfs64(int fd, struct statfs64 *fs)
{
    char path[4096 + 256];
    return original_place(fd, path) ? statfs64(path, fs) : REAL(fstatfs64)(fd, fs);
}

int fstatvfs(int fd, struct statvfs *fs)
{
    char path[4096 + 256];
    return original_place(fd, path) ? statvfs(path, fs) : REAL(fstatvfs)(fd, fs);
}

int fstatvfs64(int fd, struct statvfs64 *fs)
{
    char path[4096 + 256];
    return original_place(fd, path) ? statvfs64(path, fs) : REAL(fstatvfs64)(fd, fs);
}

long fpathconf(int fd, int name)
{
    char path[4096 + 256];
    return original_place(fd, path) ? pathconf(path, name) : REAL(fpathconf)(fd, name);
}
