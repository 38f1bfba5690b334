/* Calls that change the tree: to the kernel, then the stage is told. Rules: shim.h. */
#include <limits.h>
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
    __atomic_fetch_add(&state->changes, 1, __ATOMIC_ACQ_REL);
    __atomic_fetch_or(dirty, bits, __ATOMIC_ACQ_REL);
    __atomic_fetch_add(&state->changes, 1, __ATOMIC_ACQ_REL);
}

/* A file of several names changed under all of them. Of a name that the pilot did not touch no more may be known than
 * its inode number, and no device: marking too many costs a call, one too few would be wrong. */
static void mark_links(const struct dlc_node *n)
{
    const struct image *im = &shim.stage.view.image;

    for (uint32_t i = 0; i < im->node_count; i++) {
        const struct dlc_node *other = &im->nodes[i];
        const bool same = n->ino ? other->ino == n->ino : other->nlink > 1;
        if (same && other->kind != DT_DIR)
            mark(i, DLC_D_SELF);
    }
}

void shim_changed_node(uint32_t node)
{
    const struct dlc_node *n = &shim.stage.view.image.nodes[node];

    mark(node, DLC_D_SELF);
    if (n->kind != DT_DIR && (n->nlink > 1 || !(n->flags & DLC_N_STAT)))
        mark_links(n);
}

static bool is_below(uint32_t node, uint32_t dir)
{
    while (node > dir) /* parents come before their children */
        node = shim.stage.view.image.nodes[node].parent;
    return node == dir;
}

/* Files below a directory that went elsewhere may be changed there, under names that nobody knows, and have
 * others. */
static void mark_links_below(uint32_t dir)
{
    const struct image *im = &shim.stage.view.image;

    for (uint32_t i = dir + 1; i < im->node_count; i++) {
        const struct dlc_node *n = &im->nodes[i];
        if (n->kind != DT_DIR && (n->nlink > 1 || !(n->flags & DLC_N_STAT)) && is_below(i, dir))
            mark_links(n);
    }
}

static void mark_found(const struct found *found, unsigned flags)
{
    if (found->node != DLC_NONE) {
        shim_changed_node(found->node);
        if (flags & CHANGED_NAME && shim.stage.view.image.nodes[found->node].kind == DT_DIR)
            mark_links_below(found->node);
    }
    if (flags & CHANGED_NAME && found->parent != DLC_NONE)
        mark(found->parent, DLC_D_NAMES);
}

/* Where the last name of `path`, of `len` bytes, begins, and its length: 0 where there is none to split off. */
static size_t last_name(const char *path, size_t len, size_t *start)
{
    size_t end = len, at;

    while (end > 0 && path[end - 1] == '/')
        end--;
    for (at = end; at > 0 && path[at - 1] != '/';)
        at--;
    const size_t n = end - at;
    *start = at;
    return path[at] == '.' && (n == 1 || (n == 2 && path[at + 1] == '.')) ? 0 : n;
}

/* A file that the image has under another name only. What the client knows already will do: no request is made. */
static void mark_inode(int fd)
{
    const struct image *im = &shim.stage.view.image;
    struct statx x;

    if (sys_call6(__NR_statx, fd, (long)"", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE | STATX_NLINK | STATX_INO,
                  (long)&x, 0) != 0 ||
        x.stx_nlink < 2 || S_ISDIR(x.stx_mode))
        return;
    for (uint32_t i = 0; i < im->node_count; i++)
        if (im->nodes[i].ino == x.stx_ino && im->nodes[i].kind != DT_DIR)
            mark(i, DLC_D_SELF);
}

/* The directory that the last name of a path is in. */
static __attribute__((noinline)) int open_above(int dirfd, const char *path, size_t start)
{
    char dir[start + 2];

    __builtin_memcpy(dir, path, start);
    if (start == 0)
        dir[start++] = '.';
    dir[start] = '\0';
    return sys_openat(dirfd, dir, O_PATH | O_CLOEXEC, 0);
}

/* `name`, of `len` bytes, or nothing, below the directory that is open, whose path takes less than `room` bytes; false:
 * more. */
static __attribute__((noinline)) bool find_below(size_t room, int fd, const char *name, size_t len, struct found *found)
{
    char path[room + 1 + len];
    const long n = shim_read_fd_link(fd, path, room);

    if (n == (long)room)
        return false;
    found->node = found->parent = DLC_NONE;
    if (n <= 0 || path[0] != '/')
        return true;
    path[n] = '/';
    __builtin_memcpy(path + n + 1, name, len);
    lookup(&shim.stage.view, path, (size_t)n + (len ? 1 + len : 0), LOOKUP_NOFOLLOW | LOOKUP_CHANGED, found);
    return true;
}

/* Where a path leads now, as the kernel says: through what is not in the index, or is there no more as it was. */
static bool resolve(int dirfd, const char *path, unsigned flags, struct found *found)
{
    struct pass p;
    size_t start = 0;

    shim_pass(&p, dirfd, path);
    const long len = shim_strlen(p.path);
    if (len <= 0)
        return false;
    const size_t name = flags & LOOKUP_NOFOLLOW ? last_name(p.path, (size_t)len, &start) : 0;
    if (name > NAME_MAX)
        return false;
    const int fd = name ? open_above(p.dirfd, p.path, start) : sys_openat(p.dirfd, p.path, O_PATH | O_CLOEXEC, 0);
    if (fd < 0)
        return false;
    if (!name)
        mark_inode(fd);
    const bool is_found = find_below(SHIM_SHORT, fd, p.path + start, name, found) ||
                          find_below(PATH_MAX, fd, p.path + start, name, found);
    sys_close(fd);
    return is_found;
}

