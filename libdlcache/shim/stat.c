/* The stat family. Rules: shim.h. */
#include <sys/sysmacros.h>

#include "libdlcache/sys.h"
#include "shim.h"

_Static_assert(sizeof(struct stat) == sizeof(struct stat64), "one stat for both names");

static const struct dlc_node *node_at(uint32_t node)
{
    return &shim.stage.view.image.nodes[node];
}

static uint64_t dev_of(const struct dlc_node *n)
{
    return shim.stage.view.mounts[n->mount].dev;
}

void shim_fill_stat(uint32_t node, struct stat *st)
{
    const struct dlc_node *n = node_at(node);

    __builtin_memset(st, 0, sizeof *st);
    st->st_dev = dev_of(n);
    st->st_ino = n->ino;
    st->st_mode = n->mode;
    st->st_nlink = n->nlink;
    st->st_uid = n->uid;
    st->st_gid = n->gid;
    st->st_rdev = makedev(n->rdev_major, n->rdev_minor);
    st->st_size = (off_t)n->size;
    st->st_blksize = n->blksize;
    st->st_blocks = (blkcnt_t)n->blocks;
    st->st_atim = (struct timespec){n->atime, n->atime_ns};
    st->st_mtim = (struct timespec){n->mtime, n->mtime_ns};
    st->st_ctim = (struct timespec){n->ctime, n->ctime_ns};
}

static bool look_at(uint32_t name, uint32_t node, struct stat *st)
{
    char path[image_path_room(&shim.stage.view.image, name)];

    return image_path(&shim.stage.view.image, name, path, sizeof path) >= 0 &&
           shim_is_original(node, AT_FDCWD, path) && sys_fstatat(AT_FDCWD, path, st, AT_SYMLINK_NOFOLLOW) == 0;
}

/* What is open in the mirror was changed since: as the original is now, under whatever name it still has. One that
 * has none any more is as it was when its last name went. */
static __attribute__((noinline)) void fill_changed(uint32_t node, struct stat *st)
{
    const struct image *im = &shim.stage.view.image;
    const struct dlc_node *n = node_at(node);

    if (look_at(node, node, st))
        return;
    for (uint32_t i = 0; n->kind != DT_DIR && n->nlink > 1 && i < im->node_count; i++)
        if (im->nodes[i].ino == n->ino && i != node && look_at(i, node, st))
            return;
    shim_fill_stat(node, st);
    st->st_nlink = 0;
}

void shim_correct_stat(struct stat *st)
{
    if (st->st_dev != shim.stage.view.state->dev)
        return;
    const uint32_t node = stage_node_of(&shim.stage, st);
    if (node == DLC_NONE)
        return;
    if (shim_is_dirty(node, DLC_D_SELF | DLC_D_NAMES))
        fill_changed(node, st);
    else
        shim_fill_stat(node, st);
}

/* What a lookup proves, as the return value of a call; SHIM_PASS for UNKNOWN. errno is set for a failure. */
static int answer(enum verdict verdict)
{
    switch (verdict) {
    case VERDICT_FILE:
    case VERDICT_META:
    case VERDICT_DIR: return 0;
    case VERDICT_ABSENT: errno = ENOENT; return -1;
    case VERDICT_NOTDIR: errno = ENOTDIR; return -1;
    case VERDICT_UNKNOWN: break;
    }
    return SHIM_PASS;
}

static int serve(int dirfd, const char *path, struct stat *st, unsigned flags)
{
    struct found found;
    const int rc = answer(shim_ask(dirfd, path, flags, &found));

    if (rc == 0)
        shim_fill_stat(found.node, st);
    return (int)shim_count(SPOOL_STAT, rc, dirfd, path);
}

static int done(int rc, int dirfd, const char *path)
{
    shim_note(SPOOL_STAT, rc != 0, dirfd, path);
    return rc;
}

int stat(const char *path, struct stat *st)
{
    int rc = serve(AT_FDCWD, path, st, 0);
    if (rc == SHIM_PASS)
        rc = REAL(stat)(shim_original(path), st);
    return done(rc, AT_FDCWD, path);
}

int stat64(const char *path, struct stat64 *st)
{
    int rc = serve(AT_FDCWD, path, (struct stat *)st, 0);
    if (rc == SHIM_PASS)
        rc = REAL(stat64)(shim_original(path), st);
    return done(rc, AT_FDCWD, path);
}

int lstat(const char *path, struct stat *st)
{
    int rc = serve(AT_FDCWD, path, st, LOOKUP_NOFOLLOW);
    if (rc == SHIM_PASS)
        rc = REAL(lstat)(shim_original(path), st);
    return done(rc, AT_FDCWD, path);
}

int lstat64(const char *path, struct stat64 *st)
{
    int rc = serve(AT_FDCWD, path, (struct stat *)st, LOOKUP_NOFOLLOW);
    if (rc == SHIM_PASS)
        rc = REAL(lstat64)(shim_original(path), st);
    return done(rc, AT_FDCWD, path);
}

static int corrected(int rc, struct stat *st)
{
    if (rc == 0 && shim.serving)
        shim_correct_stat(st);
    return rc;
}

