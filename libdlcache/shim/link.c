/* readlink and realpath. Rules: shim.h. */
#include <limits.h>

#include "libdlcache/sys.h"
#include "shim.h"

/* Bytes written, -1 with errno, or SHIM_PASS. */
static ssize_t answer(int dirfd, const char *path, char *buf, size_t size)
{
    struct found found;

    if (!shim.serving || size == 0 || size > SSIZE_MAX)
        return SHIM_PASS;
    switch (shim_ask(dirfd, path, LOOKUP_NOFOLLOW, &found)) {
    case VERDICT_ABSENT: errno = ENOENT; return -1;
    case VERDICT_NOTDIR: errno = ENOTDIR; return -1;
    case VERDICT_FILE:
    case VERDICT_DIR: errno = EINVAL; return -1;
    case VERDICT_META: break;
    default: return SHIM_PASS;
    }
    const struct image *im = &shim.stage.view.image;
    const struct dlc_node *n = &im->nodes[found.node];
    if (n->kind != DT_LNK) {
        errno = EINVAL;
        return -1;
    }
    const size_t len = n->target_len < size ? n->target_len : size;
    __builtin_memcpy(buf, im->strings + n->target, len);
    return (ssize_t)len;
}

static ssize_t serve(int dirfd, const char *path, char *buf, size_t size)
{
    return shim_count(SPOOL_STAT, answer(dirfd, path, buf, size), dirfd, path);
}

/* A link of /proc that leads to a file of the mirror reads as the original's. The kernel is asked with room for the
 * mirror's prefix, so that what the caller gets is cut where it would have been cut. */
static __attribute__((noinline)) ssize_t original_link(int dirfd, const char *path, char *buf, size_t size)
{
    const struct view *v = &shim.stage.view;
    char longer[size + v->prefix_len < PATH_MAX ? size + v->prefix_len : PATH_MAX];
    const long n = sys_readlinkat(dirfd, path, longer, sizeof longer);
    const size_t below = n > 0 ? lookup_prefix(v, longer, (size_t)n) : 0;

    if (below == 0)
        return SHIM_PASS;
    const char *from = below == (size_t)n ? "/" : longer + below;
    size_t len = below == (size_t)n ? 1 : (size_t)n - below;
    if (len > size)
        len = size;
    __builtin_memcpy(buf, from, len);
    return (ssize_t)len;
}

/* What the C library read, if it does not lead into the mirror. A link that was cut may have been cut in the prefix. */
static ssize_t checked(ssize_t rc, int dirfd, const char *path, char *buf, size_t size)
{
    const struct view *v = &shim.stage.view;

    if (rc <= 0 || !shim.serving)
        return rc;
    const size_t n = (size_t)rc < v->prefix_len ? (size_t)rc : v->prefix_len;
    if (((size_t)rc < v->prefix_len && (size_t)rc < size) || !dlc_same(buf, v->prefix, n))
        return rc;
    const ssize_t original = original_link(dirfd, path, buf, size);
    return original == SHIM_PASS ? rc : original;
}

static ssize_t done(ssize_t rc, int dirfd, const char *path)
{
    shim_note(SPOOL_STAT, rc < 0, dirfd, path);
    return rc;
}

ssize_t readlink(const char *path, char *buf, size_t size)
{
    ssize_t rc = serve(AT_FDCWD, path, buf, size);
    if (rc == SHIM_PASS)
        rc = checked(REAL(readlink)(path, buf, size), AT_FDCWD, path, buf, size);
    return done(rc, AT_FDCWD, path);
}

ssize_t readlinkat(int dirfd, const char *path, char *buf, size_t size)
{
    ssize_t rc = serve(dirfd, path, buf, size);
    if (rc == SHIM_PASS) {
        struct pass p;
        shim_pass(&p, dirfd, path);
        rc = checked(REAL(readlinkat)(p.dirfd, p.path, buf, size), p.dirfd, p.path, buf, size);
    }
    return done(rc, dirfd, path);
}

/* Of _FORTIFY_SOURCE: the real ones end the program when the buffer is smaller than said; so they are called then. */
ssize_t __readlink_chk(const char *path, char *buf, size_t size, size_t room)
{
    ssize_t rc = size <= room ? serve(AT_FDCWD, path, buf, size) : SHIM_PASS;
    if (rc == SHIM_PASS)
        rc = checked(REAL(__readlink_chk)(path, buf, size, room), AT_FDCWD, path, buf, size);
    return done(rc, AT_FDCWD, path);
}

ssize_t __readlinkat_chk(int dirfd, const char *path, char *buf, size_t size, size_t room)
{
    ssize_t rc = size <= room ? serve(dirfd, path, buf, size) : SHIM_PASS;
    if (rc == SHIM_PASS) {
        struct pass p;
        shim_pass(&p, dirfd, path);
        rc = checked(REAL(__readlinkat_chk)(p.dirfd, p.path, buf, size, room), p.dirfd, p.path, buf, size);
    }
    return done(rc, dirfd, path);
}

/* The resolved path of what the index knows, in `resolved` or (NULL) on the caller's heap. False: ask the C library.
 * True with *result NULL: a proven failure, errno set. */
static bool answer_realpath(const char *path, char *resolved, char **result)
{
    struct found found;
    char buf[PATH_MAX];

    if (!shim.serving)
        return false;
    switch (shim_ask(AT_FDCWD, path, 0, &found)) {
    case VERDICT_FILE:
    case VERDICT_DIR:
    case VERDICT_META: break;
    case VERDICT_ABSENT:
    case VERDICT_NOTDIR:
        /* With a buffer of the caller's, glibc leaves the part that failed in it. */
        if (resolved)
            return false;
        errno = shim_ask(AT_FDCWD, path, 0, &found) == VERDICT_ABSENT ? ENOENT : ENOTDIR;
        *result = NULL;
        return true;
    default: return false;
    }
    const long n = image_path(&shim.stage.view.image, found.node, buf, sizeof buf);
    if (n < 0)
        return false;
    *result = resolved ? __builtin_memcpy(resolved, buf, (size_t)n + 1) : strdup(buf);
    return true;
}

static bool serve_realpath(const char *path, char *resolved, char **result)
{
    const bool served = answer_realpath(path, resolved, result);

    shim_count(SPOOL_STAT, !served ? SHIM_PASS : *result ? 0 : -1, AT_FDCWD, path);
    return served;
}

static char *done_realpath(char *result, const char *path)
{
    if (result && shim.serving) {
        const size_t len = strlen(result);
        const size_t below = lookup_prefix(&shim.stage.view, result, len);
        if (below == len)
            __builtin_memcpy(result, "/", 2);
        else if (below)
            __builtin_memmove(result, result + below, len - below + 1);
    }
    shim_note(SPOOL_STAT, !result, AT_FDCWD, path);
    return result;
}

char *realpath(const char *path, char *resolved)
{
    char *result;
    if (!serve_realpath(path, resolved, &result))
        result = REAL(realpath)(shim_original(path), resolved);
    return done_realpath(result, path);
}

char *__realpath_chk(const char *path, char *resolved, size_t room)
{
    char *result;
    if (room < PATH_MAX || !serve_realpath(path, resolved, &result))
        result = REAL(__realpath_chk)(shim_original(path), resolved, room);
    return done_realpath(result, path);
}

char *canonicalize_file_name(const char *path)
{
    char *result;
    if (!serve_realpath(path, NULL, &result))
        result = REAL(canonicalize_file_name)(shim_original(path));
    return done_realpath(result, path);
}
