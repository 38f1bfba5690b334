/* dlcache record: run a command, and write down what it touches. */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli.h"
#include "manifests/manifest.h"
#include "manifests/text.h"
#include "recorder/collect.h"
#include "recorder/run.h"
#include "replayer/attach/locate.h"

static const char usage[] =
    "usage: dlcache record [-o M] [--include P]... [--exclude P]... [--all] [--spool DIR] -- CMD...\n"
    "Run CMD and all its children, note every path that they look up, open or load, and write the manifest M.\n"
    "\n"
    "  -o, --output M   the manifest (default dlcache.json; \"-\": standard output)\n"
    "  --include P      keep what lies below P, on whatever file system\n"
    "  --exclude P      leave out what lies below P\n"
    "  --all            keep all but /proc, /sys, /dev, /run and the temporary directories\n"
    "  --spool DIR      note below DIR while CMD runs (default: $TMPDIR, or /tmp)\n"
    "  -h, --help       show this\n"
    "\n"
    "Kept by default: what CMD only reads, below its own software prefixes, on shared file systems.\n"
    "The exit status is CMD's; 2 for wrong usage, or where there is no manifest to be had.\n";

struct options {
    const char *output, *spool;
    struct policy policy;
};

static int wrong(const char *what, const char *why)
{
    fprintf(stderr, "dlcache: record: %s%s%s\n", what, why ? ": " : "", why ? why : "");
    return 2;
}

static int ask(struct policy_list *list, const char *option, const char *path, bool must_exist)
{
    int rc = *path ? policy_ask(list, path, must_exist) : -ENOENT;

    if (rc)
        fprintf(stderr, "dlcache: record: %s %s: %s\n", option, path, strerror(-rc));
    return rc ? 2 : 0;
}

