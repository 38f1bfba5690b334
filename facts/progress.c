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

void progress_bytes_at(uint64_t done, uint64_t total, const char *where)
{
    const double at = now();
    char bar[BAR + 1];

    if (!state.begun) {
        state.begun = true;
        state.terminal = isatty(STDERR_FILENO);
        state.started = at;
    }
    if (!state.terminal || at - state.started < 1 || at - state.last < 0.1)
        return;
    const double part = total ? (double)done / (double)total : 1;
    const int filled = (int)(part * BAR);
    memset(bar, '#', (size_t)filled);
    memset(bar + filled, '-', (size_t)(BAR - filled));
    bar[BAR] = '\0';
    fprintf(stderr, "\r\033[K[%s] %3d %%  %.0f of %.0f MB  %.0f MB/s%s%s", bar, (int)(part * 100), (double)done / 1e6,
            (double)total / 1e6, (double)done / 1e6 / (at - state.started), where ? "  " : "", where ? where : "");
    fflush(stderr);
    state.last = at;
    state.shown = true;
}

void progress_bytes(uint64_t done, uint64_t total)
{
    progress_bytes_at(done, total, NULL);
}

void progress_end(void)
{
    if (state.shown)
        fputs("\r\033[K", stderr);
    state.begun = state.shown = false;
}
