/* Python modules that are compiled at every start, for want of bytecode. */
#ifndef DLCACHE_BYTECODE_H
#define DLCACHE_BYTECODE_H

#include "manifests/manifest.h"

/* How many modules were read although bytecode of theirs was looked for, and was absent. *first: one of them. The
 * manifest's entries are sorted. */
uint64_t bytecode_missing(const struct manifest *m, const struct manifest_entry **first);

#endif
