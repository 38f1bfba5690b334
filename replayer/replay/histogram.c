#include "replayer/replay/histogram.h"

/* Below 64 a bucket a nanosecond; then 32 of them to each doubling. */
static unsigned bucket_of(uint64_t ns)
{
    if (ns < 2 * HISTOGRAM_FINE)
        return (unsigned)ns;
    const unsigned doublings = 63u - (unsigned)__builtin_clzll(ns) - 5u;
    const uint64_t bucket = doublings * HISTOGRAM_FINE + (ns >> doublings);
    return bucket < HISTOGRAM_BUCKETS ? (unsigned)bucket : HISTOGRAM_BUCKETS - 1;
}

uint64_t histogram_least(unsigned bucket)
{
    if (bucket < 2 * HISTOGRAM_FINE)
        return bucket;
    const unsigned doublings = bucket / HISTOGRAM_FINE - 1;
    return (uint64_t)(bucket - doublings * HISTOGRAM_FINE) << doublings;
}

void histogram_add(struct histogram *h, uint64_t ns)
{
    h->count++;
    h->sum += ns;
    if (ns > h->most)
        h->most = ns;
    h->buckets[bucket_of(ns)]++;
}

void histogram_merge(struct histogram *to, const struct histogram *from)
{
    to->count += from->count;
    to->sum += from->sum;
    if (from->most > to->most)
        to->most = from->most;
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++)
        to->buckets[i] += from->buckets[i];
}

uint64_t histogram_percentile(const struct histogram *h, double share)
{
    const double wanted = share * (double)h->count;
    uint64_t seen = 0;

    for (unsigned i = 0; i < HISTOGRAM_BUCKETS - 1; i++) {
        seen += h->buckets[i];
        if (seen && (double)seen >= wanted) {
            const uint64_t last = histogram_least(i + 1) - 1;
            return last < h->most ? last : h->most;
        }
    }
    return h->most;
}
