/* dlcache show: a manifest in a screenful. */
#include <limits.h>
#include <stdio.h>

#include "cli/cli.h"
#include "cli/options.h"
#include "manifests/show.h"

static const char usage[] =
    "usage: dlcache show [-n N] [--all] [--json] M\n"
    "Summarize the manifest M (\"-\": standard input): what was touched, by kind, package, directory and call; the\n"
    "biggest files; what was looked for in vain, and where; the search paths; what is there twice; Python sources\n"
    "that every process compiles again.\n"
    "\n"
    "  -n, --top N  at most N lines of each (default: 10)\n"
    "  --all        all of them\n"
    "  --json       all of them, for programs\n"
    "  -h, --help   show this\n"
    "\n"
    "Exit status 2 where M cannot be read.\n";

int verb_show(int argc, char **argv)
{
    bool json = false, all = false;
    unsigned top = 10;
    const struct cli_option options[] = {{"json", 0, CLI_NOTHING, &json},
                                         {"all", 0, CLI_NOTHING, &all},
                                         {"top", 'n', CLI_NUMBER, &top},
                                         {NULL, 0, CLI_NOTHING, NULL}};
    int status;
    const int first = cli_options(argc, argv, options, usage, &status);

    if (first < 0)
        return status;
    if (first + 1 != argc)
        return cli_wrong(argv[0], "it takes one manifest");
    struct manifest *m = cli_manifest(argv[first]);
    if (!m)
        return 2;
    if (json)
        cli_json(manifest_show_json(m));
    else
        manifest_show(m, stdout, all ? SIZE_MAX : top);
    manifest_free(m);
    return 0;
}
