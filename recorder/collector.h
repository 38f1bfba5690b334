/* What collecting works on: the notes laid over the file system (recorder/collect.c), and what the policy says about it
 * (recorder/decide.c). */
#ifndef DLCACHE_COLLECTOR_H
#define DLCACHE_COLLECTOR_H

#include "collect.h"
#include "facts/mounts.h"
#include "places.h"

/* A noted path, and the places that it leads over. */
struct trail {
    struct {
        struct place *place;
        enum place_reach how;
    } *steps;
    size_t count, capacity;
};

struct collector {
    const struct collect_request *request;
    struct collect_report *report;
    struct places places;
    struct mounts mounts;
    struct trail *trails; /* one a noted path */
    struct fs_type {
        uint64_t dev;
        uint32_t magic;
    } *fs_types;
    size_t fs_count, fs_capacity;
};

/* Finds the program's software, for the policy. */
void decide_prefixes(struct collector *c);
/* Marks the places that are kept. */
void decide_places(struct collector *c);
/* Puts the prefixes that something was kept for into the manifest. */
void decide_effective(struct collector *c, struct manifest *m);

#endif
