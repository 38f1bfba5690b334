/* dlcache unstage: removes stages, and nothing else. */
#include <errno.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/start.h"
#include "facts/memory.h"
#include "replayer/attach/remove.h"

static const char usage[] =
    "usage: dlcache unstage [D]\n"
    "       dlcache unstage --all|--stale [--dir A:B:C]\n"
    "Remove the stage D, or all of yours. In a batch script of Slurm, Flux, PBS or LSF D is removed on every node of the\n"
    "job.\n"
    "\n"
    "  D            the directory that dlcache stage printed (default: $DLCACHE_STAGE)\n"
    "  --here       on this node only\n"
    "  --all        every stage of yours in the places, on this node\n"
    "  --stale      those of jobs that are over, and what was interrupted; as root, everybody's. Fit for an epilog,\n"
    "               where it removes the ending job's\n"
    "  --dir A:B:C  the places (default: /dev/shm)\n"
    "  --hosts FILE, --mpiexec CMD, -v, --verbose\n"
    "               as of dlcache stage\n"
    "  -h, --help   show this\n"
    "\n"
    "Programs that are still attached go on, with the original files. Exit status 1 where one was not removed.\n";

static const char *reason(int rc)
{
    switch (rc) {
    case -ENOENT: return "there is no such stage";
    case -EINVAL: return "that is no stage (.../dlcache-UID/NAME): left alone";
    case -EPERM: return "it is not your own, or open to others: left alone";
    default: return strerror(-rc);
    }
}

static int remove_many(const char *places, bool stale)
{
    char *list = memory_text(places), *rest = list;
    int removed = 0, untold = 0, status = 0;

    for (const char *place; (place = strsep(&rest, ":"));) {
        int here = 0;
        const int rc = !*place ? 0 : stale ? stage_remove_stale(place, &here) : stage_remove_all(place);
        untold += here;
        if (rc >= 0) {
            removed += rc;
        } else {
            cli_error("unstage: %s: %s", place, reason(rc));
            status = 1;
        }
    }
    free(list);
    if (untold)
        cli_error("unstage: %d stage%s left alone: whether the job is over cannot be told", untold,
                  untold == 1 ? "" : "s");
    cli_error("%d stage%s removed", removed, removed == 1 ? "" : "s");
    return status;
}

/* From a program that is attached to the stage, its directories cannot be opened: it goes on unattached. */
static void detach(char **argv)
{
    const char *off = getenv("DLCACHE_DISABLE");

    if (!getenv("DLCACHE_STAGE") || (off && *off && strcmp(off, "0") != 0))
        return;
    setenv("DLCACHE_DISABLE", "1", 1);
    execv("/proc/self/exe", argv - 1); /* where that fails, it is tried as it is */
}

/* -1 where it is to be done here. */
static int everywhere(const struct start_options *start, const char *dir)
{
    char *self = realpath("/proc/self/exe", NULL);
    char *argv[] = {self, (char *)"unstage", (char *)"--here", (char *)(uintptr_t)dir, NULL};

    memory_check(self);
    const int status = start_everywhere("unstage", start, argv);
    free(self);
    return status;
}

int verb_unstage(int argc, char **argv)
{
    static const struct option longs[] = {{"all", no_argument, NULL, 'a'},
                                          {"stale", no_argument, NULL, 's'},
                                          {"dir", required_argument, NULL, 'd'},
                                          {"here", no_argument, NULL, 'H'},
                                          {"hosts", required_argument, NULL, 'o'},
                                          {"mpiexec", required_argument, NULL, 'm'},
                                          {"verbose", no_argument, NULL, 'v'},
                                          {"help", no_argument, NULL, 'h'},
                                          {NULL, 0, NULL, 0}};
    const char *places = NULL, *dir = NULL;
    struct start_options start = {0};
    bool all = false, stale = false, here = false;
    int c;

    optind = 1;
    opterr = 0;
    while ((c = getopt_long(argc, argv, "+hv", longs, NULL)) != -1) {
        switch (c) {
        case 'a': all = true; break;
        case 's': stale = true; break;
        case 'd': places = optarg; break;
        case 'H': here = true; break;
        case 'o': start.hosts = optarg; break;
        case 'm': start.mpiexec = optarg; break;
        case 'v': start.verbose = true; break;
        case 'h': fputs(usage, stdout); return 0;
        default: return cli_wrong(argv[0], "'%s' is no option, or lacks its value", argv[optind - 1]);
        }
    }
    if (optind < argc)
        dir = argv[optind++];
    if (optind < argc || (all || stale) + (dir != NULL) > 1 || (all && stale) || (places && !all && !stale))
        return cli_wrong(argv[0], "either one stage, or --all, or --stale");
    detach(argv);
    if (all || stale)
        return remove_many(places ? places : "/dev/shm", stale);
    if (!dir)
        dir = getenv("DLCACHE_STAGE");
    if (!dir || !*dir)
        return cli_wrong(argv[0], "no stage is named: give D, --all or --stale");
    const int status = here ? -1 : everywhere(&start, dir);
    if (status >= 0)
        return status;
    const int rc = stage_remove(dir);
    if (rc)
        cli_error("unstage: %s: %s", dir, reason(rc));
    return rc ? 1 : 0;
}
