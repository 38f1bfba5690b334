/* The file system as it is after the pilot, for the paths that were noted: each name looked at once. Of a directory in
 * which many names are not there its list is read, and what is not in it is not looked at.
 *
 * A place is a name by its canonical path: every symlink on the way to it resolved, itself not followed. It exists,
 * or it does not. */
#ifndef DLCACHE_PLACES_H
#define DLCACHE_PLACES_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <time.h>

#include "facts/table.h"
#include "policy.h"
#include "spool.h"

struct place {
    char *path;           /* canonical */
    struct place *parent; /* the root's is itself */
    bool exists;
    bool opaque;          /* in /proc, where a name means something else to every process: not looked at */
    bool unlisted;        /* not looked at, as the list of its directory has not got it */
    bool nowhere;         /* a path over "..", in what does not exist: `parent` is the root's */
    /* of lstat, where it exists and is not opaque: */
    mode_t mode;
    uint64_t dev;
    uint64_t size;
    struct timespec mtime, ctime;
    /* what was noted, by all names that lead here: */
    uint64_t counts[SPOOL_OPS][SPOOL_RESULTS];
    uint64_t first_ns;    /* valid when it was touched */
    uint64_t programs;    /* processes that ran this file */
    uint32_t processes;   /* that touched it */
    uint32_t ranks;       /* that touched it */
    uint32_t last_process; /* bookkeeping of the collector */
    int64_t last_rank;    /* likewise: one more than that, 0 before any */
    struct mount_point *mount; /* likewise: what it lies on, once it was asked for */
    uint32_t misses;      /* of a directory: names that were looked at, and are not there */
    struct listing *list; /* of a directory, or NULL */
    bool touched;
    bool passed;          /* a symlink on the way to something that was touched */
    bool searched;        /* a directory where the dynamic loader did not find what it looked for */
    bool started;         /* the program that the command names */
    bool is_changed;      /* a file that changed during the pilot, and nobody noted by whom */
    bool is_volatile;     /* a directory in which the pilot wrote */
    bool kept;            /* has an entry in the manifest */
    enum policy_verdict verdict;
    struct place *next;   /* in the order in which they were found */
};

struct places {
    struct table by_path;
    struct place *root;   /* found first */
    struct place *last;
};

/* How a path reaches a place. */
enum place_reach {
    PLACE_PASSED, /* a symlink in the middle of the path */
    PLACE_NAMED,  /* a symlink that the last component, or its target, names */
    PLACE_FINAL   /* what the path resolves to, whether or not it exists */
};
typedef void place_visit(void *context, struct place *p, enum place_reach how);

void places_init(struct places *ps);
void places_free(struct places *ps);

/* Resolves an absolute path as the kernel does and visits each symlink on the way, then the end: what the path
 * resolves to, or the name that is missing. Where there are too many symlinks, no end is visited. With ".." in what
 * does not exist, the end is a missing place with the path as asked, "//" and "/./" collapsed. `seen`: somebody has
 * seen it, so that its name is looked at even where the list of its directory has not got it: lists may hide names. */
void places_walk(struct places *ps, const char *path, bool seen, place_visit *visit, void *context);

/* The nearest directory at or above p that exists. */
struct place *places_existing(struct place *p);

/* The last component of the place's path; "" for the root. */
const char *place_name(const struct place *p);

/* `path` with "//", "/./" and slashes at the end collapsed; absolute. Heap. */
char *places_collapse(const char *path);

#endif
