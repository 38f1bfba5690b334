/* What a manifest adds up to. */
#ifndef DLCACHE_TOTALS_H
#define DLCACHE_TOTALS_H

#include <uthash.h>

#include "manifests/manifest.h"

/* A named sum: a package, a directory. */
struct sum {
    char *name;
    uint64_t bytes, calls, entries, files;
    UT_hash_handle hh;
};

struct totals {
    uint64_t entries[MANIFEST_KINDS], bytes[MANIFEST_KINDS];
    struct manifest_counts counts;
    struct sum *packages;    /* uthash */
    struct sum *directories; /* of what was found */
    struct sum *missed;      /* of what was not */
    const struct manifest_entry **biggest; /* all files, the biggest first */
    size_t file_count;
};

typedef int sum_order(struct sum *a, struct sum *b);
sum_order sums_by_bytes, sums_by_calls;

void totals_of(const struct manifest *m, struct totals *t);
void totals_free(struct totals *t);

#endif
