/* /etc/ld.so.cache, for whoever searches as ld.so does. With ld.so's lock held: its data need none of their own. No
 * heap, no C library. */
#ifndef DLCACHE_LD_SO_CACHE_H
#define DLCACHE_LD_SO_CACHE_H

#include <stdbool.h>

#include "libdlcache/lookup.h"

/* What ld.so.cache says of that name: the path, or NULL (nothing, no cache, or something only ld.so can tell: then
 * *doubt). Valid until cache_close. For a process whose `rtld` is known. */
const char *cache_lookup(const struct view *v, const char *name, bool *doubt);
/* When a batch of loading is over. */
void cache_close(void);

#endif
