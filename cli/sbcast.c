/* dlcache stage --sbcast I: Slurm's sbcast carries the image to every node, in the stead of MPI. */
#include "cli/sbcast.h"

#include <errno.h>
#include <inttypes.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "cli/cli.h"
#include "facts/memory.h"
#include "replayer/image/build.h"
#include "replayer/image/drift.h"
#include "replayer/image/file.h"
#include "replayer/start/start.h"

static void say_drifted(const char *path, const char *what)
{
    cli_error("warning: %s %s", path, what);
}

/* Once, here: the nodes believe what they get. The image's report; false where that was told. */
static bool check(const char *image, bool look, struct build_report *report)
{
    struct built built;
    char *error = NULL;
    long drifted = 0;

    if (image_file_open(&built, image, &error) != 0) {
        cli_error("stage: %s", error);
        free(error);
        return false;
    }
    *report = built.report;
    if (look)
        drifted = image_drop_drifted(built.index, say_drifted);
    built_free(&built);
    if (drifted)
        cli_error("stage: %s: %ld names are not what they were; pack it anew, or give --no-check", image, drifted);
    return drifted == 0;
}

/* A name that nobody can know, in the first of the places. */
static char *copy_name(const char *places)
{
    uint64_t number = 0;
    char *path;

    if (getrandom(&number, sizeof number, 0) != sizeof number)
        number = (uint64_t)getpid() << 32 | (uint64_t)time(NULL);
    if (asprintf(&path, "%.*s/.dlcache-%u.%016" PRIx64 ".image", (int)strcspn(places, ":"), places, (unsigned)geteuid(),
                 number) < 0)
        memory_check(NULL);
    return path;
}

/* sbcast(1): from here to every node of the job. */
static int send_copy(const char *image, const char *copy, bool verbose)
{
    struct start_plan plan = {.kind = START_LAUNCH};
    char *argv[] = {(char *)(uintptr_t)image, (char *)(uintptr_t)copy, NULL};

    start_add(&plan, "sbcast");
    if (verbose) {
        char *text = start_text(&plan, argv);
        cli_error("stage: %s", text);
        free(text);
    }
    const int status = start_run(&plan, argv, NULL);
    if (status)
        cli_error("stage: sbcast: %s", status < 0 ? strerror(errno) : "the image could not be sent");
    start_free(&plan);
    return status;
}

/* Every node has said the same directory: it, heap, or NULL. */
static char *same_line(const char *output)
{
    const size_t n = strcspn(output, "\n");

    for (const char *p = output; *p; p += n + 1)
        if (strncmp(p, output, n) != 0 || p[n] != '\n')
            return NULL;
    return n ? memory_bytes(output, n) : NULL;
}

/* On every node, whatever it says. */
static void everywhere(const struct start_plan *plan, const char *const *words)
{
    char **argv = memory_new(8, sizeof *argv), *output = NULL;

    for (size_t i = 0; words[i]; i++)
        argv[i] = (char *)(uintptr_t)words[i];
    start_run(plan, argv, &output);
    free(output);
    free(argv);
}

static double now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

int sbcast_stage(const struct sbcast *s, char *const *argv)
{
    const double started = now();
    struct build_report report;
    struct start_plan plan;
    char *output = NULL, *dir = NULL;
    int status = 2;

    start_plan(&plan, environ, NULL, NULL);
    if (plan.kind != START_LAUNCH || strcmp(plan.manager, "Slurm") != 0) {
        cli_error("stage: --sbcast is for a Slurm job's script");
    } else if (check(s->image, s->check, &report)) {
        char *copy = copy_name(s->places);
        start_add(&plan, "--mpi=none");
        status = send_copy(s->image, copy, s->verbose) ? 1 : 0;
        if (status == 0) {
            char **words = memory_new(s->argc + 4, sizeof *words);
            size_t n = 0;
            for (size_t i = 0; i < s->argc; i++)
                words[n++] = argv[i];
            words[n++] = (char *)"--copy";
            words[n++] = copy;
            status = start_run(&plan, words, &output);
            free(words);
            dir = output ? same_line(output) : NULL;
            if (status == 0 && !dir)
                cli_error("stage: the nodes name different directories, or none:\n%s", output ? output : "");
            status = status == 0 && dir ? 0 : 1;
        }
        if (status) {
            everywhere(&plan, (const char *const[]){"rm", "-f", copy, NULL});
            if (dir)
                everywhere(&plan, (const char *const[]){s->self, "unstage", "--here", dir, NULL});
        } else {
            cli_error("staged %" PRIu64 " files, %.1f MB, %" PRIu64 " names on %s node%s by sbcast in %.2f s",
                      report.files, (double)report.bytes / 1e6, report.names, strchr(plan.words[1], '=') + 1,
                      strcmp(plan.words[1], "--nodes=1") == 0 ? "" : "s", now() - started);
            puts(dir);
        }
        free(copy);
    }
    free(output);
    free(dir);
    start_free(&plan);
    return status;
}
