/* The hash of the image format (doc/FORMAT.md 4): names below a directory, and the header's checksum. */
#ifndef DLCACHE_HASH_H
#define DLCACHE_HASH_H

#include <stddef.h>
#include <stdint.h>

static inline uint64_t dlc_hash_mix(uint64_t h, uint64_t word)
{
    h = (h ^ word) * 0xff51afd7ed558ccdull;
    return h ^ h >> 32;
}

/* Reads the n bytes at p and nothing behind them. Any context. */
static inline uint64_t dlc_hash64(uint64_t seed, const void *p, size_t n)
{
    const unsigned char *s = p;
    uint64_t h = seed * 0x9e3779b97f4a7c15ull ^ n;
    uint64_t word;

    for (; n >= 8; s += 8, n -= 8) {
        __builtin_memcpy(&word, s, 8);
        h = dlc_hash_mix(h, word);
    }
    if (n) {
        word = 0;
        for (size_t i = 0; i < n; i++)
            word |= (uint64_t)s[i] << 8 * i;
        h = dlc_hash_mix(h, word);
    }
    return dlc_hash_mix(h, 0);
}

/* The hash of `name` below the directory `parent`. */
static inline uint64_t dlc_name_hash(uint32_t parent, const char *name, size_t n)
{
    return dlc_hash64((uint64_t)parent + 1, name, n);
}

#endif
