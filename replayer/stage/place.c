#include "replayer/stage/place.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "facts/cgroup.h"
#include "facts/memory.h"
#include "libdlcache/stage.h"
#include "replayer/attach/probe.h"
#include "replayer/attach/remove.h"

#define PLACES_MOST 64u /* bits of a mask */
#define SUFFIX ".XXXXXX"

/* What one rank finds of the places. */
struct candidates {
    struct place places[PLACES_MOST];
    char first[PLACES_MOST][sizeof ((struct place *)0)->parent]; /* rank 0's */
    unsigned count;
    uint64_t usable, executable; /* a bit a place */
    struct outcome why;          /* the first that this rank cannot use */
};

/* Another user may have made the directory, or a symlink in its place: that harms nothing but the speed. */
static int check_parent(const char *parent)
{
    struct stat st;

    if (lstat(parent, &st) != 0)
        return -errno;
    if (!S_ISDIR(st.st_mode))
        return -ENOTDIR;
    return st.st_uid == geteuid() && (st.st_mode & 07777) == 0700 ? 0 : -EPERM;
}

static int make_parent(const char *parent)
{
    return mkdir(parent, 0700) != 0 && errno != EEXIST ? -errno : check_parent(parent);
}

static bool try_place(struct place *p, const char *place, struct outcome *why)
{
    char parent[sizeof p->parent];
    struct stat st;
    char *real = realpath(place, NULL);

    *why = (struct outcome){0};
    if (!real || snprintf(parent, sizeof parent, "%s/dlcache-%u", real, (unsigned)geteuid()) >= (int)sizeof parent) {
        outcome_fail(why, "%s: %s", place, real ? "the path is too long" : strerror(errno));
    } else if (strpbrk(parent, ": ,")) {
        outcome_fail(why, "%s: LD_PRELOAD and srun --export cannot name a path with a colon, a comma or a space",
                     place);
    } else {
        /* It is made when there is something to put into it. */
        const int rc = check_parent(parent);
        const char *where = rc == -ENOENT ? real : parent;
        if (rc == -ENOTDIR)
            outcome_fail(why, "%s is not a directory", parent);
        else if (rc == -EPERM)
            outcome_fail(why, "%s is not your own, or its mode is not 0700", parent);
        else if (rc && rc != -ENOENT)
            outcome_fail(why, "%s: %s", parent, strerror(-rc));
        else if (stat(where, &st) != 0 || (!S_ISDIR(st.st_mode) && (errno = ENOTDIR)) || access(where, W_OK | X_OK) != 0)
            outcome_fail(why, "%s: %s", where, strerror(errno));
        else
            p->executable = probe_execute(where);
    }
    free(real);
    if (why->failed)
        return false;
    memcpy(p->parent, parent, sizeof parent);
    p->dev = st.st_dev;
    return true;
}

static void try_all(struct candidates *c, const char *places)
{
    char *list = memory_text(places), *rest = list, *one;

    while ((one = strsep(&rest, ":"))) {
        struct outcome why = {0};
        if (!*one)
            continue;
        if (c->count == PLACES_MOST) {
            c->usable = 0;
            c->why = (struct outcome){0};
            outcome_fail(&c->why, "--dir names more than %u places", PLACES_MOST);
            break;
        }
        struct place *p = &c->places[c->count];
        const uint64_t bit = UINT64_C(1) << c->count++;
        if (try_place(p, one, &why)) {
            c->usable |= bit;
            c->executable |= p->executable ? bit : 0;
        } else if (!c->why.failed) {
            c->why = why;
        }
    }
    free(list);
}

/* One directory is printed for all nodes: a symlink that leads elsewhere on one of them is no use. */
static void compare_with_first(const struct team *t, struct candidates *c)
{
    for (unsigned i = 0; i < c->count; i++)
        memcpy(c->first[i], c->places[i].parent, sizeof c->first[i]);
    team_from_first(t, c->first, sizeof c->first);
    for (unsigned i = 0; i < c->count; i++) {
        if (!(c->usable >> i & 1) || !*c->first[i] || strcmp(c->first[i], c->places[i].parent) == 0)
            continue;
        c->usable &= ~(UINT64_C(1) << i);
        outcome_fail(&c->why, "%s is %s on the first node", c->places[i].parent, c->first[i]);
    }
}

