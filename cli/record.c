/* dlcache record: run a command, and write down what it touches. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli.h"
#include "recording.h"
#include "manifests/manifest.h"
#include "recorder/collect.h"
#include "recorder/run.h"
#include "replayer/attach/locate.h"

static const char usage[] =
    "usage: dlcache record [-o M] [--include P]... [--exclude P]... [--all] [--spool DIR] [-v] -- CMD...\n"
    "Run CMD and all its children, note every path that they look up, open or load, and write the manifest M.\n"
    "\n"
    "  -o, --output M   the manifest (default dlcache.json; \"-\": standard output). In it %r is the rank of MPI or\n"
    "                   Slurm, %h the host, %p the process, %% a percent sign\n"
    "  --include P      keep what lies below P, on whatever file system\n"
    "  --exclude P      leave out what lies below P\n"
    "  --all            keep all but /proc, /sys, /dev, /run and the temporary directories\n"
    "  --spool DIR      note below DIR while CMD runs (default: $TMPDIR, or /tmp)\n"
    "  -v, --verbose    name every path that is left out, and why\n"
    "  -h, --help       show this\n"
    "\n"
    "Of a parallel program one command records all ranks of this node: dlcache record -- mpiexec -n 4 CMD. As a rank:\n"
    "mpiexec -n 4 dlcache record -o app-%r.json -- CMD. On many nodes, and of a program that is served from a stage\n"
    "(then what the stage lacks): see dlcache collect --help.\n"
    "Kept by default: what CMD only reads, below its own software prefixes, on shared file systems.\n"
    "The exit status is CMD's; 2 for wrong usage, or where there is no manifest to be had.\n";

struct options {
    const char *output, *spool;
    char *name; /* the output, of this rank; heap */
    struct policy policy;
    bool verbose;
};

static int wrong(const char *what, const char *why)
{
    return recording_wrong("record", what, why);
}