int fstat(int fd, struct stat *st)
{
    return corrected(REAL(fstat)(fd, st), st);
}

int fstat64(int fd, struct stat64 *st)
{
    return corrected(REAL(fstat64)(fd, st), (struct stat *)st);
}

static bool at_flags_known(int flags)
{
    return (flags & ~(AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH)) == 0;
}

static bool is_empty(const char *path, int flags)
{
    return flags & AT_EMPTY_PATH && (!path || shim_strlen(path) == 0);
}

static int serve_at(int dirfd, const char *path, struct stat *st, int flags)
{
    if (!at_flags_known(flags))
        return (int)shim_count(SPOOL_STAT, SHIM_PASS, dirfd, path);
    return serve(dirfd, path, st, flags & AT_SYMLINK_NOFOLLOW ? LOOKUP_NOFOLLOW : 0);
}

int fstatat(int dirfd, const char *path, struct stat *st, int flags)
{
    if (is_empty(path, flags))
        return corrected(REAL(fstatat)(dirfd, path, st, flags), st);
    int rc = serve_at(dirfd, path, st, flags);
    if (rc == SHIM_PASS) {
        struct pass p;
        shim_pass(&p, dirfd, path);
        rc = REAL(fstatat)(p.dirfd, p.path, st, flags);
    }
    return done(rc, dirfd, path);
}

int fstatat64(int dirfd, const char *path, struct stat64 *st, int flags)
{
    if (is_empty(path, flags))
        return corrected(REAL(fstatat64)(dirfd, path, st, flags), (struct stat *)st);
    int rc = serve_at(dirfd, path, (struct stat *)st, flags);
    if (rc == SHIM_PASS) {
        struct pass p;
        shim_pass(&p, dirfd, path);
        rc = REAL(fstatat64)(p.dirfd, p.path, st, flags);
    }
    return done(rc, dirfd, path);
}

/* --- statx ---------------------------------------------------------------------------------------------------- */

#define STATX_HELD (STATX_BASIC_STATS | STATX_BTIME)

static struct statx_timestamp stamp(int64_t seconds, uint32_t ns)
{
    return (struct statx_timestamp){.tv_sec = seconds, .tv_nsec = ns};
}

static void fill_statx(uint32_t node, struct statx *x)
{
    const struct dlc_node *n = node_at(node);
    const uint64_t dev = dev_of(n);

    __builtin_memset(x, 0, sizeof *x);
    x->stx_mask = STATX_BASIC_STATS | (n->flags & DLC_N_BTIME ? STATX_BTIME : 0);
    x->stx_blksize = n->blksize;
    x->stx_attributes = n->attributes;
    x->stx_attributes_mask = n->attributes_mask;
    x->stx_nlink = n->nlink;
    x->stx_uid = n->uid;
    x->stx_gid = n->gid;
    x->stx_mode = (uint16_t)n->mode;
    x->stx_ino = n->ino;
    x->stx_size = n->size;
    x->stx_blocks = n->blocks;
    x->stx_atime = stamp(n->atime, n->atime_ns);
    x->stx_btime = stamp(n->btime, n->btime_ns);
    x->stx_ctime = stamp(n->ctime, n->ctime_ns);
    x->stx_mtime = stamp(n->mtime, n->mtime_ns);
    x->stx_rdev_major = n->rdev_major;
    x->stx_rdev_minor = n->rdev_minor;
    x->stx_dev_major = major(dev);
    x->stx_dev_minor = minor(dev);
}

/* A question about more than the image holds (a mount's id, direct I/O) is the kernel's. */
static bool statx_held(int flags, unsigned mask)
{
    return at_flags_known(flags & ~AT_STATX_DONT_SYNC) && (mask & ~(STATX_HELD)) == 0;
}

/* Of a descriptor of the mirror whose original was changed since: what fstat says. */
static __attribute__((noinline)) int statx_changed(int fd, uint32_t node, struct statx *x)
{
    const struct dlc_node *n = node_at(node);
    struct stat st;
    const int rc = fstat(fd, &st);

    if (rc == 0) {
        __builtin_memset(x, 0, sizeof *x);
        x->stx_mask = STATX_BASIC_STATS | (n->flags & DLC_N_BTIME ? STATX_BTIME : 0);
        x->stx_btime = stamp(n->btime, n->btime_ns);
        x->stx_attributes_mask = n->attributes_mask;
        x->stx_blksize = (uint32_t)st.st_blksize;
        x->stx_nlink = (uint32_t)st.st_nlink;
        x->stx_uid = st.st_uid;
        x->stx_gid = st.st_gid;
        x->stx_mode = (uint16_t)st.st_mode;
        x->stx_ino = st.st_ino;
        x->stx_size = (uint64_t)st.st_size;
        x->stx_blocks = (uint64_t)st.st_blocks;
        x->stx_atime = stamp(st.st_atim.tv_sec, (uint32_t)st.st_atim.tv_nsec);
        x->stx_ctime = stamp(st.st_ctim.tv_sec, (uint32_t)st.st_ctim.tv_nsec);
        x->stx_mtime = stamp(st.st_mtim.tv_sec, (uint32_t)st.st_mtim.tv_nsec);
        x->stx_rdev_major = major(st.st_rdev);
        x->stx_rdev_minor = minor(st.st_rdev);
        x->stx_dev_major = major(st.st_dev);
        x->stx_dev_minor = minor(st.st_dev);
    }
    return rc;
}

