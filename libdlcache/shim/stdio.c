/* fopen and freopen. Rules: shim.h. */
#include "libdlcache/sys.h"
#include "shim.h"

/* "r" with any of the modifiers that do not make it write. */
static bool only_reads(const char *mode)
{
    if (shim_strlen(mode) <= 0 || mode[0] != 'r')
        return false;
    for (const char *p = mode + 1; *p && *p != ','; p++)
        if (*p == '+')
            return false;
    return true;
}

/* The mirror's path where contents are held: 0; -1 with errno where there is provably nothing; or SHIM_PASS. */
static int serve(const char *path, char mirror[MIRROR_MAX])
{
    struct found found;

    switch (shim_ask(AT_FDCWD, path, 0, &found)) {
    case VERDICT_ABSENT: errno = ENOENT; return -1;
    case VERDICT_NOTDIR: errno = ENOTDIR; return -1;
    case VERDICT_DIR: /* which opens, too, and then cannot be read */
        if (!(shim.stage.view.image.nodes[found.node].flags & DLC_N_FROZEN))
            break;
        /* fall through */
    case VERDICT_FILE:
        if (shim_mirror_path(found.node, mirror, MIRROR_MAX) &&
            sys_call(__NR_faccessat, AT_FDCWD, mirror, R_OK, 0) == 0)
            return 0;
        break;
    default: break;
    }
    return SHIM_PASS;
}

/* The path to open in the stead of `path`; NULL with errno where there is provably nothing. */
static const char *source(const char *path, const char *mode, char mirror[MIRROR_MAX])
{
    if (shim.serving && !only_reads(mode) && shim_in_mirror(path)) {
        errno = EROFS;
        return NULL;
    }
    if (!shim.serving || !only_reads(mode))
        return shim_original(path);
    switch (shim_count(SPOOL_OPEN, serve(path, mirror), AT_FDCWD, path)) {
    case 0: return mirror;
    case -1: return NULL;
    default: return shim_original(path);
    }
}

static FILE *done(FILE *f, const char *path, const char *mode)
{
    if (!shim.serving && !shim.recording)
        return f;
    if (!only_reads(mode))
        shim_changed(AT_FDCWD, path, mode[0] == 'r' ? 0 : CHANGED_NAME, !f);
    else
        shim_note(SPOOL_OPEN, !f, AT_FDCWD, path);
    return f;
}

FILE *fopen(const char *path, const char *mode)
{
    char mirror[MIRROR_MAX];
    const char *p = source(path, mode, mirror);
    return done(p ? REAL(fopen)(p, mode) : NULL, path, mode);
}

FILE *fopen64(const char *path, const char *mode)
{
    char mirror[MIRROR_MAX];
    const char *p = source(path, mode, mirror);
    return done(p ? REAL(fopen64)(p, mode) : NULL, path, mode);
}

/* freopen closes the stream even where there is nothing to open: an absence is the C library's to answer, too. */
static FILE *reopen(FILE *(*real)(const char *, const char *, FILE *), const char *path, const char *mode,
                    FILE *stream)
{
    char mirror[MIRROR_MAX];
    const int saved = errno;

    if (!path) {
        /* The same file, opened anew: the original's, to write to it. */
        if (shim.serving && !only_reads(mode)) {
            const int fd = fileno(stream);
            const uint32_t node = fd < 0 ? DLC_NONE : shim_reopen(fd);
            if (node != DLC_NONE)
                shim_changed_node(node);
        }
        return real(path, mode, stream);
    }
    const char *p = source(path, mode, mirror);
    if (!p) {
        errno = saved;
        p = shim_original(path);
    }
    return done(real(p, mode, stream), path, mode);
}

FILE *freopen(const char *path, const char *mode, FILE *stream)
{
    return reopen(REAL(freopen), path, mode, stream);
}

FILE *freopen64(const char *path, const char *mode, FILE *stream)
{
    return reopen(REAL(freopen64), path, mode, stream);
}
