#include "cli/start.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "replayer/start/start.h"

int start_everywhere(const char *verb, const struct start_options *o, char *const *argv)
{
    struct start_plan plan;
    int status = -1;

    start_plan(&plan, environ, o->hosts, o->mpiexec);
    if (plan.kind == START_ASK)
        start_ask(&plan);
    if (plan.kind == START_REFUSE) {
        cli_error("%s: %s", verb, plan.why);
        status = 2;
    } else if (plan.kind == START_LAUNCH) {
        if (o->verbose) {
            char *text = start_text(&plan, argv);
            cli_error("%s: by way of %s: %s", verb, plan.manager, text);
            free(text);
        }
        start_launch(&plan, argv);
        cli_error("%s: %s: %s", verb, plan.words[0], strerror(errno));
        status = 1;
    } else if (plan.why) {
        cli_error("%s: warning: %s", verb, plan.why);
    } else if (o->verbose) {
        cli_error("%s: no job to start it in, or started as a rank: it runs here", verb);
    }
    start_free(&plan);
    return status;
}
