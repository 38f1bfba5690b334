/* Calls that change the tree: to the kernel, then the stage is told. Rules: shim.h. */
#include <sys/un.h>
#include <sys/xattr.h>

#include "libdlcache/sys.h"
#include "shim.h"

/* --- telling the stage ------------------------------------------------------------------------------------------ */

static void mark(uint32_t node, uint8_t bits)
{
    struct dlc_state *state = shim.stage.view.state;
    uint8_t *dirty = (uint8_t *)(uintptr_t)&shim.stage.view.dirty[node];

    __atomic_store_n(&state->any_dirty, 1, __ATOMIC_RELEASE);
    __atomic_fetch_or(dirty, bits, __ATOMIC_ACQ_REL);
}

/* A file of several names changed under all of them. */
static void mark_links(const struct dlc_node *n)
{
    const struct image *im = &shim.stage.view.image;

    for (uint32_t i = 0; i < im->node_count; i++)
        if (im->nodes[i].ino == n->ino && im->nodes[i].flags & DLC_N_STAT && im->nodes[i].mount == n->mount)
            mark(i, DLC_D_SELF);
}

void shim_changed_node(uint32_t node)
{
    const struct dlc_node *n = &shim.stage.view.image.nodes[node];

    mark(node, DLC_D_SELF);
    if (n->kind != DT_DIR && n->nlink > 1)
        mark_links(n);
}

void shim_changed_slow(int dirfd, const char *path, unsigned flags, bool failed)
{
    struct found found;

    shim_note(SPOOL_WRITE, failed, dirfd, path);
    if (failed || !shim.serving)
        return;
    shim_ask(dirfd, path, (flags & LOOKUP_NOFOLLOW) | LOOKUP_CHANGED, &found);
    if (found.node != DLC_NONE)
        shim_changed_node(found.node);
    if (flags & CHANGED_NAME && found.parent != DLC_NONE)
        mark(found.parent, DLC_D_NAMES);
}

/* What was there changed. */
static int changed(int rc, int dirfd, const char *path, unsigned flags)
{
    shim_changed(dirfd, path, flags, rc != 0);
    return rc;
}

/* A name came or went: never through a symlink in the last component. */
static int renamed(int rc, int dirfd, const char *path)
{
    shim_changed(dirfd, path, LOOKUP_NOFOLLOW | CHANGED_NAME, rc != 0);
    return rc;
}

static unsigned follow(int flags)
{
    return flags & AT_SYMLINK_NOFOLLOW ? LOOKUP_NOFOLLOW : 0;
}

/* --- names ------------------------------------------------------------------------------------------------------ */

int mkdir(const char *path, mode_t mode)
{
    return renamed(REAL(mkdir)(shim_original(path), mode), AT_FDCWD, path);
}

int mkdirat(int dirfd, const char *path, mode_t mode)
{
    struct pass p;
    shim_pass(&p, dirfd, path);
    return renamed(REAL(mkdirat)(p.dirfd, p.path, mode), dirfd, path);
}

int rmdir(const char *path)
{
    return renamed(REAL(rmdir)(shim_original(path)), AT_FDCWD, path);
}

int unlink(const char *path)
{
    return renamed(REAL(unlink)(shim_original(path)), AT_FDCWD, path);
}

int unlinkat(int dirfd, const char *path, int flags)
{
    struct pass p;
    shim_pass(&p, dirfd, path);
    return renamed(REAL(unlinkat)(p.dirfd, p.path, flags), dirfd, path);
}

int remove(const char *path)
{
    return renamed(REAL(remove)(shim_original(path)), AT_FDCWD, path);
}

int rename(const char *from, const char *to)
{
    const int rc = REAL(rename)(shim_original(from), shim_original(to));
    renamed(rc, AT_FDCWD, from);
    return renamed(rc, AT_FDCWD, to);
}

int renameat(int fromfd, const char *from, int tofd, const char *to)
{
    struct pass p, q;
    shim_pass(&p, fromfd, from);
    shim_pass(&q, tofd, to);
    const int rc = REAL(renameat)(p.dirfd, p.path, q.dirfd, q.path);
    renamed(rc, fromfd, from);
    return renamed(rc, tofd, to);
}

