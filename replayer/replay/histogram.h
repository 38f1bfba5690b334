/* How long operations took: counts in buckets whose width is a 32nd of their value, so that a percentile is told to
 * three per cent, from nanoseconds to a quarter of an hour, in 9 KiB. No heap; one writer each. */
#ifndef DLCACHE_HISTOGRAM_H
#define DLCACHE_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_FINE 32u                          /* buckets to a doubling */
#define HISTOGRAM_BUCKETS (HISTOGRAM_FINE * 36u + 1) /* to 2^40 ns; the last one holds what took longer */

struct histogram {
    uint64_t count, sum, most; /* of all, in ns: exact */
    uint64_t buckets[HISTOGRAM_BUCKETS];
};

void histogram_add(struct histogram *h, uint64_t ns);
void histogram_merge(struct histogram *to, const struct histogram *from);

/* The least time of that bucket. */
uint64_t histogram_least(unsigned bucket);

/* The time that `share` (0 to 1) of the operations took at most: the last one of its bucket, and never more than the
 * longest. 0 where there are none. */
uint64_t histogram_percentile(const struct histogram *h, double share);

#endif
