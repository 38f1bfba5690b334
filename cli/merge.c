/* dlcache merge: the union of pilots. */
#include <stdio.h>
#include <stdlib.h>

#include "cli/cli.h"
#include "cli/options.h"
#include "manifests/merge.h"
#include "manifests/text.h"

static const char usage[] =
    "usage: dlcache merge -o M [--verbose] A B...\n"
    "Write the union of the manifests A, B, ... to M: pilots of several inputs, or a pilot and what production\n"
    "missed. Where they do not agree about a path, the one that was recorded last is believed, and that is said.\n"
    "Merging what is in it already changes nothing.\n"
    "\n"
    "  -o, --output M  the manifest to write (\"-\": standard output); it may be one of those that are read\n"
    "  -v, --verbose   name each path about which they do not agree\n"
    "  -h, --help      show this\n"
    "\n"
    "Exit status: 0, or 2 in trouble.\n";

static void tell(const struct merge *merged, bool verbose)
{
    for (size_t i = 0; verbose && i < merged->conflict_count; i++) {
        char *path = text_plain(merged->conflicts[i].path);
        fprintf(stderr, "%-8s %s\n", diff_cause_names[merged->conflicts[i].cause], path);
        free(path);
    }
    if (merged->conflict_count)
        cli_error("warning: about %zu path%s they do not agree: the later manifest is believed%s",
                  merged->conflict_count, merged->conflict_count == 1 ? "" : "s",
                  verbose ? "" : " (--verbose names them)");
    if (merged->overlaps)
        cli_error("warning: some pilots are in several of them: counts are at least what they say");
}

static int merge(const char *output, char *const *files, size_t count, bool verbose)
{
    struct manifest **all = calloc(count, sizeof *all);
    struct merge merged;
    char *error = NULL;
    size_t n = 0;

    while (all && n < count && (all[n] = cli_manifest(files[n])))
        n++;
    if (n < count) {
        while (n > 0)
            manifest_free(all[--n]);
        free(all);
        return 2;
    }
    merge_manifests(all, count, &merged);
    free(all);
    tell(&merged, verbose);
    const int rc = manifest_save(merged.m, output, &error);
    if (rc != 0)
        cli_error("%s", error);
    free(error);
    merge_free(&merged);
    return rc == 0 ? 0 : 2;
}

int verb_merge(int argc, char **argv)
{
    const char *output = NULL;
    bool verbose = false;
    const struct cli_option options[] = {{"output", 'o', CLI_TEXT, &output},
                                         {"verbose", 'v', CLI_NOTHING, &verbose},
                                         {NULL, 0, CLI_NOTHING, NULL}};
    int status;
    const int first = cli_options(argc, argv, options, usage, &status);

    if (first < 0)
        return status;
    if (!output)
        return cli_wrong(argv[0], "-o M is missing");
    if (first == argc)
        return cli_wrong(argv[0], "it takes the manifests to merge");
    return merge(output, argv + first, (size_t)(argc - first), verbose);
}
