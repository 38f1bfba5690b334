/* One manifest of several pilots. */
#ifndef DLCACHE_MERGE_H
#define DLCACHE_MERGE_H

#include "manifests/diff.h"
#include "manifests/manifest.h"

struct merge_conflict {
    enum diff_cause cause;
    char *path;
};

struct merge {
    struct manifest *m;                /* what came of it */
    struct merge_conflict *conflicts;  /* of which the later one was taken; by path */
    size_t conflict_count, conflict_capacity;
    bool overlaps; /* some pilots were in several of them: counts are the larger ones, no sums */
};

/* The union of `count` manifests, in whatever order: the later recorded is believed. A pilot that is in several counts
 * once. They are used up. */
void merge_manifests(struct manifest **all, size_t count, struct merge *out);
void merge_free(struct merge *out);

#endif
