/* dlcache pack: an image in a file, made before the job. */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "facts/memory.h"
#include "facts/progress.h"
#include "manifests/manifest.h"
#include "replayer/image/build.h"
#include "replayer/image/bundle.h"
#include "replayer/image/file.h"
#include "replayer/image/trees.h"

static const char usage[] =
    "usage: dlcache pack -o I [--strict] M\n"
    "       dlcache pack -o I [--strict] --tree P...\n"
    "       dlcache pack -o I [--strict] --bundle TAR --at PREFIX [--strip N]\n"
    "Build the image I: what `dlcache stage I` then reads as one file, in the stead of the many that the manifest M\n"
    "names. With --tree whole directories, without a pilot. What changes afterwards is found when it is staged.\n"
    "\n"
    "  -o, --output I  the image\n"
    "  --tree          the arguments are directories: everything below them\n"
    "  --bundle TAR    an archive, plain or compressed, as if it were unpacked at the directory PREFIX (--at PREFIX);\n"
    "  --strip N       the first N directories are taken off its names\n"
    "  --strict        an entry of M that is gone or cannot be read is an error, not a warning\n"
    "  -h, --help      show this\n"
    "\n"
    "Exit status 0, 1 for a failure, 2 for wrong usage or a manifest that cannot be read.\n";

struct options {
    const char *output;
    bool tree, strict;
    struct bundle_place bundle;
};

/* -1 to go on, or the exit status. */
static int parse(struct options *o, int argc, char **argv)
{
    static const struct option longs[] = {{"output", required_argument, NULL, 'o'}, {"tree", no_argument, NULL, 't'},
                                          {"strict", no_argument, NULL, 's'},       {"help", no_argument, NULL, 'h'},
                                          {"bundle", required_argument, NULL, 'b'}, {"at", required_argument, NULL, 'a'},
                                          {"strip", required_argument, NULL, 'p'},
                                          {NULL, 0, NULL, 0}};
    int c;

    *o = (struct options){0};
    optind = 1;
    opterr = 0;
    while ((c = getopt_long(argc, argv, "o:h", longs, NULL)) != -1) {
        switch (c) {
        case 'o': o->output = optarg; break;
        case 't': o->tree = true; break;
        case 's': o->strict = o->bundle.strict = true; break;
        case 'b': o->bundle.archive = optarg; break;
        case 'a': o->bundle.at = optarg; break;
        case 'p':
            if (!bundle_strip(optarg, &o->bundle.strip))
                return cli_wrong(argv[0], "--strip %s: that is no number of directories", optarg);
            break;
        case 'h': fputs(usage, stdout); return 0;
        default: return cli_wrong(argv[0], "'%s' is no option, or lacks its value", argv[optind - 1]);
        }
    }
    if (!o->output || !*o->output)
        return cli_wrong(argv[0], "no image is named: -o I");
    if (!o->bundle.archive != !o->bundle.at || (o->bundle.strip && !o->bundle.at))
        return cli_wrong(argv[0], "--bundle and --at belong together, and --strip to them");
    if (o->bundle.at)
        return optind == argc ? -1 : cli_wrong(argv[0], "'%s' is one argument too many", argv[optind]);
    if (optind == argc)
        return cli_wrong(argv[0], o->tree ? "no directory is named" : "no manifest is named");
    if (!o->tree && optind + 1 < argc)
        return cli_wrong(argv[0], "'%s' is one argument too many (--tree takes several)", argv[optind + 1]);
    return -1;
}

/* What is to be packed: 0, or the exit status. */
static int build(const struct options *o, char **arguments, size_t count, struct built *built, char **error)
{
    if (o->bundle.at)
        return bundle_build(&o->bundle, built, error) ? 2 : 0;
    struct manifest *m = o->tree ? manifest_of_trees(arguments, count, error) : manifest_load(arguments[0], error);
    const int status = !m ? 2 : build_image(m, o->strict, built, error) ? 1 : 0;
    manifest_free(m);
    return status;
}

int verb_pack(int argc, char **argv)
{
    struct options o;
    struct built built = {0};
    char *error = NULL, size[16];
    int status = parse(&o, argc, argv);

    if (status >= 0)
        return status;
    status = build(&o, argv + optind, (size_t)(argc - optind), &built, &error);
    if (status == 0)
        status = image_file_write(&built, o.output, progress_bytes, &error) ? 1 : 0;
    progress_end();
    if (status) {
        cli_error("pack: %s", error);
    } else {
        cli_error("packed %" PRIu64 " files, %s, %" PRIu64 " names in %" PRIu64 " frozen directories: %s",
                  built.report.files, cli_size(built.report.bytes, size), built.report.names, built.report.frozen,
                  o.output);
    }
    built_free(&built);
    free(error);
    return status;
}
