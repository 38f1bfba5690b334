/* Many questions at once to a file system that takes its time over each. */
#ifndef DLCACHE_PARALLEL_H
#define DLCACHE_PARALLEL_H

#include <pthread.h>
#include <stddef.h>

#define PARALLEL_THREADS 32u

/* How often the calling thread has slept until now: what comes from memory it does not sleep for. */
long parallel_sleeps(void);
/* Processors that this process may use. */
unsigned parallel_processors(void);
/* So many of what holds files open: at most `most`, and one in `share` of the files that may be open, less some for
 * others; at least 1. */
unsigned parallel_open(unsigned most, unsigned share);

/* Waits for the condition, a tenth of a second at most: whoever waits has something else to look at, too. */
void parallel_wait(pthread_cond_t *condition, pthread_mutex_t *lock);

/* Calls each(context, i) for every i of [begin, end), each once; comes back when all are done. The caller begins, and
 * goes on alone as long as the answers come at once, as from memory; from the first that it sleeps for on, in
 * PARALLEL_THREADS threads, fewer where there is little left, or few files may be open: each call may have one.
 * Neighbours come mostly in one thread, where there are many. Where no thread can be started the caller goes on alone. */
void parallel_each(size_t begin, size_t end, void (*each)(void *context, size_t i), void *context);

#endif
