/* dlcache: the table of verbs. What goes to standard output is checked once, at the end. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"

static const struct verb {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *summary;
} verbs[] = {
    {"record", verb_record, "run a command, and write down what it touches"},
    {"collect", verb_collect, "write down what programs noted that were started otherwise"},
    {"show", verb_show, "summarize a manifest"},
    {"report", verb_report, "make a page of a manifest, to look at in a browser"},
    {"diff", verb_diff, "say how two manifests differ"},
    {"merge", verb_merge, "write the union of manifests"},
    {"verify", verb_verify, "say whether the file system is still what a manifest says"},
    {"pack", verb_pack, "build what is staged before the job, in one file"},
    {"stage", verb_stage, "read what a manifest names once, and lay it down in the memory of every node (MPI)"},
    {"run", verb_run, "run a command attached to a stage"},
    {"env", verb_env, "print the environment that attaches a command to a stage"},
    {"replay", verb_replay, "do again what a manifest says, and tell how long the file system takes"},
    {"stats", verb_stats, "tell what a stage has answered, and what it could not"},
    {"unstage", verb_unstage, "remove a stage"},
    {"doctor", verb_doctor, "check this machine, and what in a manifest nobody sees change"},
};

#define VERBS (sizeof verbs / sizeof *verbs)

static void usage(FILE *f)
{
    fputs("usage: dlcache VERB [OPTION]... [ARGUMENT]...\n\n", f);
    for (size_t i = 0; i < VERBS; i++)
        fprintf(f, "  %-8s %s\n", verbs[i].name, verbs[i].summary);
    fputs("\n`dlcache VERB --help` tells more of each; `dlcache --version` prints the version.\n", f);
}

static const struct verb *find(const char *name)
{
    for (size_t i = 0; i < VERBS; i++)
        if (strcmp(verbs[i].name, name) == 0)
            return &verbs[i];
    return NULL;
}

/* Levenshtein's distance of two short words. */
static unsigned distance(const char *a, const char *b)
{
    unsigned row[32];
    const size_t n = strlen(b) < 31 ? strlen(b) : 31;

    for (size_t j = 0; j <= n; j++)
        row[j] = (unsigned)j;
    for (size_t i = 1; a[i - 1] && i < 32; i++) {
        unsigned diagonal = row[0];
        row[0] = (unsigned)i;
        for (size_t j = 1; j <= n; j++) {
            const unsigned above = row[j];
            unsigned best = diagonal + (a[i - 1] != b[j - 1]);
            if (above + 1 < best)
                best = above + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            row[j] = best;
            diagonal = above;
        }
    }
    return row[n];
}

static int unknown(const char *name)
{
    const struct verb *near = NULL;
    unsigned least = 4;

    for (size_t i = 0; i < VERBS; i++) {
        const unsigned d = distance(name, verbs[i].name);
        if (d < least && d < strlen(verbs[i].name)) {
            least = d;
            near = &verbs[i];
        }
    }
    if (near)
        cli_error("there is no verb '%s'; did you mean '%s'?", name, near->name);
    else
        cli_error("there is no verb '%s'; see dlcache --help", name);
    return 2;
}

static int dispatch(int argc, char **argv)
{
    if (argc < 2) {
        usage(stderr);
        return 2;
    }
    const char *name = argv[1];
    if (strcmp(name, "--version") == 0) {
        puts("dlcache " DLCACHE_VERSION);
        return 0;
    }
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || (strcmp(name, "help") == 0 && argc == 2)) {
        usage(stdout);
        return 0;
    }
    const bool help = strcmp(name, "help") == 0;
    const struct verb *verb = find(help ? argv[2] : name);
    if (!verb)
        return unknown(help ? argv[2] : name);
    if (help) {
        char *ask[] = {argv[2], (char *)"--help", NULL};
        return verb->run(2, ask);
    }
    return verb->run(argc - 1, argv + 1);
}

int main(int argc, char **argv)
{
    const int status = dispatch(argc, argv);

    if (fflush(stdout) != 0 || ferror(stdout) || (fclose(stdout) != 0 && errno != EBADF)) {
        cli_error("standard output: %s", strerror(errno));
        return 2;
    }
    return status;
}
