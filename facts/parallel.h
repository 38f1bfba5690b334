/* Many questions at once to a file system that takes its time over each. */
#ifndef DLCACHE_PARALLEL_H
#define DLCACHE_PARALLEL_H

#include <stdbool.h>
#include <stddef.h>

#define PARALLEL_THREADS 32u

/* Calls each(context, i) for every i of [begin, end), in PARALLEL_THREADS threads, fewer where there is little to do; an
 * index is taken once, neighbours mostly by one thread. Comes back when all are done. False where no thread can be
 * started: nothing was called then. */
bool parallel_each(size_t begin, size_t end, void (*each)(void *context, size_t i), void *context);

#endif
