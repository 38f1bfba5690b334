/* A packed image against the file system as it is now. */
#ifndef DLCACHE_DRIFT_H
#define DLCACHE_DRIFT_H

#include <stddef.h>
#include <stdint.h>

/* Looks at every name whose stat data the index holds, with many requests in flight, and takes what is not the same
 * any more out of it: what is left is true; of the rest the file system is asked. `say` gets each path and what it is
 * now ("is gone", …). The number of such names; where it is not 0 the index is sealed anew. -1: it is no index. */
long image_drop_drifted(void *index, void (*say)(const char *path, const char *what));

#endif
