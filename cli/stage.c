/* dlcache stage: the stager is a program of its own, so that this one needs no MPI. In a batch script it is started on
 * every node of the job. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/start.h"
#include "replayer/attach/locate.h"

/* The value of the option `name` ("--hosts") at argv[*i], or NULL; *i moves to what was used last. */
static const char *option(char **argv, int *i, const char *name)
{
    const size_t n = strlen(name);

    if (strcmp(argv[*i], name) == 0)
        return argv[*i + 1] ? argv[++*i] : "";
    return strncmp(argv[*i], name, n) == 0 && argv[*i][n] == '=' ? argv[*i] + n + 1 : NULL;
}

/* Takes the options that are about the start out of argv; the stager knows the others. */
static int take_options(struct start_options *o, char **argv)
{
    int out = 1;

    for (int i = 1; argv[i]; i++) {
        const char *text = NULL;
        if (strcmp(argv[i], "--verbose") == 0 || strcmp(argv[i], "-v") == 0)
            o->verbose = true;
        else if ((text = option(argv, &i, "--hosts")))
            o->hosts = text;
        else if ((text = option(argv, &i, "--mpiexec")))
            o->mpiexec = text;
        else
            argv[out++] = argv[i];
        if (text && !*text)
            return cli_wrong(argv[0], "'%s' lacks its value", argv[i]);
    }
    argv[out] = NULL;
    return -1;
}

static bool asks_for_help(char **argv)
{
    for (int i = 1; argv[i]; i++)
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            return true;
    return false;
}

int verb_stage(int argc, char **argv)
{
    struct start_options o = {0};
    int status = take_options(&o, argv);

    (void)argc;
    if (status >= 0)
        return status;
    char *stager = locate("dlcache-stage");
    if (!stager) {
        cli_error("stage: dlcache-stage is not beside this program, nor in ../libexec/dlcache: was it built without "
                  "MPI?");
        return 1;
    }
    setenv("DLCACHE_DISABLE", "1", 1); /* it reads the files themselves, and removes stages, whoever calls it */
    argv[0] = stager;
    status = asks_for_help(argv) ? -1 : start_everywhere("stage", &o, argv);
    if (status < 0) {
        execv(stager, argv);
        cli_error("%s: %s", stager, strerror(errno));
        status = 1;
    }
    free(stager);
    return status;
}