int renameat2(int fromfd, const char *from, int tofd, const char *to, unsigned flags)
{
    struct pass p, q;
    shim_pass(&p, fromfd, from);
    shim_pass(&q, tofd, to);
    const int rc = REAL(renameat2)(p.dirfd, p.path, q.dirfd, q.path, flags);
    renamed(rc, fromfd, from);
    return renamed(rc, tofd, to);
}

int link(const char *from, const char *to)
{
    const int rc = REAL(link)(shim_original(from), shim_original(to));
    changed(rc, AT_FDCWD, from, LOOKUP_NOFOLLOW); /* its link count */
    return renamed(rc, AT_FDCWD, to);
}

int linkat(int fromfd, const char *from, int tofd, const char *to, int flags)
{
    struct pass p, q;
    if (flags & AT_EMPTY_PATH)
        shim_reopen(fromfd);
    shim_pass(&p, fromfd, from);
    shim_pass(&q, tofd, to);
    const int rc = REAL(linkat)(p.dirfd, p.path, q.dirfd, q.path, flags);
    changed(rc, fromfd, from, flags & AT_SYMLINK_FOLLOW ? 0 : LOOKUP_NOFOLLOW);
    return renamed(rc, tofd, to);
}

int symlink(const char *target, const char *path)
{
    return renamed(REAL(symlink)(shim_original(target), shim_original(path)), AT_FDCWD, path);
}

int symlinkat(const char *target, int dirfd, const char *path)
{
    struct pass p;
    shim_pass(&p, dirfd, path);
    return renamed(REAL(symlinkat)(shim_original(target), p.dirfd, p.path), dirfd, path);
}

int mknod(const char *path, mode_t mode, dev_t dev)
{
    return renamed(REAL(mknod)(shim_original(path), mode, dev), AT_FDCWD, path);
}

int mknodat(int dirfd, const char *path, mode_t mode, dev_t dev)
{
    struct pass p;
    shim_pass(&p, dirfd, path);
    return renamed(REAL(mknodat)(p.dirfd, p.path, mode, dev), dirfd, path);
}

int __xmknod(int ver, const char *path, mode_t mode, dev_t *dev)
{
    return renamed(REAL(__xmknod)(ver, shim_original(path), mode, dev), AT_FDCWD, path);
}

int __xmknodat(int ver, int dirfd, const char *path, mode_t mode, dev_t *dev)
{
    struct pass p;
    shim_pass(&p, dirfd, path);
    return renamed(REAL(__xmknodat)(ver, p.dirfd, p.path, mode, dev), dirfd, path);
}

int mkfifo(const char *path, mode_t mode)
{
    return renamed(REAL(mkfifo)(shim_original(path), mode), AT_FDCWD, path);
}

int mkfifoat(int dirfd, const char *path, mode_t mode)
{
    struct pass p;
    shim_pass(&p, dirfd, path);
    return renamed(REAL(mkfifoat)(p.dirfd, p.path, mode), dirfd, path);
}

/* A socket of the file system is a name, too; one of an abstract address begins with a NUL, and is none. */
int bind(int fd, const struct sockaddr *address, socklen_t length)
{
    const int rc = REAL(bind)(fd, address, length);

    if (rc == 0 && length > offsetof(struct sockaddr_un, sun_path) && address->sa_family == AF_UNIX) {
        const struct sockaddr_un *un = (const void *)address;
        char path[sizeof un->sun_path + 1];
        const size_t n = strnlen(un->sun_path, length - offsetof(struct sockaddr_un, sun_path));
        if (n && n < sizeof path) {
            __builtin_memcpy(path, un->sun_path, n);
            path[n] = '\0';
            renamed(rc, AT_FDCWD, path);
        }
    }
    return rc;
}

