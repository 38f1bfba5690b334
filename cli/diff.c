/* dlcache diff: as diff(1), for manifests. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#include "cli/cli.h"
#include "manifests/diff.h"

static const char usage[] =
    "usage: dlcache diff [--json] A B\n"
    "Say how the manifests A and B differ: the interpreter, the search paths and the policy; and what was found, by\n"
    "cause and package. When, how often and by how many processes something was touched makes no difference.\n"
    "\n"
    "  --json       for programs\n"
    "  -h, --help   show this\n"
    "\n"
    "Exit status: 0 the same, 1 they differ, 2 trouble.\n";

int verb_diff(int argc, char **argv)
{
    static const struct option longs[] = {
        {"json", no_argument, NULL, 'j'}, {"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0}};
    struct manifest *m[2] = {NULL, NULL};
    bool json = false;
    int c, rc = 0;

    optind = 1;
    opterr = 0;
    while ((c = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
        switch (c) {
        case 'j': json = true; break;
        case 'h': fputs(usage, stdout); return 0;
        default: return cli_wrong(argv[0], "'%s' is no option", argv[optind - 1]);
        }
    }
    if (optind + 2 != argc)
        return cli_wrong(argv[0], "it takes two manifests");
    for (int i = 0; i < 2 && rc == 0; i++) {
        char *error = NULL;
        m[i] = manifest_load(argv[optind + i], &error);
        if (!m[i]) {
            cli_error("%s", error);
            rc = 2;
        }
        free(error);
    }
    if (rc == 0) {
        struct diff d;
        diff_manifests(m[0], m[1], &d);
        if (json) {
            json_t *root = diff_json(&d);
            json_dumpf(root, stdout, JSON_INDENT(1) | JSON_PRESERVE_ORDER);
            putchar('\n');
            json_decref(root);
        } else {
            diff_print(&d, stdout, cli_colours());
        }
        rc = d.head_count || d.line_count;
        diff_free(&d);
    }
    manifest_free(m[0]);
    manifest_free(m[1]);
    return rc;
}
