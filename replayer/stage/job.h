/* One staging, of all ranks of a team: one of them reads what a manifest names, and every node lays it down. */
#ifndef DLCACHE_JOB_H
#define DLCACHE_JOB_H

#include <stdbool.h>

#include "libdlcache/lookup.h"
#include "replayer/image/build.h"
#include "replayer/stage/laydown.h"
#include "replayer/stage/options.h"
#include "replayer/stage/place.h"
#include "replayer/stage/reading.h"
#include "replayer/stage/team.h"

struct job {
    struct options o;        /* the caller's, and `team`, begun */
    struct team team;
    struct place place;      /* staged: place.dir */
    struct built built;      /* rank 0's; of the others, the index */
    struct view view;        /* of the image */
    struct laydown *laydown; /* leaders that do not reuse what they have */
    char nodes_text[24];     /* "4 nodes" */
    uint64_t chunk;          /* in which contents are sent: bytes */
    bool reuse, committed;   /* this node's stage was there already; this process has put it there */
    bool native;             /* this node could not; its programs start natively (--soft) */
    bool unread;             /* the reader could not read the contents: no node has them, --soft or not */
    int reused, natives;     /* nodes */
    bool packed;             /* from an image */
    struct ahead *ahead;     /* the source is being read already (reading_begin); or NULL */
    double started;
};

/* All ranks. 0 where every node has its stage; otherwise none has it: the exit status of the program, and *o says why, the
 * same for all. Catches signals, until job_free, so that nothing half done is left. */
int job_stage(struct job *j, struct outcome *o);

/* What was staged, on standard error; rank 0. */
void job_summary(const struct job *j);

void job_free(struct job *j);

/* For the steps of it that have a file of their own: opens the view of the index, anew; and where this node failed,
 * with --soft, lets its programs start natively instead: *o is all zero then. */
void job_open_view(struct job *j, struct outcome *o);
void job_soften(struct job *j, struct outcome *o);

#endif
