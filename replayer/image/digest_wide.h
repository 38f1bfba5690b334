/* The digest with the processor's wide registers (AVX2), compiled apart: a distribution's library is made for the oldest
 * processor of its kind, and takes more than twice as long. */
#ifndef DLCACHE_DIGEST_WIDE_H
#define DLCACHE_DIGEST_WIDE_H

#include <stdbool.h>
#include <stdint.h>

/* Adds to the XXH3_state_t as XXH3_128bits_update does. False, and nothing is done, where this processor, or the
 * compiler, cannot. */
bool digest_wide_add(void *state, const void *data, uint64_t bytes);

#endif