void place_choose(struct place *p, const struct team *t, const char *places, struct outcome *o)
{
    struct candidates *c = memory_new(1, sizeof *c);

    *p = (struct place){0};
    try_all(c, places);
    compare_with_first(t, c);
    uint64_t masks[] = {c->usable, c->usable & c->executable};
    team_common(t, masks, 2);
    const uint64_t usable = masks[0], executable = masks[1];
    if (usable) {
        *p = c->places[__builtin_ctzll(executable ? executable : usable)];
        p->executable_everywhere = executable != 0;
    } else if (c->count == 0 || c->why.failed) {
        outcome_fail(o, "there is no place for a stage: %s", c->why.failed ? c->why.message : "--dir is empty");
    }
    free(c);
}

void place_sweep(const struct place *p)
{
    stage_sweep(p->parent);
}

void place_name(struct place *p, const uint8_t digest[16])
{
    const char *id = p->about.job;
    char job[48] = "", hex[17];
    size_t n = 0;

    for (int i = 0; i < 8; i++)
        sprintf(hex + 2 * i, "%02x", digest[i]);
    for (; *id && n < sizeof job - 2; id++)
        job[n++] = isalnum((unsigned char)*id) ? *id : '_';
    if (n) {
        job[n++] = '.';
        job[n] = '\0';
    }
    snprintf(p->dir, sizeof p->dir, "%s/%s%s", p->parent, job, hex);
}

size_t place_root_length(const struct place *p)
{
    static const uint8_t any[16];
    struct place named = *p;

    place_name(&named, any);
    return strlen(named.dir) + strlen("." SUFFIX "/" STAGE_MIRROR);
}

static void check_file_system(const struct place *p, uint64_t bytes, uint64_t files, struct outcome *o)
{
    struct statvfs v;

    for (int try = 0, rc; statvfs(p->parent, &v) != 0; try++) {
        rc = errno == ENOENT && try < 100 ? make_parent(p->parent) : -errno;
        if (rc) {
            outcome_fail(o, "%s: %s", p->parent, strerror(-rc));
            return;
        }
    }
    const uint64_t room = (uint64_t)v.f_bavail * v.f_frsize;
    /* A tmpfs without a limit (size=0) counts no blocks. */
    if (v.f_blocks && bytes > room)
        outcome_fail(o, "%s has room for %.1f MB, and the stage takes %.1f MB", p->parent, (double)room / 1e6,
                     (double)bytes / 1e6);
    else if (v.f_files && files > v.f_favail)
        outcome_fail(o, "%s has room for %" PRIu64 " more files, and the stage takes %" PRIu64, p->parent,
                     (uint64_t)v.f_favail, files);
}

/* What is written to a tmpfs counts as memory of whoever writes it: beyond the limit the kernel would kill. */
static void check_group(const struct place *p, uint64_t bytes, struct outcome *o)
{
    struct statfs fs;

    if (o->failed || statfs(p->parent, &fs) != 0 || (fs.f_type != TMPFS_MAGIC && fs.f_type != RAMFS_MAGIC))
        return;
    const uint64_t left = cgroup_memory_left("/proc/self/cgroup", "/proc/self/mountinfo");
    if (bytes > left)
        outcome_fail(o, "the control group of this process has %.1f MB of memory left, and the stage takes %.1f MB",
                     (double)left / 1e6, (double)bytes / 1e6);
}

void place_check_space(struct place *p, uint64_t bytes, uint64_t files, uint64_t max_bytes, struct outcome *o)
{
    p->about.bytes = bytes;
    if (max_bytes) {
        const uint64_t others = stage_make_room(p->parent, strrchr(p->dir, '/') + 1, bytes, max_bytes);
        if (others + bytes > max_bytes)
            outcome_fail(o, "%s: the stage takes %.1f MB, other stages of yours %.1f MB, and --max-bytes allows %.1f MB",
                         p->parent, (double)bytes / 1e6, (double)others / 1e6, (double)max_bytes / 1e6);
    }
    if (!o->failed)
        check_file_system(p, bytes, files, o);
    check_group(p, bytes, o);
}

