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

/* The last n bytes, 1 to 7, of a text of `size` bytes that ends at `end`, the first of them lowest; without a loop, which
 * takes as long as all the rest: bytes before them, of the text, are read along and shifted out. */
static inline uint64_t dlc_hash_tail(const unsigned char *end, size_t n, size_t size)
{
    uint64_t word;
    uint32_t low, high;

    if (size >= 8) {
        __builtin_memcpy(&word, end - 8, 8);
        return word >> 8 * (8 - n);
    }
    const unsigned char *s = end - n;
    if (n >= 4) {
        __builtin_memcpy(&low, s, 4);
        __builtin_memcpy(&high, end - 4, 4);
        return low | (uint64_t)high << 8 * (n - 4);
    }
    return s[0] | (uint64_t)s[n / 2] << 8 * (n / 2) | (uint64_t)end[-1] << 8 * (n - 1);
}

/* Reads the n bytes at p and nothing behind them. Any context. */
static inline uint64_t dlc_hash64(uint64_t seed, const void *p, size_t n)
{
    const unsigned char *s = p;
    const size_t size = n;
    uint64_t h = seed * 0x9e3779b97f4a7c15ull ^ n;
    uint64_t word;

    for (; n >= 8; s += 8, n -= 8) {
        __builtin_memcpy(&word, s, 8);
        h = dlc_hash_mix(h, word);
    }
    if (n)
        h = dlc_hash_mix(h, dlc_hash_tail(s + n, n, size));
    return dlc_hash_mix(h, 0);
}

/* The hash of `name` below the directory `parent`. */
static inline uint64_t dlc_name_hash(uint32_t parent, const char *name, size_t n)
{
    return dlc_hash64((uint64_t)parent + 1, name, n);
}

#endif
