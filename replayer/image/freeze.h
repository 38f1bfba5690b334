/* Complete lists of directories, with many requests in flight: what is not in one of them is provably not there. */
#ifndef DLCACHE_FREEZE_H
#define DLCACHE_FREEZE_H

#include <stddef.h>

#include "replayer/image/tree.h"

/* Reads the lists of `count` directories of the tree, each of them there once; their names come into it. Frozen
 * (DLC_N_FROZEN) is a directory afterwards whose list is complete, and that did not change meanwhile. The number of
 * those. */
size_t freeze(struct tree *t, struct tree_node *const *dirs, size_t count);

#endif
