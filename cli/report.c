/* dlcache report: a manifest as a page to look at. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/cli.h"
#include "facts/memory.h"
#include "facts/output.h"
#include "manifests/report/report.h"

static const char usage[] =
    "usage: dlcache report [-o PAGE] M\n"
    "Make a page of the manifest M (\"-\": standard input) for a browser: bytes and calls by package, the start-up in\n"
    "time, searches that failed, the longest waits. It is one file, and asks for nothing from the network.\n"
    "\n"
    "  -o, --output PAGE  where to (\"-\": standard output; without it, app.html for app.json)\n"
    "  -h, --help         show this\n"
    "\n"
    "Exit status 1 where PAGE cannot be written, 2 where M cannot be read.\n";

/* M with another suffix; heap. */
static char *page_of(const char *manifest)
{
    const size_t n = strlen(manifest);
    const size_t stem = n > 5 && strcmp(manifest + n - 5, ".json") == 0 ? n - 5 : n;
    char *page = memory_new(n + 6, 1);

    memcpy(page, manifest, stem);
    strcpy(page + stem, ".html");
    return page;
}

static bool same_file(const char *a, const char *b)
{
    struct stat x, y;

    return stat(a, &x) == 0 && stat(b, &y) == 0 && S_ISREG(x.st_mode) && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

static int make_page(const char *manifest, const char *page)
{
    char *error = NULL;
    int status = 0;

    if (output_may_write(page, &error) != 0) {
        status = 1;
    } else {
        struct manifest *m = manifest_load(manifest, &error);
        if (!m)
            status = 2;
        else if (report_write(m, page, &error) != 0)
            status = 1;
        manifest_free(m);
    }
    if (status)
        cli_error("%s", error);
    free(error);
    return status;
}

int verb_report(int argc, char **argv)
{
    static const struct option longs[] = {
        {"output", required_argument, NULL, 'o'}, {"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0}};
    const char *output = NULL;
    int c;

    optind = 1;
    opterr = 0;
    while ((c = getopt_long(argc, argv, ":o:h", longs, NULL)) != -1) {
        switch (c) {
        case 'o': output = optarg; break;
        case 'h': fputs(usage, stdout); return 0;
        case ':': return cli_wrong(argv[0], "'%s' needs a value", argv[optind - 1]);
        default: return cli_wrong(argv[0], "'%s' is no option", argv[optind - 1]);
        }
    }
    if (optind + 1 != argc)
        return cli_wrong(argv[0], "it takes one manifest");
    const char *manifest = argv[optind];
    if (!output && strcmp(manifest, "-") == 0)
        return cli_wrong(argv[0], "what comes from standard input needs -o");
    char *page = output ? memory_text(output) : page_of(manifest);
    const int status = same_file(manifest, page) ? cli_wrong(argv[0], "'%s' is the manifest itself", page)
                                                 : make_page(manifest, page);
    free(page);
    return status;
}
