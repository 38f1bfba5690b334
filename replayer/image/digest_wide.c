/* Compiled with -mavx2 where that is known; nothing but the one function comes from here. */
#include "replayer/image/digest_wide.h"

#ifdef __AVX2__
#define XXH_INLINE_ALL
#include <xxhash.h>

bool digest_wide_add(void *state, const void *data, uint64_t bytes)
{
    return __builtin_cpu_supports("avx2") && XXH3_128bits_update(state, data, bytes) == XXH_OK;
}
#else
bool digest_wide_add(void *state, const void *data, uint64_t bytes)
{
    (void)state, (void)data, (void)bytes;
    return false;
}
#endif
