/* The reader: the contents of an image as a stream of chunks, read with many requests in flight.
 *
 * A pool of threads reads pieces of files, in order, into a ring of chunks; the main thread takes the chunks, in order.
 * Memory: SOURCE_RING chunks. */
#ifndef DLCACHE_SOURCE_H
#define DLCACHE_SOURCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "replayer/image/build.h"

#define SOURCE_CHUNK ((uint64_t)4 << 20)
#define SOURCE_RING 4u
#define SOURCE_THREADS 16u

/* Behind its bytes each chunk carries their digest: XXH3-128, canonical. */
#define CHUNK_DIGEST 16u

struct source;

/* Starts reading. `built` stays the caller's, and as it is. `idle` is called now and then by source_next while it
 * waits; or NULL. NULL where no thread can be started. */
struct source *source_start(const struct built *built, void (*idle)(void));

/* The next chunk: bytes [n * SOURCE_CHUNK, …) of the contents and their digest; valid until source_release. Called once
 * for each. */
void *source_next(struct source *s);
void source_release(struct source *s);

/* After the last chunk, or earlier: ends the threads. *bad, heap: the nodes whose contents could not be read, or were
 * not what they had been; *count of them. Says on standard error which. -1 with *error (heap) where the contents of a
 * packed image could not be read, or are not what its digests say; else 0. */
int source_finish(struct source *s, uint32_t **bad, size_t *count, char **error);

/* The file that is open is what the index says of it: contents and stat data that do not belong together are no use.
 * 0 or errno. */
int source_look(int fd, const struct image_source *from);

/* Says on standard error which sources could not be read: `errors` has an errno or 0 for each. Their nodes come into
 * `bad`; the number of them. */
size_t source_tell(const struct built *built, const int *errors, uint32_t *bad);

/* The bytes of the n-th chunk, its digest not counted. */
static inline uint64_t chunk_bytes(uint64_t data_size, uint64_t n)
{
    const uint64_t left = data_size - n * SOURCE_CHUNK;
    return left < SOURCE_CHUNK ? left : SOURCE_CHUNK;
}

/* Memory for a chunk and its digest: heap, not zeroed. */
void *chunk_new(void);

/* The digest behind the chunk's bytes is theirs. */
bool chunk_is_whole(const void *chunk, uint64_t bytes);

#endif
