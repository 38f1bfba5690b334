/* Runs a command, and writes what it took to FILE.RANK: start and end (seconds of the monotonic clock, which the
 * simulated nodes of one machine share), processor time of it and its children, and its largest memory in bytes.
 * usage: timed FILE CMD... */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double seconds(const struct timeval *t)
{
    return (double)t->tv_sec + (double)t->tv_usec / 1e6;
}

int main(int argc, char **argv)
{
    const char *rank = getenv("PMI_RANK") ?: getenv("SLURM_PROCID") ?: "0";
    struct rusage usage;
    char path[4096];
    int status;

    if (argc < 3)
        return 2;
    const double start = now();
    const pid_t pid = fork();
    if (pid == 0) {
        execvp(argv[2], argv + 2);
        perror(argv[2]);
        _exit(127);
    }
    while (wait4(pid, &status, 0, &usage) < 0)
        if (errno != EINTR)
            return 1;
    const double end = now();
    snprintf(path, sizeof path, "%s.%s", argv[1], rank);
    FILE *f = fopen(path, "we");
    if (!f || fprintf(f, "%.6f %.6f %.6f %ld\n", start, end, seconds(&usage.ru_utime) + seconds(&usage.ru_stime),
                      usage.ru_maxrss * 1024) < 0 || fclose(f) != 0)
        return 1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
