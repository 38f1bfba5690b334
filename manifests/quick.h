/* Entries as manifest_save writes them, read without building what they say in JSON first: ten times as fast. It knows
 * the one form only. Any doubt goes to the reader that knows all of JSON, and can say what is wrong. */
#ifndef DLCACHE_QUICK_H
#define DLCACHE_QUICK_H

#include "manifests/manifest.h"

/* Adds the entry that begins at p; where it ends. NULL, with nothing added, where it is in doubt. */
const char *quick_entry(const char *p, const char *end, struct manifest *m);

#endif
