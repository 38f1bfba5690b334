/* access and its kin. Rules: shim.h. */
#include "shim.h"

/* Existence, reading and executing are in the image, as the user who staged found them, with his effective ids: the
 * same user's, unless this process runs with two different ones. Whether it may write is the kernel's to say. */
static int answer(int dirfd, const char *path, int mode, int flags)
{
    struct found found;

    if (!shim.serving || mode & ~(R_OK | X_OK) || flags & ~(AT_EACCESS | AT_SYMLINK_NOFOLLOW))
        return SHIM_PASS;
    switch (shim_ask(dirfd, path, flags & AT_SYMLINK_NOFOLLOW ? LOOKUP_NOFOLLOW : 0, &found)) {
    case VERDICT_FILE:
    case VERDICT_DIR:
    case VERDICT_META: break;
    case VERDICT_ABSENT: errno = ENOENT; return -1;
    case VERDICT_NOTDIR: errno = ENOTDIR; return -1;
    case VERDICT_UNKNOWN:
    default: return SHIM_PASS;
    }
    const struct dlc_node *n = &shim.stage.view.image.nodes[found.node];
    const unsigned have = n->flags;
    /* Before 2.33, or on Linux before 5.8, the C library finds this out itself, from the mode alone: root may not enter a
     * directory that nobody may, and lists of access control say nothing. */
    if (flags & AT_SYMLINK_NOFOLLOW && mode & ~(n->mode & n->mode >> 3 & n->mode >> 6))
        return SHIM_PASS;
    if (mode & R_OK && !(have & DLC_N_READ))
        return SHIM_PASS;
    if (mode & X_OK && !(have & DLC_N_EXEC)) {
        if (!(have & DLC_N_NOEXEC))
            return SHIM_PASS;
        errno = EACCES;
        return -1;
    }
    return 0;
}

static int serve(int dirfd, const char *path, int mode, int flags)
{
    return (int)shim_count(SPOOL_STAT, answer(dirfd, path, mode, flags), dirfd, path);
}

static int done(int rc, int dirfd, const char *path)
{
    shim_note(SPOOL_STAT, rc != 0, dirfd, path);
    return rc;
}

int access(const char *path, int mode)
{
    int rc = serve(AT_FDCWD, path, mode, 0);
    if (rc == SHIM_PASS)
        rc = REAL(access)(shim_original(path), mode);
    return done(rc, AT_FDCWD, path);
}

int euidaccess(const char *path, int mode)
{
    int rc = serve(AT_FDCWD, path, mode, 0);
    if (rc == SHIM_PASS)
        rc = REAL(euidaccess)(shim_original(path), mode);
    return done(rc, AT_FDCWD, path);
}

int eaccess(const char *path, int mode)
{
    int rc = serve(AT_FDCWD, path, mode, 0);
    if (rc == SHIM_PASS)
        rc = REAL(eaccess)(shim_original(path), mode);
    return done(rc, AT_FDCWD, path);
}

int faccessat(int dirfd, const char *path, int mode, int flags)
{
    int rc = serve(dirfd, path, mode, flags);
    if (rc == SHIM_PASS) {
        struct pass p;
        shim_pass(&p, dirfd, path);
        rc = REAL(faccessat)(p.dirfd, p.path, mode, flags);
    }
    return done(rc, dirfd, path);
}
