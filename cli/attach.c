#include "cli/attach.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#include "cli/cli.h"
#include "facts/memory.h"
#include "libdlcache/attach.h"

int attach_parse(struct attach_options *o, int argc, char **argv, const char *usage, const char *shorts)
{
    static const struct option longs[] = {{"stage", required_argument, NULL, 's'},
                                          {"export", no_argument, NULL, 'e'},
                                          {"help", no_argument, NULL, 'h'},
                                          {NULL, 0, NULL, 0}};
    int c;

    *o = (struct attach_options){.stage = getenv("DLCACHE_STAGE")};
    optind = 1;
    opterr = 0;
    while ((c = getopt_long(argc, argv, shorts, longs, NULL)) != -1) {
        switch (c) {
        case 's': o->stage = optarg; break;
        case 'e': o->export_list = true; break;
        case 'h': fputs(usage, stdout); return 0;
        default: return cli_wrong(argv[0], "'%s' is no option, or lacks its value", argv[optind - 1]);
        }
    }
    return -1;
}

struct stage *attach_open(const char *verb, const char *dir)
{
    if (!dir || !*dir) {
        cli_error("%s: no stage is named: give --stage D, or set DLCACHE_STAGE", verb);
        return NULL;
    }
    struct stage *s = memory_new(1, sizeof *s);
    const int rc = stage_open(s, dir);
    if (rc == 0)
        return s;
    cli_error("%s: the stage %s cannot be used: %s", verb, dir, stage_error(rc));
    free(s);
    return NULL;
}

int attach_check(const char *verb, const char *dir)
{
    const struct settings settings = {.stage = dir, .part = 1};
    struct stage *stage = attach_open(verb, dir);

    if (!stage)
        return 1;
    stage_close(stage);
    const int rc = attach(stage, &settings);
    if (rc == 0)
        stage_close(stage);
    else
        cli_error("%s: the stage %s cannot be used: %s", verb, dir,
                  rc == -EXDEV ? "this process sees another root or other mounts than its node" : stage_error(rc));
    free(stage);
    return rc ? 1 : 0;
}
