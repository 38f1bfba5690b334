/* dlcache collect: a manifest of what programs noted by themselves, with DLCACHE_RECORD in their environment. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/recording.h"
#include "facts/memory.h"

static const char usage[] =
    "usage: dlcache collect [-o M] [--include P]... [--exclude P]... [--all] [-v] DIR\n"
    "Write the manifest M of what programs have noted in DIR. A program notes there when DLCACHE_RECORD=DIR is in its\n"
    "environment and it is attached; one that is served from a stage notes what the stage could not answer:\n"
    "\n"
    "  mkdir misses\n"
    "  srun --export=ALL,DLCACHE_RECORD=$PWD/misses $D/run python app.py\n"
    "  dlcache collect misses -o misses.json\n"
    "\n"
    "DIR has to exist before, and to be seen by every node. It is left as it is. What was noted is looked at as it is\n"
    "now, from this node.\n"
    "\n"
    "  -o, --output M   the manifest (default dlcache.json; \"-\": standard output)\n"
    "  --include P      keep what lies below P, on whatever file system\n"
    "  --exclude P      leave out what lies below P\n"
    "  --all            keep all but /proc, /sys, /dev, /run and the temporary directories\n"
    "  -v, --verbose    name every path that is left out, and why\n"
    "  -h, --help       show this\n"
    "\n"
    "Kept by default: as by dlcache record. Exit status: 0, or 2 where there is no manifest to be had.\n";

/* Files' clocks tick more slowly than that of the notes. */
#define FILE_CLOCK_TICK_NS 20000000u

struct options {
    const char *output, *dir;
    struct policy policy;
    bool verbose;
};

/* 0 to go on, 1 when help was given, 2 for wrong usage. */
static int parse(struct options *o, int argc, char **argv)
{
    enum { INCLUDE = 256, EXCLUDE, ALL };
    static const struct option longs[] = {
        {"output", required_argument, NULL, 'o'}, {"include", required_argument, NULL, INCLUDE},
        {"exclude", required_argument, NULL, EXCLUDE}, {"all", no_argument, NULL, ALL},
        {"verbose", no_argument, NULL, 'v'}, {"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0},
    };
    int c, rc = 0;

    optind = 1;
    opterr = 0;
    while (rc == 0 && (c = getopt_long(argc, argv, ":o:vh", longs, NULL)) != -1) {
        switch (c) {
        case 'o': o->output = optarg; break;
        case INCLUDE: rc = recording_ask("collect", &o->policy.include, "--include", optarg, true); break;
        case EXCLUDE: rc = recording_ask("collect", &o->policy.exclude, "--exclude", optarg, false); break;
        case ALL: o->policy.all = true; break;
        case 'v': o->verbose = true; break;
        case 'h': fputs(usage, stdout); return 1;
        case ':': return recording_wrong("collect", "a value is missing for the option", argv[optind - 1]);
        default: return recording_wrong("collect", "unknown option (see dlcache collect --help)", argv[optind - 1]);
        }
    }
    if (rc == 0 && optind + 1 != argc)
        return recording_wrong("collect", "one directory is wanted (see dlcache collect --help)", NULL);
    o->dir = argv[optind];
    return rc;
}

static int collect_notes(struct options *o, const struct notes *notes)
{
    const struct noted_file *first = notes_first(notes);
    char *cwd = getcwd(NULL, 0);
    /* Nobody has told the command: the program that began. */
    char *command[] = {first && *first->exe ? first->exe : NULL, NULL};
    const struct collect_request request = {
        .notes = notes,
        .policy = &o->policy,
        .command = command,
        .started_ns = first ? first->start_ns - FILE_CLOCK_TICK_NS : 0,
        .environment = environ,
        .cwd = cwd ? cwd : "/",
        .left_out = o->verbose ? recording_left_out : NULL,
    };
    const int rc = recording_write(o->output, &request);

    free(cwd);
    return rc;
}

int verb_collect(int argc, char **argv)
{
    struct options o = {.output = "dlcache.json"};
    char *error = NULL;
    int rc = parse(&o, argc, argv);
    struct notes *notes = rc == 0 ? notes_read(o.dir, &error) : NULL;

    if (rc == 1)
        rc = 0;
    else if (rc == 0)
        rc = notes ? collect_notes(&o, notes) : recording_wrong("collect", error, NULL);
    notes_free(notes);
    free(error);
    policy_free(&o.policy);
    return rc;
}
