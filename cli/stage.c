/* dlcache stage: the stager is a program of its own, so that this one needs no MPI. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "replayer/attach/locate.h"

int verb_stage(int argc, char **argv)
{
    (void)argc;
    char *stager = locate("dlcache-stage");

    if (!stager) {
        cli_error("stage: dlcache-stage is not beside this program, nor in ../libexec/dlcache: was it built without "
                  "MPI?");
        return 1;
    }
    setenv("DLCACHE_DISABLE", "1", 1); /* it reads the files themselves, and removes stages, whoever calls it */
    argv[0] = stager;
    execv(stager, argv);
    cli_error("%s: %s", stager, strerror(errno));
    free(stager);
    return 1;
}
