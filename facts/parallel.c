#include "facts/parallel.h"

#include <sched.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

/* Indices that one thread takes at a time, where there are many. */
#define SHARE_MOST 8u
/* Files that others have open, MPI before all. */
#define OPEN_ELSEWHERE 32

struct work {
    void (*each)(void *context, size_t i);
    void *context;
    size_t next; /* atomic */
    size_t end, share;
};

static void *work(void *arg)
{
    struct work *w = arg;

    for (;;) {
        const size_t from = __atomic_fetch_add(&w->next, w->share, __ATOMIC_RELAXED);
        if (from >= w->end)
            return NULL;
        for (size_t i = from; i < from + w->share && i < w->end; i++)
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

unsigned parallel_open(unsigned most, unsigned share)
{
    const long may = sysconf(_SC_OPEN_MAX), part = (may - OPEN_ELSEWHERE) / (long)share;

    if (may < 0 || part >= (long)most) /* -1: any number */
        return most;
    return part > 1 ? (unsigned)part : 1;
}

void parallel_wait(pthread_cond_t *condition, pthread_mutex_t *lock)
{
    struct timespec until;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += 100000000;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    pthread_cond_timedwait(condition, lock, &until);
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

void parallel_each(size_t begin, size_t end, void (*each)(void *context, size_t i), void *context)
{
    begin = alone(begin, end, each, context);
    struct work w = {.each = each, .context = context, .next = begin, .end = end};
    const size_t left = end - begin, each_a_few = left / PARALLEL_THREADS / 4;
    const unsigned most = parallel_open(PARALLEL_THREADS, 4);
    pthread_t threads[PARALLEL_THREADS];
    unsigned count = 0;

    w.share = each_a_few < 1 ? 1 : each_a_few > SHARE_MOST ? SHARE_MOST : each_a_few;
    while (count < most && count * w.share < left && pthread_create(&threads[count], NULL, work, &w) == 0)
        count++;
    if (count == 0)
        work(&w);
    for (unsigned i = 0; i < count; i++)
        pthread_join(threads[i], NULL);
}
