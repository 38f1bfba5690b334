/* What an older C library does not export, though the kernel has it. Rules: shim.h.
 *
 * Before 2.33 stat and its like were __xstat's; execveat came with 2.34, the newer calls for mounts with 2.36. Who looks
 * for such a name there, with dlsym, finds ours, and takes it for the real one. So it does what that would. */
#include "libdlcache/sys.h"
#include "shim.h"

/* Not in the headers of the kernels of that time; the same number everywhere. */
enum { OPEN_TREE = 428, MOVE_MOUNT = 429, FSPICK = 433 };

static int told(long rc)
{
    if (rc >= 0)
        return (int)rc;
    errno = (int)-rc;
    return -1;
}

static int older_stat(const char *path, struct stat *st)
{
    return told(sys_fstatat(AT_FDCWD, path, st, 0));
}

static int older_lstat(const char *path, struct stat *st)
{
    return told(sys_fstatat(AT_FDCWD, path, st, AT_SYMLINK_NOFOLLOW));
}

static int older_fstat(int fd, struct stat *st)
{
    return told(sys_fstat(fd, st));
}

static int older_fstatat(int dirfd, const char *path, struct stat *st, int flags)
{
    return told(sys_fstatat(dirfd, path, st, flags));
}

static int older_mknodat(int dirfd, const char *path, mode_t mode, dev_t dev)
{
    /* The kernel takes 32 bits. */
    return told(dev == (unsigned)dev ? sys_call(__NR_mknodat, dirfd, path, mode, dev) : -EINVAL);
}

static int older_mknod(const char *path, mode_t mode, dev_t dev)
{
    return older_mknodat(AT_FDCWD, path, mode, dev);
}

static int older_execveat(int dirfd, const char *path, char *const argv[], char *const envp[], int flags)
{
    return told(sys_call6(__NR_execveat, dirfd, (long)path, (long)argv, (long)envp, flags, 0));
}

static int older_open_tree(int dirfd, const char *path, unsigned flags)
{
    return told(sys_call(OPEN_TREE, dirfd, path, flags, 0));
}

static int older_fspick(int dirfd, const char *path, unsigned flags)
{
    return told(sys_call(FSPICK, dirfd, path, flags, 0));
}

static int older_move_mount(int fromfd, const char *from, int tofd, const char *to, unsigned flags)
{
    return told(sys_call6(MOVE_MOUNT, fromfd, (long)from, tofd, (long)to, flags, 0));
}

void *shim_older(enum symbol symbol)
{
    switch (symbol) {
    case SYMBOL_stat:
    case SYMBOL_stat64: return (void *)older_stat;
    case SYMBOL_lstat:
    case SYMBOL_lstat64: return (void *)older_lstat;
    case SYMBOL_fstat:
    case SYMBOL_fstat64: return (void *)older_fstat;
    case SYMBOL_fstatat:
    case SYMBOL_fstatat64: return (void *)older_fstatat;
    case SYMBOL_mknod: return (void *)older_mknod;
    case SYMBOL_mknodat: return (void *)older_mknodat;
    case SYMBOL_execveat: return (void *)older_execveat;
    case SYMBOL_open_tree: return (void *)older_open_tree;
    case SYMBOL_fspick: return (void *)older_fspick;
    case SYMBOL_move_mount: return (void *)older_move_mount;
    default: return NULL;
    }
}
