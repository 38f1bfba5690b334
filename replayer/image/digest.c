#include "replayer/image/digest.h"

#include <string.h>

/* Some of it has to be inlined, which -Og does not do. */
#ifndef __clang__
#pragma GCC optimize("O2")
#endif
/* The same header makes both parts of it: what one library has in its state another may have elsewhere. */
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "facts/memory.h"
#include "replayer/image/digest_wide.h"

/* An XXH3_state_t. */
static XXH3_state_t *state_of(struct chunk_digest *d)
{
    return (XXH3_state_t *)d;
}

struct chunk_digest *chunk_digest_new(void)
{
    return (struct chunk_digest *)memory_check(XXH3_createState());
}

void chunk_digest_free(struct chunk_digest *d)
{
    XXH3_freeState(state_of(d));
}

void chunk_digest_begin(struct chunk_digest *d)
{
    XXH3_128bits_reset(state_of(d));
}

void chunk_digest_add(struct chunk_digest *d, const void *data, uint64_t bytes)
{
    if (!digest_wide_add(d, data, bytes))
        XXH3_128bits_update(state_of(d), data, bytes);
}

void chunk_digest_end(struct chunk_digest *d, uint8_t digest[CHUNK_DIGEST])
{
    XXH128_canonical_t is;

    XXH128_canonicalFromHash(&is, XXH3_128bits_digest(state_of(d)));
    memcpy(digest, is.digest, CHUNK_DIGEST);
}
