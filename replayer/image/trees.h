/* A manifest of whole trees, without a pilot. */
#ifndef DLCACHE_TREES_H
#define DLCACHE_TREES_H

#include <stddef.h>

#include "manifests/manifest.h"

/* Everything below each of the `count` directories becomes an entry; what is mounted below them is
 * not entered. NULL with *error (heap) where one of them is no directory. */
struct manifest *manifest_of_trees(char *const *directories, size_t count, char **error);

#endif
