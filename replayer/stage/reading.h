/* What the reader's rank finds out by itself: the source (a manifest, an image, an archive) is read, and what it names is
 * looked at. While MPI starts, it can be done already. */
#ifndef DLCACHE_READING_H
#define DLCACHE_READING_H

#include <stdbool.h>

#include "replayer/image/build.h"
#include "replayer/stage/options.h"

struct reading {
    struct built built;
    bool packed; /* from an image */
    int status;  /* the exit status */
    char *error; /* why it is not 0: heap */
};

/* *r, zeroed by the caller, who frees what is in it. Says on standard error what it leaves out. */
void reading_do(const struct options *o, struct reading *r);

struct ahead;

/* The same, begun by a thread; `o` stays as it is. NULL where no thread can be started. */
struct ahead *reading_begin(const struct options *o);
/* Waits for it, and frees `a`. */
void reading_end(struct ahead *a, struct reading *r);

/* That file is the caller's own: in a place that is everybody's, somebody else may have been there first. */
bool reading_is_own(const char *path);

#endif