/* 0 to go on, 1 when help was given, 2 for wrong usage. optind is at the command then. */
static int parse(struct options *o, int argc, char **argv)
{
    enum { INCLUDE = 256, EXCLUDE, ALL, SPOOL };
    static const struct option longs[] = {
        {"output", required_argument, NULL, 'o'}, {"include", required_argument, NULL, INCLUDE},
        {"exclude", required_argument, NULL, EXCLUDE}, {"all", no_argument, NULL, ALL},
        {"spool", required_argument, NULL, SPOOL}, {"verbose", no_argument, NULL, 'v'},
        {"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0},
    };
    int c, rc = 0;

    optind = 1;
    opterr = 0;
    while (rc == 0 && (c = getopt_long(argc, argv, "+:o:vh", longs, NULL)) != -1) {
        switch (c) {
        case 'o': o->output = optarg; break;
        case INCLUDE: rc = recording_ask("record", &o->policy.include, "--include", optarg, true); break;
        case EXCLUDE: rc = recording_ask("record", &o->policy.exclude, "--exclude", optarg, false); break;
        case ALL: o->policy.all = true; break;
        case SPOOL: o->spool = optarg; break;
        case 'v': o->verbose = true; break;
        case 'h': fputs(usage, stdout); return 1;
        case ':': return wrong("a value is missing for the option", argv[optind - 1]);
        default: return wrong("unknown option (see dlcache record --help)", argv[optind - 1]);
        }
    }
    if (rc == 0 && optind == argc)
        return wrong("there is no command to run (see dlcache record --help)", NULL);
    return rc;
}

/* The library files, and whether the loader's variables can name them. */
static int find_libraries(char **preload, char **audit)
{
    const char *wish = getenv("DLCACHE_AUDIT");
    const bool want_audit = !wish || strcmp(wish, "off") != 0;

    *preload = locate("libdlcache.so");
    *audit = want_audit ? locate("libdlcache-audit.so") : NULL;
    if (!*preload)
        return wrong("libdlcache.so is not beside this program, nor in ../lib/dlcache", NULL);
    if (want_audit && !*audit)
        return wrong("libdlcache-audit.so is not beside this program, nor in ../lib/dlcache", NULL);
    if (strpbrk(*preload, ": "))
        return wrong("LD_PRELOAD cannot name a file with a space or a colon in its path", *preload);
    return 0;
}

static uint64_t file_clock_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME_COARSE, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* The clock that the kernel gives files their times by ticks every few milliseconds. From its next tick on, what is
 * changed by the command is not older than the start, and what was there before is. */
static uint64_t start_of_pilot(void)
{
    const struct timespec short_while = {0, 200000};
    const uint64_t now = file_clock_ns();

    while (file_clock_ns() == now)
        nanosleep(&short_while, NULL);
    return file_clock_ns();
}

/* Runs the command with its spool in `dir`, which is gone when this returns. */
static int record(struct options *o, char **command, const char *dir, const char *preload, const char *audit)
{
    const struct run_options run = {command, dir, preload, audit};
    char *cwd = getcwd(NULL, 0);
    char *program = run_find_program(command[0]);
    const uint64_t started = start_of_pilot();
    char *error = NULL;
    int status = 0, refused = 0;

    int rc = run_command(&run, &status, &refused);
    struct notes *notes = rc == 0 && !refused ? notes_read(dir, &error) : NULL;
    const unsigned running = run_still_noting(dir);
    int removed = run_remove_spool(dir);
    run_restore_signals();
    if (removed && removed != -ENOENT)
        fprintf(stderr, "dlcache: %s: not removed: %s\n", dir, strerror(-removed));
    if (rc) {
        rc = wrong(command[0], strerror(-rc));
    } else if (refused) {
        /* An earlier manifest is worth more than an empty one. */
        wrong(command[0], refused == ENOENT ? "command not found" : strerror(refused));
        rc = status;
    } else if (!notes) {
        fprintf(stderr, "dlcache: the notes of the command cannot be read: %s\n", error);
        rc = status ? status : 2;
    } else {
        const struct collect_request request = {
            .notes = notes,
            .policy = &o->policy,
            .command = command,
            .program = program,
            .started_ns = started,
            .exit_status = status,
            .environment = environ,
            .cwd = cwd ? cwd : "/",
            .left_out = o->verbose ? recording_left_out : NULL,
        };
        rc = recording_write(o->name, &request);
        if (running)
            fprintf(stderr, "dlcache: %u process%s of the command still run%s: what %s touch%s from now on\n"
                    "dlcache: is not noted\n", running, running == 1 ? "" : "es", running == 1 ? "s" : "",
                    running == 1 ? "it" : "they", running == 1 ? "es" : "");
        if (status)
            rc = status;
    }
    notes_free(notes);
    free(error);
    free(program);
    free(cwd);
    return rc;
}

int verb_record(int argc, char **argv)
{
    struct options o = {.output = "dlcache.json"};
    char *preload = NULL, *audit = NULL, *dir = NULL, *error = NULL;
    int rc = parse(&o, argc, argv);

    if (rc == 0)
        rc = find_libraries(&preload, &audit);
    if (rc == 0)
        rc = recording_name("record", o.output, &o.name);
    /* A pilot may take hours: better to know now. */
    if (rc == 0 && manifest_may_save(o.name, &error) != 0)
        rc = wrong("cannot write the manifest, and the command was not run", error);
    if (rc == 0) {
        const char *tmp = getenv("TMPDIR");
        dir = run_make_spool(o.spool ? o.spool : tmp && *tmp ? tmp : "/tmp", &error);
        if (dir)
            rc = record(&o, argv + optind, dir, preload, audit);
        else
            rc = wrong("cannot note there, and the command was not run (see --spool)", error);
    } else if (rc == 1) {
        rc = 0;
    }
    policy_free(&o.policy);
    free(o.name);
    free(preload);
    free(audit);
    free(error);
    free(dir);
    return rc;
}
