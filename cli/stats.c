/* dlcache stats: what a stage has answered on this node. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/attach.h"
#include "cli/cli.h"
#include "cli/options.h"
#include "libdlcache/attach.h"
#include "manifests/text.h"

static const char usage[] =
    "usage: dlcache stats [--json] [D]\n"
    "Tell what the stage D has answered on this node to programs that were started with DLCACHE_STATS=1, and what it could\n"
    "not. Under srun, flux run or mpiexec each rank tells a line, of its node: srun --ntasks-per-node=1 dlcache stats D.\n"
    "\n"
    "  D            the directory that dlcache stage printed (default: $DLCACHE_STAGE)\n"
    "  --json       for programs, all on one line\n"
    "  -h, --help   show this\n"
    "\n"
    "Counted is each call of a program once; what it does through a descriptor, or changes, is not. Exit status 1 where the\n"
    "stage cannot be used.\n";

static const struct {
    const char *name, *text;
} counts[DLC_C_USED] = {
    [DLC_C_PROGRAMS] = {"programs", "programs that counted"},
    [DLC_C_FOUND] = {"found", "lookups answered with what is there"},
    [DLC_C_ABSENT] = {"absent", "calls answered with what is provably not there"},
    [DLC_C_OPENED] = {"opened", "files opened in the stage"},
    [DLC_C_LISTED] = {"listed", "directories opened in the stage"},
    [DLC_C_NOT_HELD] = {"not_held", "left to the kernel: known, but not all that was asked for"},
    [DLC_C_CHANGED] = {"changed", "left to the kernel: changed since it was staged"},
    [DLC_C_UNKNOWN] = {"unknown", "left to the kernel: not staged"},
    [DLC_C_OBJECTS] = {"objects", "shared objects loaded from the stage"},
    [DLC_C_ORIGINALS] = {"originals", "shared objects loaded from elsewhere"},
};

static void sum(const struct stage *s, uint64_t n[DLC_C_USED])
{
    for (unsigned c = 0; c < DLC_C_USED; c++) {
        n[c] = 0;
        for (unsigned slot = 0; slot < DLC_COUNT_SLOTS; slot++)
            n[c] += __atomic_load_n(&s->counts[slot].n[c], __ATOMIC_RELAXED);
    }
}

static void tell(const char *host, bool is_rank, const uint64_t n[DLC_C_USED])
{
    if (is_rank)
        printf("%s:", host);
    for (unsigned c = 0; c < DLC_C_USED; c++) {
        if (is_rank)
            printf(" %s %" PRIu64, counts[c].name, n[c]);
        else
            printf("%12" PRIu64 "  %s\n", n[c], counts[c].text);
    }
    if (is_rank)
        putchar('\n');
}

static void tell_json(const char *host, const char *stage, const uint64_t n[DLC_C_USED])
{
    json_t *root = json_object();

    text_set(root, "host", host);
    text_set(root, "stage", stage);
    for (unsigned c = 0; c < DLC_C_USED; c++)
        json_object_set_new(root, counts[c].name, json_integer((json_int_t)n[c]));
    cli_json_line(root);
}

int verb_stats(int argc, char **argv)
{
    bool json = false;
    const struct cli_option options[] = {{"json", 0, CLI_NOTHING, &json}, {NULL, 0, CLI_NOTHING, NULL}};
    char host[256] = "";
    uint64_t n[DLC_C_USED];
    int status;
    const int first = cli_options(argc, argv, options, usage, &status);

    if (first < 0)
        return status;
    if (first + 1 < argc)
        return cli_wrong(argv[0], "it takes one stage at most");
    const char *dir = first < argc ? argv[first] : getenv("DLCACHE_STAGE");
    struct stage *stage = attach_open(argv[0], dir);
    if (!stage)
        return 1;
    gethostname(host, sizeof host - 1);
    sum(stage, n);
    if (json)
        tell_json(host, stage->dir, n);
    else
        tell(host, settings_rank(environ) >= 0, n);
    if (!json && n[DLC_C_PROGRAMS] == 0)
        cli_error("stats: no program has counted: start them with DLCACHE_STATS=1");
    stage_close(stage);
    free(stage);
    return 0;
}
