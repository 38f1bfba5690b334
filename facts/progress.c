#include "facts/progress.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define BAR 30

static struct {
    bool begun, shown, terminal;
    double started, last;
} state;

static double now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* Whether it is time to show something. */
static bool is_due(double at)
{
    if (!state.begun) {
        state.begun = true;
        state.terminal = isatty(STDERR_FILENO);
        state.started = at;
    }
    return state.terminal && at - state.started >= 1 && at - state.last >= 0.1;
}

/* The line's beginning; what follows it has to be flushed. */
static void put_bar(uint64_t done, uint64_t total, double at)
{
    const double part = total ? (double)done / (double)total : 1;
    const int filled = (int)(part * BAR);
    char bar[BAR + 1];

    memset(bar, '#', (size_t)filled);
    memset(bar + filled, '-', (size_t)(BAR - filled));
    bar[BAR] = '\0';
    fprintf(stderr, "\r\033[K[%s] %3d %%  ", bar, (int)(part * 100));
    state.last = at;
    state.shown = true;
}

void progress_bytes_at(uint64_t done, uint64_t total, const char *where)
{
    const double at = now();

    if (!is_due(at))
        return;
    put_bar(done, total, at);
    fprintf(stderr, "%.0f of %.0f MB  %.0f MB/s%s%s", (double)done / 1e6, (double)total / 1e6,
            (double)done / 1e6 / (at - state.started), where ? "  " : "", where ? where : "");
    fflush(stderr);
}

void progress_bytes(uint64_t done, uint64_t total)
{
    progress_bytes_at(done, total, NULL);
}

void progress_count(uint64_t done, uint64_t total, const char *things)
{
    const double at = now();

    if (!is_due(at))
        return;
    put_bar(done, total, at);
    fprintf(stderr, "%" PRIu64 " of %" PRIu64 " %s", done, total, things);
    fflush(stderr);
}

void progress_end(void)
{
    if (state.shown)
        fputs("\r\033[K", stderr);
    state.begun = state.shown = false;
}
