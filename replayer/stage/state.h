/* The state of a stage as it is when it has just been laid down: doc/FORMAT.md 8.1. */
#ifndef DLCACHE_STATE_H
#define DLCACHE_STATE_H

#include "libdlcache/lookup.h"
#include "replayer/stage/team.h"

/* Its size for this image. */
uint64_t state_bytes(const struct image *im);

/* The state: heap, *bytes long; NULL and *o where this node cannot be looked at. `mirror`: one a node. `root`:
 * where the mirror is now; `prefix`: where it will be. `audit` and `loader`: what the probes found. */
void *state_make(const struct view *view, const struct dlc_mirror *mirror, const char *root, const char *prefix,
                 uint32_t audit, const struct dlc_loader *loader, uint64_t *bytes, struct outcome *o);

#endif