int statx(int dirfd, const char *path, int flags, unsigned mask, struct statx *stx)
{
    if (shim.serving && statx_held(flags, mask)) {
        struct found found;
        int rc = SHIM_PASS;

        if (is_empty(path, flags)) {
            found.node = dirfd == AT_FDCWD ? DLC_NONE : shim_node_of_fd(dirfd);
            if (found.node != DLC_NONE && shim_is_dirty(found.node, DLC_D_SELF | DLC_D_NAMES))
                return statx_changed(dirfd, found.node, stx);
            rc = found.node == DLC_NONE ? SHIM_PASS : 0;
        } else {
            rc = answer(shim_ask(dirfd, path, flags & AT_SYMLINK_NOFOLLOW ? LOOKUP_NOFOLLOW : 0, &found));
            shim_count(SPOOL_STAT, rc, dirfd, path);
        }
        if (rc == 0)
            fill_statx(found.node, stx);
        if (rc != SHIM_PASS)
            return done(rc, dirfd, path);
    } else if (!is_empty(path, flags)) {
        shim_count(SPOOL_STAT, SHIM_PASS, dirfd, path);
    }
    struct pass p;
    shim_pass(&p, dirfd, path);
    const int rc = REAL(statx)(p.dirfd, p.path, flags, mask, stx);
    return is_empty(path, flags) ? rc : done(rc, dirfd, path);
}

/* --- the names of glibc before 2.33, which programs built there still call --------------------------------------- */

#if defined __x86_64__
#define VER_KNOWN(ver) ((ver) == 1 || (ver) == 0)
#else
#define VER_KNOWN(ver) ((ver) == 0)
#endif

int __xstat(int ver, const char *path, struct stat *st)
{
    int rc = VER_KNOWN(ver) ? serve(AT_FDCWD, path, st, 0) : SHIM_PASS;
    if (rc == SHIM_PASS)
        rc = REAL(__xstat)(ver, shim_original(path), st);
    return done(rc, AT_FDCWD, path);
}

int __xstat64(int ver, const char *path, struct stat64 *st)
{
    int rc = VER_KNOWN(ver) ? serve(AT_FDCWD, path, (struct stat *)st, 0) : SHIM_PASS;
    if (rc == SHIM_PASS)
        rc = REAL(__xstat64)(ver, shim_original(path), st);
    return done(rc, AT_FDCWD, path);
}

int __lxstat(int ver, const char *path, struct stat *st)
{
    int rc = VER_KNOWN(ver) ? serve(AT_FDCWD, path, st, LOOKUP_NOFOLLOW) : SHIM_PASS;
    if (rc == SHIM_PASS)
        rc = REAL(__lxstat)(ver, shim_original(path), st);
    return done(rc, AT_FDCWD, path);
}

int __lxstat64(int ver, const char *path, struct stat64 *st)
{
    int rc = VER_KNOWN(ver) ? serve(AT_FDCWD, path, (struct stat *)st, LOOKUP_NOFOLLOW) : SHIM_PASS;
    if (rc == SHIM_PASS)
        rc = REAL(__lxstat64)(ver, shim_original(path), st);
    return done(rc, AT_FDCWD, path);
}

int __fxstat(int ver, int fd, struct stat *st)
{
    return corrected(REAL(__fxstat)(ver, fd, st), st);
}

int __fxstat64(int ver, int fd, struct stat64 *st)
{
    return corrected(REAL(__fxstat64)(ver, fd, st), (struct stat *)st);
}

int __fxstatat(int ver, int dirfd, const char *path, struct stat *st, int flags)
{
    if (is_empty(path, flags))
        return corrected(REAL(__fxstatat)(ver, dirfd, path, st, flags), st);
    int rc = VER_KNOWN(ver) ? serve_at(dirfd, path, st, flags) : SHIM_PASS;
    if (rc == SHIM_PASS) {
        struct pass p;
        shim_pass(&p, dirfd, path);
        rc = REAL(__fxstatat)(ver, p.dirfd, p.path, st, flags);
    }
    return done(rc, dirfd, path);
}

int __fxstatat64(int ver, int dirfd, const char *path, struct stat64 *st, int flags)
{
    if (is_empty(path, flags))
        return corrected(REAL(__fxstatat64)(ver, dirfd, path, st, flags), (struct stat *)st);
    int rc = VER_KNOWN(ver) ? serve_at(dirfd, path, (struct stat *)st, flags) : SHIM_PASS;
    if (rc == SHIM_PASS) {
        struct pass p;
        shim_pass(&p, dirfd, path);
        rc = REAL(__fxstatat64)(ver, p.dirfd, p.path, st, flags);
    }
    return done(rc, dirfd, path);
}
