#include "facts/parallel.h"

#include <pthread.h>
#include <time.h>

/* Indices that one thread takes at a time. */
#define SHARE 8u
/* Nanoseconds: an answer of a file system in memory takes a tenth of it, one from a server several times as long. */
#define AT_ONCE 50000

struct work {
    void (*each)(void *context, size_t i);
    void *context;
    size_t next; /* atomic */
    size_t end;
};

static void *work(void *arg)
{
    struct work *w = arg;

    for (;;) {
        const size_t from = __atomic_fetch_add(&w->next, SHARE, __ATOMIC_RELAXED);
        if (from >= w->end)
            return NULL;
        for (size_t i = from; i < from + SHARE && i < w->end; i++)
            w->each(w->context, i);
    }
}

static long long now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000ll + t.tv_nsec;
}

/* The first index that is left after one that had to be waited for. */
static size_t alone(size_t begin, size_t end, void (*each)(void *context, size_t i), void *context)
{
    long long last = now();

    for (size_t i = begin; i < end;) {
        each(context, i++);
        const long long after = now();
        if (after - last > AT_ONCE)
            return i;
        last = after;
    }
    return end;
}

bool parallel_each(size_t begin, size_t end, void (*each)(void *context, size_t i), void *context)
{
    begin = alone(begin, end, each, context);
    struct work w = {.each = each, .context = context, .next = begin, .end = end};
    const size_t wanted = (end - begin + SHARE - 1) / SHARE;
    pthread_t threads[PARALLEL_THREADS];
    unsigned count = 0;

    while (count < PARALLEL_THREADS && count < wanted && pthread_create(&threads[count], NULL, work, &w) == 0)
        count++;
    for (unsigned i = 0; i < count; i++)
        pthread_join(threads[i], NULL);
    return count > 0 || begin == end;
}
