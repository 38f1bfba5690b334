/* dlcache stage: the stager is a program of its own, so that this one needs no MPI. In a batch script it is started on
 * every node of the job. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/sbcast.h"
#include "cli/start.h"
#include "facts/memory.h"
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
static int take_options(struct start_options *o, bool *sbcast, char **argv)
{
    int out = 1;

    for (int i = 1; argv[i]; i++) {
        const char *text = NULL;
        if (strcmp(argv[i], "--verbose") == 0 || strcmp(argv[i], "-v") == 0)
            o->verbose = true;
        else if (strcmp(argv[i], "--sbcast") == 0)
            *sbcast = true;
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

/* The image is the last word; what else concerns the sending is among the stager's options. */
static int by_sbcast(const struct start_options *o, char **argv)
{
    struct sbcast s = {.places = "/dev/shm", .check = true, .verbose = o->verbose};
    const char *text;

    for (; argv[s.argc]; s.argc++)
        ;
    if (s.argc < 2 || argv[s.argc - 1][0] == '-')
        return cli_wrong("stage", "--sbcast: no image is named");
    s.image = argv[--s.argc];
    for (int i = 1; i < (int)s.argc; i++) {
        s.check = s.check && strcmp(argv[i], "--no-check") != 0;
        if ((text = option(argv, &i, "--dir")) && *text)
            s.places = text;
    }
    char *self = memory_check(realpath("/proc/self/exe", NULL));
    s.self = self;
    const int status = sbcast_stage(&s, argv);
    free(self);
    return status;
}

int verb_stage(int argc, char **argv)
{
    struct start_options o = {0};
    bool sbcast = false;
    int status = take_options(&o, &sbcast, argv);

    (void)argc;
    if (status >= 0)
        return status;
    char *stager = locate("dlcache-stage");
    if (!stager) {
        cli_error("stage: dlcache-stage is not beside this program, nor in ../libexec/dlcache");
        return 1;
    }
    setenv("DLCACHE_DISABLE", "1", 1); /* it reads the files themselves, and removes stages, whoever calls it */
    argv[0] = stager;
    status = asks_for_help(argv) ? -1 : sbcast ? by_sbcast(&o, argv) : start_everywhere("stage", &o, argv);
    if (status < 0) {
        execv(stager, argv);
        cli_error("%s: %s", stager, strerror(errno));
        status = 1;
    }
    free(stager);
    return status;
}
