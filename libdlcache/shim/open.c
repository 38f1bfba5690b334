/* The open family. Rules: shim.h. */
#include <stdarg.h>

#include "libdlcache/sys.h"
#include "shim.h"

/* Flags with which an open only reads, and a file of another file system reads the same. */
#define READS (O_CLOEXEC | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK | O_DIRECTORY | O_PATH | O_LARGEFILE | __O_LARGEFILE)

/* Only these take a mode: most shims forget O_TMPFILE, and then it has a random one. */
#define TAKES_MODE(flags) ((flags) & O_CREAT || ((flags) & O_TMPFILE) == O_TMPFILE)

#define READ_MODE(mode, flags)         \
    do {                               \
        if (TAKES_MODE(flags)) {       \
            va_list ap;                \
            va_start(ap, flags);       \
            (mode) = va_arg(ap, mode_t); \
            va_end(ap);                \
        }                              \
    } while (0)

static bool writes(int flags)
{
    return (flags & O_ACCMODE) != O_RDONLY || flags & (O_CREAT | O_TRUNC) || (flags & O_TMPFILE) == O_TMPFILE;
}

/* Of its own, so that its buffer and those of a lookup are not on a thread's stack at once. */
static __attribute__((noinline)) int open_mirror(uint32_t node, int flags)
{
    const size_t room = shim_mirror_room(node);
    char mirror[room < MIRROR_MAX ? room : MIRROR_MAX];

    if (!shim_mirror_path(node, mirror, sizeof mirror))
        return SHIM_PASS;
    const int fd = sys_openat(AT_FDCWD, mirror, flags, 0);
    if (fd < 0)
        return SHIM_PASS;
    /* A directory from which somebody removes names (the stage, just now) is not the one that was laid down: a list
     * of what is left would be a wrong one. */
    if (shim.stage.view.image.nodes[node].kind == DT_DIR && shim_node_of_fd(fd) != node) {
        sys_close(fd);
        return SHIM_PASS;
    }
    return fd;
}

int shim_open(int dirfd, const char *path, int flags)
{
    struct found found;

    if (shim.serving && writes(flags) && shim_in_mirror(path)) {
        errno = EROFS; /* contents of the mirror are everybody's */
        return -1;
    }
    if (!shim.serving || (flags & O_ACCMODE) != O_RDONLY || flags & ~(READS | O_ACCMODE))
        return SHIM_PASS;
    switch (shim_ask(dirfd, path, flags & O_NOFOLLOW ? LOOKUP_NOFOLLOW : 0, &found)) {
    case VERDICT_ABSENT: errno = ENOENT; return -1;
    case VERDICT_NOTDIR: errno = ENOTDIR; return -1;
    case VERDICT_FILE:
        if (flags & O_DIRECTORY)
            return SHIM_PASS;
        break;
    case VERDICT_DIR:
        if (!(shim.stage.view.image.nodes[found.node].flags & DLC_N_FROZEN))
            return SHIM_PASS;
        break;
    case VERDICT_META:
    case VERDICT_UNKNOWN:
    default: return SHIM_PASS;
    }
    return open_mirror(found.node, flags);
}

/* An open is a point at which a thread can be canceled, also one that is answered without the C library's: a thread
 * that waits for a file to appear may have no other. Weak: before glibc 2.34, a program without threads has none. */
extern void pthread_testcancel(void) __attribute__((weak));

static int serve(int dirfd, const char *path, int flags)
{
    if (shim.serving && pthread_testcancel)
        pthread_testcancel();
    const int fd = shim_open(dirfd, path, flags);
    return writes(flags) ? fd : (int)shim_count(flags & O_DIRECTORY ? SPOOL_LIST : SPOOL_OPEN, fd, dirfd, path);
}

/* What an open came to, for the recorder and for the state of the stage. */
static int done(int fd, int dirfd, const char *path, int flags)
{
    if (!shim.serving && !shim.recording)
        return fd;
    if (writes(flags) && (flags & O_TMPFILE) != O_TMPFILE)
        shim_changed(dirfd, path, (flags & O_NOFOLLOW ? LOOKUP_NOFOLLOW : 0) | (flags & O_CREAT ? CHANGED_NAME : 0),
                     fd < 0);
    else
        shim_note(flags & O_DIRECTORY ? SPOOL_LIST : SPOOL_OPEN, fd < 0, dirfd, path);
    return fd;
}

#define OPEN(name)                                                                        \
    int name(const char *path, int flags, ...)                                            \
    {                                                                                     \
        mode_t mode = 0;                                                                  \
        READ_MODE(mode, flags);                                                           \
        int fd = serve(AT_FDCWD, path, flags);                                            \
        if (fd == SHIM_PASS)                                                              \
            fd = shim_guard(REAL(name)(shim_original(path), flags, mode));                \
        return done(fd, AT_FDCWD, path, flags);                                           \
    }
OPEN(open)
OPEN(open64)
OPEN(__open)
OPEN(__open64)

#define OPENAT(name)                                                                      \
    int name(int dirfd, const char *path, int flags, ...)                                 \
    {                                                                                     \
        mode_t mode = 0;                                                                  \
        READ_MODE(mode, flags);                                                           \
        int fd = serve(dirfd, path, flags);                                               \
        if (fd == SHIM_PASS) {                                                            \
            struct pass p;                                                                \
            shim_pass(&p, dirfd, path);                                                   \
            fd = shim_guard(REAL(name)(p.dirfd, p.path, flags, mode));                    \
        }                                                                                 \
        return done(fd, dirfd, path, flags);                                              \
    }
OPENAT(openat)
OPENAT(openat64)

/* What _FORTIFY_SOURCE makes of a call without a mode. */
int __open_2(const char *path, int flags)
{
    int fd = serve(AT_FDCWD, path, flags);
    if (fd == SHIM_PASS)
        fd = shim_guard(REAL(__open_2)(shim_original(path), flags));
    return done(fd, AT_FDCWD, path, flags);
}

int __open64_2(const char *path, int flags)
{
    int fd = serve(AT_FDCWD, path, flags);
    if (fd == SHIM_PASS)
        fd = shim_guard(REAL(__open64_2)(shim_original(path), flags));
    return done(fd, AT_FDCWD, path, flags);
}

int __openat_2(int dirfd, const char *path, int flags)
{
    int fd = serve(dirfd, path, flags);
    if (fd == SHIM_PASS) {
        struct pass p;
        shim_pass(&p, dirfd, path);
        fd = shim_guard(REAL(__openat_2)(p.dirfd, p.path, flags));
    }
    return done(fd, dirfd, path, flags);
}

int __openat64_2(int dirfd, const char *path, int flags)
{
    int fd = serve(dirfd, path, flags);
    if (fd == SHIM_PASS) {
        struct pass p;
        shim_pass(&p, dirfd, path);
        fd = shim_guard(REAL(__openat64_2)(p.dirfd, p.path, flags));
    }
    return done(fd, dirfd, path, flags);
}

int creat(const char *path, mode_t mode)
{
    const int flags = O_WRONLY | O_CREAT | O_TRUNC;
    int fd = serve(AT_FDCWD, path, flags);
    if (fd == SHIM_PASS)
        fd = REAL(creat)(shim_original(path), mode);
    return done(fd, AT_FDCWD, path, flags);
}

int creat64(const char *path, mode_t mode)
{
    const int flags = O_WRONLY | O_CREAT | O_TRUNC;
    int fd = serve(AT_FDCWD, path, flags);
    if (fd == SHIM_PASS)
        fd = REAL(creat64)(shim_original(path), mode);
    return done(fd, AT_FDCWD, path, flags);
}
