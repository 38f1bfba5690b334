/* The digest that a chunk of contents carries: XXH3-128, canonical, part by part. */
#ifndef DLCACHE_DIGEST_H
#define DLCACHE_DIGEST_H

#include <stdint.h>

#define CHUNK_DIGEST 16u

struct chunk_digest;

struct chunk_digest *chunk_digest_new(void);
void chunk_digest_free(struct chunk_digest *d);

/* The same one again and again: begin, add, … end. */
void chunk_digest_begin(struct chunk_digest *d);
void chunk_digest_add(struct chunk_digest *d, const void *data, uint64_t bytes);
void chunk_digest_end(struct chunk_digest *d, uint8_t digest[CHUNK_DIGEST]);

#endif
