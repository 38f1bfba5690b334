/* Questions that go to the original, about names that no file system has: those of a bundle. Rules: shim.h. */
#include <sys/xattr.h>

#include "libdlcache/sys.h"
#include "shim.h"

static uint32_t made(const char *path, unsigned flags)
{
    struct found found;

    if (!shim.serving)
        return DLC_NONE;
    const enum verdict v = shim_ask(AT_FDCWD, path, flags, &found);
    const bool is = (v == VERDICT_FILE || v == VERDICT_META || v == VERDICT_DIR) &&
                    shim.stage.view.image.nodes[found.node].flags & DLC_N_MADE;
    return is ? found.node : DLC_NONE;
}

/* --- attributes: a bundle holds none ---------------------------------------------------------------------------- */

static ssize_t none(void)
{
    errno = ENODATA;
    return -1;
}

ssize_t getxattr(const char *path, const char *name, void *value, size_t size)
{
    return made(path, 0) != DLC_NONE ? none() : REAL(getxattr)(path, name, value, size);
}

ssize_t lgetxattr(const char *path, const char *name, void *value, size_t size)
{
    return made(path, LOOKUP_NOFOLLOW) != DLC_NONE ? none() : REAL(lgetxattr)(path, name, value, size);
}

ssize_t listxattr(const char *path, char *list, size_t size)
{
    return made(path, 0) != DLC_NONE ? 0 : REAL(listxattr)(path, list, size);
}

ssize_t llistxattr(const char *path, char *list, size_t size)
{
    return made(path, LOOKUP_NOFOLLOW) != DLC_NONE ? 0 : REAL(llistxattr)(path, list, size);
}

/* --- the file system: that of the nearest directory above that is there ----------------------------------------- */

struct place {
    char buf[4096 + 256];
};

static const char *place(const char *path, struct place *p)
{
    const uint32_t node = made(path, 0);
    struct stat st;

    if (node == DLC_NONE || image_path(&shim.stage.view.image, node, p->buf, sizeof p->buf) < 0)
        return path;
    while (sys_fstatat(AT_FDCWD, p->buf, &st, 0) != 0) {
        char *slash = strrchr(p->buf, '/');
        if (slash == p->buf)
            return "/";
        *slash = '\0';
    }
    return p->buf;
}

int statfs(const char *path, struct statfs *fs)
{
    struct place p;
    return REAL(statfs)(place(path, &p), fs);
}

int statfs64(const char *path, struct statfs64 *fs)
{
    struct place p;
    return REAL(statfs64)(place(path, &p), fs);
}

int statvfs(const char *path, struct statvfs *fs)
{
    struct place p;
    return REAL(statvfs)(place(path, &p), fs);
}

int statvfs64(const char *path, struct statvfs64 *fs)
{
    struct place p;
    return REAL(statvfs64)(place(path, &p), fs);
}

long pathconf(const char *path, int name)
{
    struct place p;
    return REAL(pathconf)(place(path, &p), name);
}
