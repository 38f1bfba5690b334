/* dlcache verify: is the file system still what the manifest says? */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/options.h"
#include "manifests/text.h"
#include "manifests/verify.h"

static const char usage[] =
    "usage: dlcache verify [--digest] [--jobs N] [-n N] [--all] [--color=WHEN] [--json] M\n"
    "Say how the file system differs from what the manifest M says: what is gone, what is there now, what is another\n"
    "file. Sizes, times, permissions and symlinks are compared; contents where the time is another one.\n"
    "\n"
    "  --digest      compare all contents that the manifest knows\n"
    "  --jobs N      so many files at once, 1 to 256 (default: 16)\n"
    "  -n, --top N   at most N lines of a package (default: 10)\n"
    "  --all         all of them\n"
    "  --color=WHEN  auto (on a terminal; the default), always, never\n"
    "  --json        all of it, for programs\n"
    "  -h, --help    show this\n"
    "\n"
    "Exit status: 0 nothing changed, 1 something did, 2 trouble.\n";

static void tell_json(const struct verify *v)
{
    json_t *root = diff_json(&v->d), *troubles = json_array();

    json_object_del(root, "head");
    json_object_del(root, "shadowed");
    json_object_del(root, "moved");
    for (size_t i = 0; i < v->trouble_count; i++) {
        json_t *o = json_object();
        text_set(o, "path", v->troubles[i].path);
        json_object_set_new(o, "error", json_string(strerror(v->troubles[i].error)));
        json_array_append_new(troubles, o);
    }
    json_object_set_new(root, "trouble", troubles);
    cli_json(root);
}

static void tell_troubles(const struct verify *v, size_t top)
{
    for (size_t i = 0; i < v->trouble_count && i < top; i++) {
        char *path = text_plain(v->troubles[i].path);
        cli_error("%s: %s", path, strerror(v->troubles[i].error));
        free(path);
    }
    if (v->trouble_count > top)
        cli_error("and %zu more could not be looked at (--all)", v->trouble_count - top);
}

static int verify(const struct manifest *m, const struct verify_options *options, bool json,
                  const struct diff_style *style)
{
    struct verify v;
    const int error = verify_manifest(m, options, &v);

    if (error) {
        cli_error("no thread can be started: %s", strerror(error));
        return 2;
    }
    if (json)
        tell_json(&v);
    else
        diff_print(&v.d, stdout, style);
    tell_troubles(&v, style->top);
    const int status = v.trouble_count ? 2 : !diff_is_same(&v.d);
    verify_free(&v);
    return status;
}

int verb_verify(int argc, char **argv)
{
    bool json = false, all = false, digest = false, colours = cli_colours();
    unsigned top = 10, jobs = 16;
    const struct cli_option options[] = {{"digest", 0, CLI_NOTHING, &digest},
                                         {"full", 0, CLI_NOTHING, &digest},
                                         {"jobs", 'j', CLI_NUMBER, &jobs},
                                         {"json", 0, CLI_NOTHING, &json},
                                         {"all", 0, CLI_NOTHING, &all},
                                         {"top", 'n', CLI_NUMBER, &top},
                                         {"color", 0, CLI_WHEN, &colours},
                                         {NULL, 0, CLI_NOTHING, NULL}};
    int status;
    const int first = cli_options(argc, argv, options, usage, &status);

    if (first < 0)
        return status;
    if (first + 1 != argc)
        return cli_wrong(argv[0], "it takes one manifest");
    if (jobs < 1 || jobs > 256)
        return cli_wrong(argv[0], "--jobs is 1 to 256");
    struct manifest *m = cli_manifest(argv[first]);
    if (!m)
        return 2;
    const struct verify_options o = {jobs, digest};
    const struct diff_style style = {colours, all ? SIZE_MAX : top, "the manifest", "the file system"};
    status = verify(m, &o, json, &style);
    manifest_free(m);
    return status;
}
