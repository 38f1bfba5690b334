/* dlcache env: the variables of an attached program, for a shell or for srun. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/attach.h"
#include "cli/cli.h"
#include "facts/memory.h"
#include "libdlcache/environment.h"

static const char usage[] =
    "usage: dlcache env [--stage D] [--export]\n"
    "Print what attaches programs to the stage D: lines for a shell to evaluate,\n"
    "    eval \"$(dlcache env --stage D)\"\n"
    "or, with --export, one line for srun:\n"
    "    srun --export=ALL,$(dlcache env --stage D --export) CMD...\n"
    "\n"
    "  --stage D    the directory that dlcache stage printed (default: $DLCACHE_STAGE)\n"
    "  --export     NAME=VALUE,NAME=VALUE...\n"
    "  -h, --help   show this\n"
    "\n"
    "LD_PRELOAD, LD_AUDIT and GLIBC_TUNABLES keep what they hold: ours comes first.\n";

static void print_quoted(const char *var)
{
    const char *value = strchr(var, '=') + 1;

    printf("export %.*s'", (int)(value - var), var);
    for (; *value; value++)
        if (*value == '\'')
            fputs("'\\''", stdout);
        else
            putchar(*value);
    fputs("'\n", stdout);
}

static int print_list(const struct environment *env)
{
    for (unsigned i = 0; i < env->count; i++) {
        if (strpbrk(env->vars[i], ",\n")) {
            cli_error("env: srun --export cannot carry a comma or a newline: %s", env->vars[i]);
            return 1;
        }
    }
    for (unsigned i = 0; i < env->count; i++)
        printf("%s%s", i ? "," : "", env->vars[i]);
    putchar('\n');
    return 0;
}

int verb_env(int argc, char **argv)
{
    struct attach_options o;
    int rc = attach_parse(&o, argc, argv, usage, "+h");

    if (rc >= 0)
        return rc;
    if (optind < argc)
        return cli_wrong(argv[0], "'%s' is one argument too many", argv[optind]);
    if (!o.stage || !*o.stage)
        return cli_wrong(argv[0], "no stage is named: give --stage D, or set DLCACHE_STAGE");
    struct stage *stage = attach_open(argv[0], o.stage);
    if (!stage)
        return 1;
    struct environment *env = memory_new(1, sizeof *env);
    rc = environment_attach(env, stage, environ);
    stage_close(stage);
    free(stage);
    if (rc) {
        cli_error("env: LD_PRELOAD, LD_AUDIT and GLIBC_TUNABLES are too long together");
        rc = 1;
    } else if (o.export_list) {
        rc = print_list(env);
    } else {
        for (unsigned i = 0; i < env->count; i++)
            print_quoted(env->vars[i]);
    }
    free(env);
    return rc;
}
