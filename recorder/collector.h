/* What collecting works on: the notes laid over the file system (recorder/collect.c), and what the policy says about it
 * (recorder/decide.c). */
#ifndef DLCACHE_COLLECTOR_H
#define DLCACHE_COLLECTOR_H

#include "collect.h"
#include "facts/mounts.h"
#include "places.h"

/* A place that a noted path leads over. */
struct step {
    struct place *place;
    enum place_reach how;
};

/* A noted path: its steps. */
struct trail {
    size_t first;
    size_t count;
};

struct collector {
    const struct collect_request *request;
    struct collect_report *report;
    struct places places;
    struct mounts mounts;
    struct trail *trails; /* one a noted path */
    struct step *steps;   /* of all of them */
    size_t step_count, step_capacity;
    struct fs_type {
        uint64_t dev;
        uint32_t magic;
    } *fs_types;
    size_t fs_count, fs_capacity;
};

/* The mount that the place lies on, or NULL. */
struct mount_point *mount_of(const struct collector *c, struct place *p);
/* Finds the program's software, for the policy. */
void decide_prefixes(struct collector *c);
/* Marks the places that are kept. */
void decide_places(struct collector *c);
/* Puts the prefixes that something was kept for into the manifest. */
void decide_effective(struct collector *c, struct manifest *m);

#endif
