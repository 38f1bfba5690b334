/* dlcache show: a manifest in a screenful. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#include "cli/cli.h"
#include "manifests/show.h"

static const char usage[] =
    "usage: dlcache show [--json] M\n"
    "Summarize the manifest M (\"-\": standard input): what was touched, by kind, package and call; the biggest\n"
    "files; what was looked for in vain; the search paths.\n"
    "\n"
    "  --json       for programs\n"
    "  -h, --help   show this\n"
    "\n"
    "Exit status 2 where M cannot be read.\n";

int verb_show(int argc, char **argv)
{
    static const struct option longs[] = {
        {"json", no_argument, NULL, 'j'}, {"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0}};
    bool json = false;
    char *error = NULL;
    int c;

    optind = 1;
    opterr = 0;
    while ((c = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
        switch (c) {
        case 'j': json = true; break;
        case 'h': fputs(usage, stdout); return 0;
        default: return cli_wrong(argv[0], "'%s' is no option", argv[optind - 1]);
        }
    }
    if (optind + 1 != argc)
        return cli_wrong(argv[0], "it takes one manifest");
    struct manifest *m = manifest_load(argv[optind], &error);
    if (!m) {
        cli_error("%s", error);
        free(error);
        return 2;
    }
    if (json) {
        json_t *root = manifest_show_json(m);
        json_dumpf(root, stdout, JSON_INDENT(1) | JSON_PRESERVE_ORDER);
        putchar('\n');
        json_decref(root);
    } else {
        manifest_show(m, stdout);
    }
    manifest_free(m);
    return 0;
}