static void tell(int dirfd, const char *path, unsigned flags)
{
    struct found found;

    const bool trusted = !__atomic_load_n(&shim.stage.view.state->any_dirty, __ATOMIC_ACQUIRE);
    shim_ask(dirfd, path, (flags & LOOKUP_NOFOLLOW) | LOOKUP_CHANGED, &found);
    const bool known = found.node != DLC_NONE;
    mark_found(&found, flags);
    if ((!trusted || !known) && resolve(dirfd, path, flags, &found))
        mark_found(&found, flags);
}

void shim_changed_slow(int dirfd, const char *path, unsigned flags, bool failed)
{
    shim_note(SPOOL_WRITE, failed, dirfd, path);
    if (!failed && shim.serving)
        tell(dirfd, path, flags);
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

/* A call with a descriptor and no path is one on what the descriptor stands for: the original, from now on. Its node, or
 * DLC_NONE. */
static uint32_t descriptor_itself(int fd, const char *path, int flags)
{
    if (!shim.serving || fd == AT_FDCWD || (path && !(flags & AT_EMPTY_PATH && shim_strlen(path) == 0)))
        return DLC_NONE;
    return shim_reopen(fd);
}

static int changed_itself(int rc, uint32_t node)
{
    if (rc == 0 && node != DLC_NONE)
        shim_changed_node(node);
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

/* Before the call: it may move the current directory, and what is relative to it leads elsewhere then; and who looks
 * between the two is to find the one name or the other, never both or none. */
static void will_rename(int fromfd, const char *from, int tofd, const char *to)
{
    if (!shim.serving)
        return;
    tell(fromfd, from, LOOKUP_NOFOLLOW | CHANGED_NAME);
    tell(tofd, to, LOOKUP_NOFOLLOW | CHANGED_NAME);
}

int rename(const char *from, const char *to)
{
    will_rename(AT_FDCWD, from, AT_FDCWD, to);
    const int rc = REAL(rename)(shim_original(from), shim_original(to));
    shim_note(SPOOL_WRITE, rc != 0, AT_FDCWD, from);
    shim_note(SPOOL_WRITE, rc != 0, AT_FDCWD, to);
    return rc;
}

int renameat(int fromfd, const char *from, int tofd, const char *to)
{
    struct pass p, q;
    shim_pass(&p, fromfd, from);
    shim_pass(&q, tofd, to);
    will_rename(fromfd, from, tofd, to);
    const int rc = REAL(renameat)(p.dirfd, p.path, q.dirfd, q.path);
    shim_note(SPOOL_WRITE, rc != 0, fromfd, from);
    shim_note(SPOOL_WRITE, rc != 0, tofd, to);
    return rc;
}

int renameat2(int fromfd, const char *from, int tofd, const char *to, unsigned flags)
{
    struct pass p, q;
    shim_pass(&p, fromfd, from);
    shim_pass(&q, tofd, to);
    will_rename(fromfd, from, tofd, to);
    const int rc = REAL(renameat2)(p.dirfd, p.path, q.dirfd, q.path, flags);
    shim_note(SPOOL_WRITE, rc != 0, fromfd, from);
    shim_note(SPOOL_WRITE, rc != 0, tofd, to);
    return rc;
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
    const uint32_t node = descriptor_itself(fromfd, from, flags);
    shim_pass(&p, fromfd, from);
    shim_pass(&q, tofd, to);
    const int rc = REAL(linkat)(p.dirfd, p.path, q.dirfd, q.path, flags);
    changed_itself(rc, node);
    changed(rc, fromfd, from, flags & AT_SYMLINK_FOLLOW ? 0 : LOOKUP_NOFOLLOW);
    return renamed(rc, tofd, to);
}

int symlink(const char *target, const char *path)
{
    return renamed(REAL(symlink)(target, shim_original(path)), AT_FDCWD, path);
}

int symlinkat(const char *target, int dirfd, const char *path)
{
    struct pass p;
    shim_pass(&p, dirfd, path);
    return renamed(REAL(symlinkat)(target, p.dirfd, p.path), dirfd, path);
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
    const uint32_t node = descriptor_itself(dirfd, path, flags);
    shim_pass(&p, dirfd, path);
    const int rc = changed_itself(REAL(fchmodat)(p.dirfd, p.path, mode, flags), node);
    return changed(rc, dirfd, path, follow(flags));
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
    const uint32_t node = descriptor_itself(dirfd, path, 0);
    shim_pass(&p, dirfd, path);
    const int rc = changed_itself(REAL(futimesat)(p.dirfd, p.path, times), node);
    return changed(rc, dirfd, path, 0);
}

int utimensat(int dirfd, const char *path, const struct timespec times[2], int flags)
{
    struct pass p;
    const uint32_t node = descriptor_itself(dirfd, path, flags);
    shim_pass(&p, dirfd, path);
    const int rc = changed_itself(REAL(utimensat)(p.dirfd, p.path, times, flags), node);
    return changed(rc, dirfd, path, follow(flags));
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
