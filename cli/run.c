/* dlcache run: D/run, after a look at D. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/attach.h"
#include "cli/cli.h"
#include "facts/memory.h"

static const char usage[] =
    "usage: dlcache run [--stage D] -- CMD...\n"
    "Run CMD attached to the stage D, as D/run CMD... does; but say what is wrong with a stage that cannot be used.\n"
    "\n"
    "  --stage D    the directory that dlcache stage printed (default: $DLCACHE_STAGE)\n"
    "  -h, --help   show this\n"
    "\n"
    "The exit status is CMD's; 1 where the stage cannot be used, 2 for wrong usage, 126 and 127 as a shell's.\n";

int verb_run(int argc, char **argv)
{
    struct attach_options o;
    const int rc = attach_parse(&o, argc, argv, usage, "+h");

    if (rc >= 0)
        return rc;
    if (o.export_list)
        return cli_wrong(argv[0], "--export is an option of env");
    if (optind == argc)
        return cli_wrong(argv[0], "there is no command to run");
    if (!o.stage || !*o.stage)
        return cli_wrong(argv[0], "no stage is named: give --stage D, or set DLCACHE_STAGE");
    if (attach_check(argv[0], o.stage) != 0)
        return 1;
    char *launcher = memory_join(o.stage, STAGE_RUN, sizeof STAGE_RUN - 1);
    char **command = argv + optind - 1; /* the word before CMD becomes the launcher's name */
    command[0] = launcher;
    execv(launcher, command);
    cli_error("%s: %s", launcher, strerror(errno));
    free(launcher);
    return 1;
}
