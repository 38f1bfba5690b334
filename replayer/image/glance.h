/* What names are, asked about many at once: a shared file system answers in milliseconds, and one question after the other
 * would take as long as all of them together. */
#ifndef DLCACHE_GLANCE_H
#define DLCACHE_GLANCE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <uthash.h>

/* lstat, access and readlink of one path. */
struct glance {
    int error;        /* of statx: -errno, or 0 */
    uint32_t access;  /* DLC_N_READ, DLC_N_EXEC, DLC_N_NOEXEC: what the caller may do with it */
    struct statx st;
    char *target;     /* a symlink's text, or NULL: heap */
    UT_hash_handle hh;
    unsigned depth;   /* slashes in the path */
    char path[];
};

/* Looks at one path, now. The target is the caller's to free. */
void glance_look(struct glance *g, const char *path);

/* A set of paths; all zero: empty. */
struct glances {
    struct glance *by_path; /* uthash */
};

/* Adds a path and every directory above it, if they are not there. */
void glances_want(struct glances *all, const char *path);
/* Looks at all of them, with many requests in flight. */
void glances_look(struct glances *all);
/* Takes the path out of the set: the caller's, to be freed with its target; NULL where it was not looked at. */
struct glance *glances_take(struct glances *all, const char *path);
void glances_free(struct glances *all);

#endif
