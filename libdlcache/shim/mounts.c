/* The newer calls after which the process sees other files, or may see fewer; as in process.c. Rules: shim.h. */
#include "libdlcache/sys.h"
#include "shim.h"

/* Of <sys/mount.h>, which older C libraries have without them. */
enum { PICK_EMPTY = 8, MOVE_FROM_EMPTY = 4, MOVE_TO_EMPTY = 0x40 };

static int left(int rc)
{
    if (rc == 0 && shim.serving)
        __atomic_store_n(&shim.left, true, __ATOMIC_RELAXED);
    return rc;
}

/* A mount is made of the original's, not of the mirror's file system. */
static int original_fd(int dirfd, const char *path, bool empty)
{
    if (shim.serving && empty && shim_strlen(path) == 0)
        shim_reopen(dirfd);
    return dirfd;
}

int open_tree(int dirfd, const char *path, unsigned flags)
{
    struct pass p;
    shim_pass(&p, original_fd(dirfd, path, flags & AT_EMPTY_PATH), path);
    return REAL(open_tree)(p.dirfd, p.path, flags);
}

int fspick(int dirfd, const char *path, unsigned flags)
{
    struct pass p;
    shim_pass(&p, original_fd(dirfd, path, flags & PICK_EMPTY), path);
    return REAL(fspick)(p.dirfd, p.path, flags);
}

int move_mount(int fromfd, const char *from, int tofd, const char *to, unsigned flags)
{
    struct pass p, q;
    shim_pass(&p, original_fd(fromfd, from, flags & MOVE_FROM_EMPTY), from);
    shim_pass(&q, original_fd(tofd, to, flags & MOVE_TO_EMPTY), to);
    return left(REAL(move_mount)(p.dirfd, p.path, q.dirfd, q.path, flags));
}

int pivot_root(const char *root, const char *old)
{
    return left(REAL(pivot_root)(shim_original(root), shim_original(old)));
}

/* Without a capability that it had, root may be refused what the index says. */
int capset(void *header, const void *data)
{
    return left(REAL(capset)(header, data));
}
