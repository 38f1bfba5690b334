/* dlcache unstage: removes stages, and nothing else. */
#include <errno.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "facts/memory.h"
#include "replayer/attach/remove.h"

static const char usage[] =
    "usage: dlcache unstage [D]\n"
    "       dlcache unstage --all [--dir A:B:C]\n"
    "Remove the stage D of this node, or all of yours.\n"
    "\n"
    "  D            the directory that dlcache stage printed (default: $DLCACHE_STAGE)\n"
    "  --all        every stage of yours in the places\n"
    "  --dir A:B:C  the places (default: /dev/shm)\n"
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

static int remove_all(const char *places)
{
    char *list = memory_text(places), *rest = list;
    int removed = 0, status = 0;

    for (const char *place; (place = strsep(&rest, ":"));) {
        const int rc = *place ? stage_remove_all(place) : 0;
        if (rc >= 0) {
            removed += rc;
        } else {
            cli_error("unstage: %s: %s", place, reason(rc));
            status = 1;
        }
    }
    free(list);
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

int verb_unstage(int argc, char **argv)
{
    static const struct option longs[] = {{"all", no_argument, NULL, 'a'},
                                          {"dir", required_argument, NULL, 'd'},
                                          {"help", no_argument, NULL, 'h'},
                                          {NULL, 0, NULL, 0}};
    const char *places = NULL, *dir = NULL;
    bool all = false;
    int c;

    optind = 1;
    opterr = 0;
    while ((c = getopt_long(argc, argv, "+h", longs, NULL)) != -1) {
        switch (c) {
        case 'a': all = true; break;
        case 'd': places = optarg; break;
        case 'h': fputs(usage, stdout); return 0;
        default: return cli_wrong(argv[0], "'%s' is no option, or lacks its value", argv[optind - 1]);
        }
    }
    if (optind < argc)
        dir = argv[optind++];
    if (optind < argc || (all && dir) || (places && !all))
        return cli_wrong(argv[0], "either one stage, or --all");
    detach(argv);
    if (all)
        return remove_all(places ? places : "/dev/shm");
    if (!dir)
        dir = getenv("DLCACHE_STAGE");
    if (!dir || !*dir)
        return cli_wrong(argv[0], "no stage is named: give D, or --all");
    const int rc = stage_remove(dir);
    if (rc)
        cli_error("unstage: %s: %s", dir, reason(rc));
    return rc ? 1 : 0;
}
