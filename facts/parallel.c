#include "facts/parallel.h"

#include <pthread.h>
#include <sched.h>
#include <sys/resource.h>

/* Indices that one thread takes at a time. */
#define SHARE 8u

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

long parallel_sleeps(void)
{
    struct rusage usage;

    return getrusage(RUSAGE_THREAD, &usage) == 0 ? usage.ru_nvcsw : 0;
}

unsigned parallel_processors(void)
{
    cpu_set_t set;

    return sched_getaffinity(0, sizeof set, &set) == 0 ? (unsigned)CPU_COUNT(&set) : 1;
}

/* The first index that is left after one that was slept for. */
static size_t alone(size_t begin, size_t end, void (*each)(void *context, size_t i), void *context)
{
    const long before = parallel_sleeps();
    size_t i = begin;

    while (i < end && parallel_sleeps() == before)
        each(context, i++);
    return i;
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
