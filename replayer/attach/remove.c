#include "replayer/attach/remove.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "facts/memory.h"
#include "libdlcache/stage.h"
#include "replayer/attach/removing.h"

int tree_remove(int dirfd, const char *name)
{
    struct stat st;

    if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
        return -errno;
    if (!S_ISDIR(st.st_mode))
        return unlinkat(dirfd, name, 0) == 0 ? 0 : -errno;
    /* The mirror's directories cannot be written to. */
    if ((st.st_mode & 0700) != 0700 && fchmodat(dirfd, name, 0700, 0) != 0)
        return -errno;
    const int fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    if (!d) {
        const int error = errno;
        if (fd >= 0)
            close(fd);
        return -error;
    }
    int rc = 0;
    const struct dirent *e;
    while ((e = readdir(d))) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        const int one = tree_remove(fd, e->d_name);
        if (one && one != -ENOENT)
            rc = one;
    }
    closedir(d);
    if (unlinkat(dirfd, name, AT_REMOVEDIR) != 0 && rc == 0)
        rc = -errno;
    return rc;
}

static void parent_name(char buf[32])
{
    snprintf(buf, 32, "dlcache-%u", (unsigned)geteuid());
}

int removing_open_parent(const char *parent, uid_t uid)
{
    struct stat st;
    const int fd = open(parent, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

    if (fd < 0)
        return errno == ENOTDIR || errno == ELOOP ? -EINVAL : -errno;
    if (fstat(fd, &st) != 0 || st.st_uid != uid || st.st_mode & 077) {
        close(fd);
        return -EPERM;
    }
    return fd;
}

int removing_looks_like_stage(int parent, const char *name, uid_t uid)
{
    static const char *const parts[] = {STAGE_INDEX, STAGE_STATE, STAGE_MIRROR, STAGE_RUN};
    struct stat st;
    char path[600];

    if (fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
        return -errno;
    if (!S_ISDIR(st.st_mode))
        return -EINVAL;
    if (st.st_uid != uid)
        return -EPERM;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (snprintf(path, sizeof path, "%s/%s", name, parts[i]) < (int)sizeof path &&
            fstatat(parent, path, &st, AT_SYMLINK_NOFOLLOW) == 0)
            return 0;
    return -EINVAL;
}

/* Whoever lays down or removes something holds a lock on it, which ends with him. -EBUSY: somebody does, or it cannot
 * be told. */
int removing_leftover(int parent, const char *name)
{
    const int fd = openat(parent, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

    if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) != 0) {
        close(fd);
        return -EBUSY;
    }
    const int rc = tree_remove(parent, name);
    if (fd >= 0)
        close(fd);
    return rc;
}

int removing_stage(int parent, const char *name)
{
    char trash[300];

    snprintf(trash, sizeof trash, ".trash.%.200s.%ld", name, (long)getpid());
    removing_leftover(parent, trash); /* process ids come again */
    if (renameat(parent, name, parent, trash) != 0)
        return -errno;
    const int rc = removing_leftover(parent, trash);
    return rc == -EBUSY || rc == -ENOENT ? 0 : rc; /* somebody sweeps it away already */
}

void removing_parent(const char *parent)
{
    rmdir(parent); /* ENOTEMPTY: another stage, or one that is being laid down */
}

int stage_remove(const char *dir)
{
    char own[32];
    char *path = memory_text(dir);
    size_t n = strlen(path);

    while (n > 1 && path[n - 1] == '/')
        path[--n] = '\0';
    char *name = strrchr(path, '/');
    int rc = -EINVAL;
    parent_name(own);
    if (path[0] == '/' && name != path && name[1] && name[1] != '.') {
        *name++ = '\0';
        const char *parent = strrchr(path, '/') + 1;
        struct stat st;
        if (strcmp(parent, own) == 0) {
            const int fd = removing_open_parent(path, geteuid());
            rc = fd < 0 ? fd : removing_looks_like_stage(fd, name, geteuid());
            if (rc == 0)
                rc = removing_stage(fd, name);
            if (fd >= 0)
                close(fd);
            removing_parent(path);
        } else if (strncmp(parent, "dlcache-", 8) == 0) {
            rc = lstat(path, &st) == 0 ? -EPERM : -errno;
        }
    }
    free(path);
    return rc;
}

/* Leftovers below `parent`, and with `stages` the stages, too. */
static int remove_below(const char *parent, bool stages)
{
    int removed = 0, rc = 0;
    const int fd = removing_open_parent(parent, geteuid());

    if (fd < 0)
        return fd == -ENOENT ? 0 : fd;
    DIR *d = fdopendir(fd);
    if (!d) {
        rc = -errno;
        close(fd);
        return rc;
    }
    const struct dirent *e;
    while ((e = readdir(d))) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        const bool leftover = e->d_name[0] == '.';
        if (!leftover && (!stages || removing_looks_like_stage(fd, e->d_name, geteuid()) != 0))
            continue;
        const int one = leftover ? removing_leftover(fd, e->d_name) : removing_stage(fd, e->d_name);
        if (one == 0)
            removed++;
        else if (one != -ENOENT && one != -EBUSY)
            rc = one;
    }
    closedir(d);
    return rc ? rc : removed;
}

int stage_sweep(const char *parent)
{
    return remove_below(parent, false);
}

int stage_remove_all(const char *place)
{
    char own[32];

    parent_name(own);
    char *parent = memory_join(place, own, strlen(own));
    const int rc = remove_below(parent, true);
    removing_parent(parent);
    free(parent);
    return rc;
}