/* 0 to go on, 1 when help was given, 2 for wrong usage. optind is at the command then. */
static int parse(struct options *o, int argc, char **argv)
{
    enum { INCLUDE = 256, EXCLUDE, ALL, SPOOL };
    static const struct option longs[] = {
        {"output", required_argument, NULL, 'o'}, {"include", required_argument, NULL, INCLUDE},
        {"exclude", required_argument, NULL, EXCLUDE}, {"all", no_argument, NULL, ALL},
        {"spool", required_argument, NULL, SPOOL}, {"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0},
    };
    int c, rc = 0;

    optind = 1;
    opterr = 0;
    while (rc == 0 && (c = getopt_long(argc, argv, "+:o:h", longs, NULL)) != -1) {
        switch (c) {
        case 'o': o->output = optarg; break;
        case INCLUDE: rc = ask(&o->policy.include, "--include", optarg, true); break;
        case EXCLUDE: rc = ask(&o->policy.exclude, "--exclude", optarg, false); break;
        case ALL: o->policy.all = true; break;
        case SPOOL: o->spool = optarg; break;
        case 'h': fputs(usage, stdout); return 1;
        case ':': return wrong("a value is missing for the option", argv[optind - 1]);
        default: return wrong("unknown option (see dlcache record --help)", argv[optind - 1]);
        }
    }
    if (rc == 0 && optind == argc)
        return wrong("there is no command to run (see dlcache record --help)", NULL);
    return rc;
}

/* The library files, and whether the loader's variables can name them. */
static int find_libraries(char **preload, char **audit)
{
    const char *wish = getenv("DLCACHE_AUDIT");
    const bool want_audit = !wish || strcmp(wish, "off") != 0;

    *preload = locate("libdlcache.so");
    *audit = want_audit ? locate("libdlcache-audit.so") : NULL;
    if (!*preload)
        return wrong("libdlcache.so is not beside this program, nor in ../lib/dlcache", NULL);
    if (want_audit && !*audit)
        return wrong("libdlcache-audit.so is not beside this program, nor in ../lib/dlcache", NULL);
    if (strpbrk(*preload, ": "))
        return wrong("LD_PRELOAD cannot name a file with a space or a colon in its path", *preload);
    return 0;
}

/* ------------------------------------------------------------------------------------------------ what it came to */

static void put_size(FILE *f, uint64_t bytes)
{
    static const char units[] = "kMGTPE";
    double n = (double)bytes;
    int unit = -1;

    for (; n >= 999.5 && unit < 5; unit++)
        n /= 1000;
    if (unit < 0)
        fprintf(f, "%" PRIu64 " bytes", bytes);
    else
        fprintf(f, "%.*f %cB", n < 9.995 ? 1 : 0, n, units[unit]);
}

static void put_left(const char **between, uint64_t count, const char *what)
{
    if (count)
        fprintf(stderr, "%s%" PRIu64 " %s", *between, count, what);
    if (count)
        *between = ", ";
}

static void summary(const char *output, const struct notes *notes, const struct collect_report *r)
{
    const char *between = "dlcache: left out: ";
    const uint64_t kept = r->files + r->links + r->directories + r->absent;

    fprintf(stderr, "dlcache: %s: %" PRIu64 " files (", output, r->files);
    put_size(stderr, r->bytes);
    fprintf(stderr, " to stage), %" PRIu64 " absent names, %" PRIu64 " directories, %" PRIu64 " symlinks; from %"
            PRIu32 " process%s\n", r->absent, r->directories, r->links, notes->process_count,
            notes->process_count == 1 ? "" : "es");

    put_left(&between, r->left[POLICY_LOCAL], "on node-local file systems");
    put_left(&between, r->left[POLICY_OUTSIDE], "outside the software prefixes");
    put_left(&between, r->left[POLICY_EXCLUDED], "excluded");
    put_left(&between, r->left[POLICY_NEVER], "never cached (/proc, /sys, /dev, /run, temporary)");
    put_left(&between, r->written, "written to");
    put_left(&between, r->gone, "gone since");
    put_left(&between, r->special, "devices and sockets");
    if (*between == ',')
        fputc('\n', stderr);
    if (r->unreadable)
        fprintf(stderr, "dlcache: %" PRIu64 " files could not be read (%s)\n", r->unreadable,
                r->unreadable_example ? r->unreadable_example : "");
    if (notes->lost || notes->dead_files)
        fprintf(stderr, "dlcache: %" PRIu64 " notes were lost: there was no room for them in the spool (see "
                "--spool)\n", notes->lost);
    if (notes->damaged_files)
        fprintf(stderr, "dlcache: %" PRIu32 " spool files were damaged; what could be read of them is kept\n",
                notes->damaged_files);
    if (notes->file_count == 0)
        fprintf(stderr, "dlcache: no process noted anything: is the command statically linked, or is "
                "DLCACHE_DISABLE set?\n");
    else if (kept == 0 && r->left[POLICY_LOCAL])
        fprintf(stderr, "dlcache: nothing was kept: the program's files are on file systems of this node alone, "
                "which need no cache.\ndlcache: to keep some all the same, name them: dlcache record --include /usr "
                "...\n");
}

/* The last lines: where the pilot wrote in directories that would else be frozen. What writes there costs the file
 * system requests in every rank, and writers that the shim cannot see go on unseen: somebody should look. */
static void name_volatiles(const char *output, const struct manifest *m, const struct collect_report *r)
{
    enum { NAMED = 5 };
    uint64_t named = 0;

    if (r->volatiles == 0)
        return;
    fprintf(stderr, "dlcache: %" PRIu64 " director%s written in: new names in %s are asked of the file system:\n",
            r->volatiles, r->volatiles == 1 ? "y was" : "ies were", r->volatiles == 1 ? "it" : "them");
    for (size_t i = 0; i < m->entry_count && named < NAMED; i++) {
        if (!m->entries[i].is_volatile)
            continue;
        char *path = text_plain(m->entries[i].path);
        fprintf(stderr, "dlcache:   %s\n", path);
        free(path);
        named++;
    }
    if (r->volatiles > named)
        fprintf(stderr, "dlcache:   and %" PRIu64 " more (\"volatile\" in %s)\n", r->volatiles - named,
                strcmp(output, "-") == 0 ? "the manifest" : output);
    fputs("dlcache: caches that programs keep there can be moved elsewhere: see doc/writers.md\n", stderr);
}

static int write_manifest(const struct options *o, const struct collect_request *request)
{
    struct collect_report report;
    char *error = NULL;
    struct manifest *m = collect(request, &report);
    int rc = manifest_save(m, o->output, &error);

    if (rc == 0) {
        summary(o->output, request->notes, &report);
        name_volatiles(o->output, m, &report);
    } else {
        fprintf(stderr, "dlcache: %s\n", error);
    }
    free(error);
    manifest_free(m);
    collect_report_free(&report);
    return rc == 0 ? 0 : 2;
}

static uint64_t now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* Runs the command with its spool in `dir`, which is gone when this returns. */
static int record(struct options *o, char **command, const char *dir, const char *preload, const char *audit)
{
    const struct run_options run = {command, dir, preload, audit};
    char *cwd = getcwd(NULL, 0);
    char *program = run_find_program(command[0]);
    const uint64_t started = now_ns();
    char *error = NULL;
    int status = 0, refused = 0;

    int rc = run_command(&run, &status, &refused);
    struct notes *notes = rc == 0 && !refused ? notes_read(dir, &error) : NULL;
    int removed = run_remove_spool(dir);
    run_restore_signals();
    if (removed && removed != -ENOENT)
        fprintf(stderr, "dlcache: %s: not removed: %s\n", dir, strerror(-removed));
    if (rc) {
        rc = wrong(command[0], strerror(-rc));
    } else if (refused) {
        /* An earlier manifest is worth more than an empty one. */
        wrong(command[0], refused == ENOENT ? "command not found" : strerror(refused));
        rc = status;
    } else if (!notes) {
        fprintf(stderr, "dlcache: the notes of the command cannot be read: %s\n", error);
        rc = status ? status : 2;
    } else {
        const struct collect_request request = {
            .notes = notes,
            .policy = &o->policy,
            .command = command,
            .program = program,
            .started_ns = started,
            .exit_status = status,
            .environment = environ,
            .cwd = cwd ? cwd : "/",
        };
        rc = write_manifest(o, &request);
        if (status)
            rc = status;
    }
    notes_free(notes);
    free(error);
    free(program);
    free(cwd);
    return rc;
}

int verb_record(int argc, char **argv)
{
    struct options o = {.output = "dlcache.json"};
    char *preload = NULL, *audit = NULL, *dir = NULL, *error = NULL;
    int rc = parse(&o, argc, argv);

    if (rc == 0)
        rc = find_libraries(&preload, &audit);
    /* A pilot may take hours: better to know now. */
    if (rc == 0 && manifest_may_save(o.output, &error) != 0)
        rc = wrong("cannot write the manifest, and the command was not run", error);
    if (rc == 0) {
        const char *tmp = getenv("TMPDIR");
        dir = run_make_spool(o.spool ? o.spool : tmp && *tmp ? tmp : "/tmp", &error);
        if (dir)
            rc = record(&o, argv + optind, dir, preload, audit);
        else
            rc = wrong("cannot note there, and the command was not run (see --spool)", error);
    } else if (rc == 1) {
        rc = 0;
    }
    policy_free(&o.policy);
    free(preload);
    free(audit);
    free(error);
    free(dir);
    return rc;
}