void place_touch(const struct place *p)
{
    utimensat(AT_FDCWD, p->dir, NULL, AT_SYMLINK_NOFOLLOW);
}

/* A sweep may have come between the making and the lock: true where it has not. */
static bool lock_temporary(struct place *p)
{
    struct stat locked, named;

    p->lock = open(p->temporary, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (p->lock < 0)
        return false;
    /* Where there are no locks, nobody sweeps either. */
    if ((flock(p->lock, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK) && fstat(p->lock, &locked) == 0 &&
        lstat(p->temporary, &named) == 0 && locked.st_ino == named.st_ino)
        return true;
    close(p->lock);
    return false;
}

void place_begin(struct place *p, struct outcome *o)
{
    const char *name = strrchr(p->dir, '/') + 1;

    for (int try = 0; try < 100; try++) {
        snprintf(p->temporary, sizeof p->temporary, "%s/.%s" SUFFIX, p->parent, name);
        if (!mkdtemp(p->temporary)) {
            /* Somebody removed his last stage, and the directory with it. */
            if (errno == ENOENT && make_parent(p->parent) == 0)
                continue;
            outcome_fail(o, "%s: %s", p->temporary, strerror(errno));
            break;
        }
        /* From here on it cannot go, and another user cannot make it in our stead. */
        if (check_parent(p->parent) != 0) {
            rmdir(p->temporary);
            p->temporary[0] = '\0';
            outcome_fail(o, "%s is not your own, or its mode is not 0700", p->parent);
            return;
        }
        if (lock_temporary(p))
            return;
        rmdir(p->temporary);
    }
    outcome_fail(o, "%s: what is made there cannot be opened, or is removed by somebody else", p->parent);
    p->temporary[0] = '\0';
}

void place_file(const struct place *p, const char *name, const void *data, uint64_t bytes, mode_t mode,
                struct outcome *o)
{
    if (o->failed)
        return;
    char *path = memory_join(p->temporary, name, strlen(name));
    const char *from = data;
    const int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        outcome_fail(o, "%s: %s", path, strerror(errno));
    while (fd >= 0 && bytes && !o->failed) {
        const ssize_t n = write(fd, from, bytes < INT_MAX ? bytes : INT_MAX);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            outcome_fail(o, "%s: %s", path, strerror(n < 0 ? errno : ENOSPC));
            break;
        }
        from += n;
        bytes -= (uint64_t)n;
    }
    if (fd >= 0 && (fchmod(fd, mode) != 0 || close(fd) != 0))
        outcome_fail(o, "%s: %s", path, strerror(errno));
    free(path);
}

/* The name is another's now, or nobody's. */
static void let_go(struct place *p)
{
    close(p->lock);
    p->temporary[0] = '\0';
}

void place_commit(struct place *p, struct outcome *o)
{
    for (int try = 0; try < 3; try++) {
        if (renameat2(AT_FDCWD, p->temporary, AT_FDCWD, p->dir, RENAME_NOREPLACE) == 0) {
            let_go(p);
            return;
        }
        if (errno != EEXIST)
            break;
        /* An earlier stage of the name that could not be used again. The two change places, in one step. */
        if (renameat2(AT_FDCWD, p->temporary, AT_FDCWD, p->dir, RENAME_EXCHANGE) == 0) {
            place_abandon(p);
            return;
        }
        if (errno != ENOENT)
            break;
    }
    outcome_fail(o, "%s: %s", p->dir, strerror(errno));
}

void place_abandon(struct place *p)
{
    if (p->temporary[0]) {
        tree_remove(AT_FDCWD, p->temporary);
        let_go(p);
    }
    if (p->parent[0])
        rmdir(p->parent); /* ENOTEMPTY: another stage, or one that is being laid down */
}

void place_withdraw(struct place *p)
{
    stage_remove(p->dir);
}