/* The C library opens it, in the child, where nobody is told: what may be written to is the kernel's from now on. */
int posix_spawn_file_actions_addopen(posix_spawn_file_actions_t *actions, int fd, const char *path, int flags,
                                     mode_t mode)
{
    const int rc = REAL(posix_spawn_file_actions_addopen)(actions, fd, shim_original(path), flags, mode);

    if (rc == 0 && ((flags & O_ACCMODE) != O_RDONLY || flags & (O_CREAT | O_TRUNC)))
        shim_changed(AT_FDCWD, path, flags & O_CREAT ? CHANGED_NAME : 0, false);
    return rc;
}

/* --- contents and attributes ------------------------------------------------------------------------------------ */

int truncate(const char *path, off_t length)
{
    return changed(REAL(truncate)(shim_original(path), length), AT_FDCWD, path, 0);
}

int truncate64(const char *path, off64_t length)
{
    return changed(REAL(truncate64)(shim_original(path), length), AT_FDCWD, path, 0);
}

int chmod(const char *path, mode_t mode)
{
    return changed(REAL(chmod)(shim_original(path), mode), AT_FDCWD, path, 0);
}

int lchmod(const char *path, mode_t mode)
{
    return changed(REAL(lchmod)(shim_original(path), mode), AT_FDCWD, path, LOOKUP_NOFOLLOW);
}

int fchmodat(int dirfd, const char *path, mode_t mode, int flags)
{
    struct pass p;
    shim_pass(&p, dirfd, path);
    return changed(REAL(fchmodat)(p.dirfd, p.path, mode, flags), dirfd, path, follow(flags));
}

int chown(const char *path, uid_t owner, gid_t group)
{
    return changed(REAL(chown)(shim_original(path), owner, group), AT_FDCWD, path, 0);
}

int lchown(const char *path, uid_t owner, gid_t group)
{
    return changed(REAL(lchown)(shim_original(path), owner, group), AT_FDCWD, path, LOOKUP_NOFOLLOW);
}

int fchownat(int dirfd, const char *path, uid_t owner, gid_t group, int flags)
{
    struct pass p;
    if (flags & AT_EMPTY_PATH && shim_strlen(path) == 0)
        return fchown(dirfd, owner, group);
    shim_pass(&p, dirfd, path);
    return changed(REAL(fchownat)(p.dirfd, p.path, owner, group, flags), dirfd, path, follow(flags));
}

int utime(const char *path, const struct utimbuf *times)
{
    return changed(REAL(utime)(shim_original(path), times), AT_FDCWD, path, 0);
}

int utimes(const char *path, const struct timeval times[2])
{
    return changed(REAL(utimes)(shim_original(path), times), AT_FDCWD, path, 0);
}

int lutimes(const char *path, const struct timeval times[2])
{
    return changed(REAL(lutimes)(shim_original(path), times), AT_FDCWD, path, LOOKUP_NOFOLLOW);
}

int futimesat(int dirfd, const char *path, const struct timeval times[2])
{
    struct pass p;
    shim_pass(&p, dirfd, path);
    return changed(REAL(futimesat)(p.dirfd, p.path, times), dirfd, path, 0);
}

int utimensat(int dirfd, const char *path, const struct timespec times[2], int flags)
{
    struct pass p;
    if (!path && dirfd != AT_FDCWD)
        shim_reopen(dirfd);
    shim_pass(&p, dirfd, path);
    return changed(REAL(utimensat)(p.dirfd, p.path, times, flags), dirfd, path, follow(flags));
}

int setxattr(const char *path, const char *name, const void *value, size_t size, int flags)
{
    return changed(REAL(setxattr)(shim_original(path), name, value, size, flags), AT_FDCWD, path, 0);
}

int lsetxattr(const char *path, const char *name, const void *value, size_t size, int flags)
{
    return changed(REAL(lsetxattr)(shim_original(path), name, value, size, flags), AT_FDCWD, path, LOOKUP_NOFOLLOW);
}

int removexattr(const char *path, const char *name)
{
    return changed(REAL(removexattr)(shim_original(path), name), AT_FDCWD, path, 0);
}

int lremovexattr(const char *path, const char *name)
{
    return changed(REAL(lremovexattr)(shim_original(path), name), AT_FDCWD, path, LOOKUP_NOFOLLOW);
}
