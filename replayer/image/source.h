/* The reader: the contents of an image as a stream of chunks, read with many requests in flight.
 *
 * A pool of threads reads, each a chunk of the ring at a time, and computes its digest; the main thread takes the
 * chunks, in order. Memory: SOURCE_MEMORY. */
#ifndef DLCACHE_SOURCE_H
#define DLCACHE_SOURCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "replayer/image/build.h"
#include "replayer/image/digest.h"
#include "replayer/image/originals.h"

/* Bytes of a chunk: of an image file, which has a digest for each of them; of what is only sent. The smaller one is
 * still in the processor's cache when it is looked at for the second time. */
#define IMAGE_CHUNK ((uint64_t)4 << 20)
#define STREAM_CHUNK ((uint64_t)1 << 20)
#define SOURCE_MEMORY ((uint64_t)16 << 20)
#define SOURCE_THREADS 16u

struct source;

/* Starts reading. `built` stays the caller's, and as it is; `chunk`: as above. `copy`: or NULL; not of a packed image,
 * nor of a bundle. `idle` is called now and then by source_next while it waits; or NULL. NULL where no thread can be
 * started. */
struct source *source_start(const struct built *built, uint64_t chunk, const struct source_copy *copy,
                            void (*idle)(void));

/* source_next would not wait. */
bool source_is_ready(struct source *s);
/* The next chunk: bytes [n * chunk, …) of the contents, and behind them their digest; valid until source_release.
 * Called once for each. */
void *source_next(struct source *s);
/* The chunk that was taken first is not needed any more. */
void source_release(struct source *s);

/* What could not be written to a copy: errno, and whose it is; 0: nothing. */
int source_failed(struct source *s, uint32_t *node);

/* After the last chunk, or earlier: ends the threads. *bad, heap: the nodes whose contents could not be read, or were
 * not what they had been; *count of them. Says on standard error which. -1 with *error (heap) where the contents of a
 * packed image could not be read, or are not what its digests say; else 0. */
int source_finish(struct source *s, uint32_t **bad, size_t *count, char **error);

/* The bytes of the n-th chunk, its digest not counted. */
static inline uint64_t chunk_bytes(uint64_t data_size, uint64_t chunk, uint64_t n)
{
    const uint64_t left = data_size - n * chunk;
    return left < chunk ? left : chunk;
}

/* Memory for `count` chunks, each with its digest, `*stride` bytes from one to the next: heap, not zeroed. */
void *chunks_new(uint64_t chunk, unsigned count, size_t *stride);

#endif
