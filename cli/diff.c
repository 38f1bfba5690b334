/* dlcache diff: as diff(1), for manifests. */
#include <stdio.h>

#include "cli/cli.h"
#include "cli/options.h"
#include "manifests/diff.h"

static const char usage[] =
    "usage: dlcache diff [--new] [-n N] [--all] [--color=WHEN] [--json] A B\n"
    "Say how the manifests A and B differ: the interpreter, the search paths, the policy and the mounts; names that\n"
    "lead to another file; what moved as a whole; and the rest by cause and package. When, how often and by how many\n"
    "processes something was touched makes no difference.\n"
    "\n"
    "  --new         nothing of what is only in A: B is what production missed, and A its pilot\n"
    "  -n, --top N   at most N lines of a package (default: 10)\n"
    "  --all         all of them\n"
    "  --color=WHEN  auto (on a terminal; the default), always, never\n"
    "  --json        all of it, for programs\n"
    "  -h, --help    show this\n"
    "\n"
    "Exit status: 0 the same, 1 they differ, 2 trouble.\n";

static int compare(const struct manifest *a, const struct manifest *b, bool json, bool new,
                   const struct diff_style *style)
{
    struct diff d;

    diff_manifests(a, b, &d);
    if (new)
        diff_keep_new(&d);
    const int differ = !diff_is_same(&d);
    if (json)
        cli_json(diff_json(&d));
    else
        diff_print(&d, stdout, style);
    diff_free(&d);
    return differ;
}

int verb_diff(int argc, char **argv)
{
    bool json = false, all = false, new = false, colours = cli_colours();
    unsigned top = 10;
    const struct cli_option options[] = {{"json", 0, CLI_NOTHING, &json},
                                         {"all", 0, CLI_NOTHING, &all},
                                         {"new", 0, CLI_NOTHING, &new},
                                         {"top", 'n', CLI_NUMBER, &top},
                                         {"color", 0, CLI_WHEN, &colours},
                                         {NULL, 0, CLI_NOTHING, NULL}};
    int status;
    const int first = cli_options(argc, argv, options, usage, &status);

    if (first < 0)
        return status;
    if (first + 2 != argc)
        return cli_wrong(argv[0], "it takes two manifests");
    struct manifest *a = cli_manifest(argv[first]), *b = a ? cli_manifest(argv[first + 1]) : NULL;
    const struct diff_style style = {.colours = colours, .top = all ? SIZE_MAX : top};
    status = b ? compare(a, b, json, new, &style) : 2;
    manifest_free(a);
    manifest_free(b);
    return status;
}
