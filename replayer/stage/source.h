/* The reader: the contents of an image as a stream of chunks, read with many requests in flight.
 *
 * A pool of threads reads pieces of files, in order, into a ring of chunks; the main thread takes the chunks, in order.
 * Memory: SOURCE_RING chunks. */
#ifndef DLCACHE_SOURCE_H
#define DLCACHE_SOURCE_H

#include <stddef.h>
#include <stdint.h>

#include "replayer/image/build.h"

#define SOURCE_CHUNK ((uint64_t)4 << 20)
#define SOURCE_RING 4u
#define SOURCE_THREADS 16u

struct source;

/* Starts reading. `built` stays the caller's, and as it is. NULL where no thread can be started. */
struct source *source_start(const struct built *built);

/* The next chunk: bytes [n * SOURCE_CHUNK, …) of the contents; valid until source_release. Called once for each. */
void *source_next(struct source *s);
void source_release(struct source *s);

/* After the last chunk, or earlier: ends the threads. *bad, heap: the nodes whose contents could not be read, or were
 * not what they had been; *count of them. Says on standard error which. */
void source_finish(struct source *s, uint32_t **bad, size_t *count);

#endif
