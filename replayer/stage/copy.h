/* Contents from the originals into the mirror of the reader's own node, where there is no other: nobody else wants
 * them, and the kernel carries them from one file to the other; nothing lies in our memory.
 *
 * * A pool of threads copies what the main thread hands out, with many requests in flight. */
#ifndef DLCACHE_COPY_H
#define DLCACHE_COPY_H

#include <stddef.h>
#include <stdint.h>

#include "replayer/image/build.h"

struct copier;

struct copying {
    const struct built *built; /* from a manifest; the caller's, and as it is */
    void (*idle)(void *arg, uint64_t done); /* called by the main thread now and then while it waits; bytes copied */
    void *arg;
};

/* What is to be done with the file of the mirror that the node is when it has its contents, in any thread; `fd` is
 * closed behind it. 0 or errno. */
typedef int copy_end(void *arg, uint32_t node, int fd);

/* NULL where no thread can be started. */
struct copier *copier_start(const struct copying *from, copy_end *end, void *arg);

/* Fills an empty file, which is open for writing and the copier's from now on: the contents at offset `data`. Waits
 * while there are many that are not done. */
void copier_put(struct copier *c, uint32_t node, uint64_t data, int fd);

/* Waits until all are done, or in vain; then copier_free. 0, or errno of what could not be written, and *node. *bad
 * (heap) and *count: as source_finish. */
int copier_finish(struct copier *c, uint32_t **bad, size_t *count, uint32_t *node);

/* Ends it, done or not; NULL: nothing. */
void copier_free(struct copier *c);

#endif
