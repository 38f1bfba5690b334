/* dlcache replay: a manifest's operations again, and how long they take. */
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/attach.h"
#include "cli/cli.h"
#include "cli/options.h"
#include "facts/memory.h"
#include "libdlcache/attach.h"
#include "replayer/replay/act.h"
#include "replayer/replay/replay.h"

#define MOST_PROCESSES 4096
#define MOST_ROUNDS 1000000

static const char usage[] =
    "usage: dlcache replay [-n PROCS] [-r ROUNDS] [--native|--stage D] [--only KIND,...] [--json] M\n"
    "Do again what the manifest M says a start of the program does to the file system, as fast as this goes: what a file\n"
    "system will do to this program at this scale, without the program's own processor time.\n"
    "\n"
    "  -n, --processes N  so many at once, each of them all of it (default: 1)\n"
    "  -r, --rounds N     so often, one after the other (default: 1); later ones find what this node has cached\n"
    "  --stage D          attached to the stage D\n"
    "  --native           not attached, whatever the environment says (default: as this command itself is started)\n"
    "  --only KIND,...    of these alone: stat, open, list, readlink, load, absent\n"
    "  --json             for programs, all on one line\n"
    "  -h, --help         show this\n"
    "\n"
    "In the order of first touch, as often as one rank did it (an entry 1000 times at most): stat; open, fstat, read and\n"
    "close (Python's files whole, of others 64 kB at most); opendir and readdir; readlink; load (what the dynamic loader\n"
    "does: open, read, fstat, mmap); and of what is absent a stat, or an open. What the program wrote is left out.\n"
    "\n"
    "Under srun or mpiexec each rank replays and prints a line of its own (`srun -n 64 dlcache replay M`); with --json, the\n"
    "time to the last one's end, in seconds: ... | jq -s '(map(.ended)|max) - (map(.began)|min)'\n"
    "\n"
    "Exit status: 0; 1 where something was not as M says, or could not be measured; 2 wrong usage.\n";

/* What --child says: "FD:PROCESS", from the command that started this process. */
static int child(const char *which)
{
    struct plan *p;
    unsigned process;
    int fd;

    if (sscanf(which, "%d:%u", &fd, &process) != 2 || !(p = plan_map(fd)) || process >= p->processes)
        return 2;
    close(fd);
    replay_process(p, process);
    return 0;
}

/* Bits of the kinds named; 0: one of them is none. */
static unsigned parse_kinds(const char *text)
{
    unsigned kinds = 0;

    for (const char *end; *text; text = *end ? end + 1 : end) {
        unsigned k = 0;
        end = strchrnul(text, ',');
        while (k < REPLAY_KINDS && (strlen(replay_kind_names[k]) != (size_t)(end - text) ||
                                    strncmp(replay_kind_names[k], text, (size_t)(end - text)) != 0))
            k++;
        if (k == REPLAY_KINDS)
            return 0;
        kinds |= 1u << k;
    }
    return kinds;
}

/* Once more, not attached. */
static void detach(char **argv)
{
    const char *off = getenv("DLCACHE_DISABLE");

    if (!getenv("DLCACHE_STAGE") || (off && *off && strcmp(off, "0") != 0))
        return;
    setenv("DLCACHE_DISABLE", "1", 1);
    execv("/proc/self/exe", argv - 1); /* where that fails, it is said */
    cli_error("replay: /proc/self/exe: %s", strerror(errno));
    exit(1);
}

static int replay(struct plan *p, int fd, struct replayed *r, bool json)
{
    char *launcher = r->stage ? memory_join(r->stage, STAGE_RUN, sizeof STAGE_RUN - 1) : NULL;
    char *self = realpath("/proc/self/exe", NULL), *error = NULL;
    char *argv[] = {launcher, self, (char *)"replay", (char *)"--child", (char *)"", NULL};
    const int rc = replay_run(p, fd, launcher ? argv : NULL, &error);

    if (rc == 0)
        replay_sum(p, r);
    if (rc)
        cli_error("replay: %s", error);
    else if (json)
        cli_json_line(replay_json(r));
    else
        replay_tell(r, stdout);
    free(launcher);
    free(self);
    free(error);
    return rc || r->first ? 1 : 0;
}

int verb_replay(int argc, char **argv)
{
    const char *stage = NULL, *only = "stat,open,list,readlink,load,absent", *which = NULL;
    bool json = false, native = false;
    unsigned processes = 1, rounds = 1;
    const struct cli_option options[] = {{"processes", 'n', CLI_NUMBER, &processes},
                                         {"rounds", 'r', CLI_NUMBER, &rounds},
                                         {"stage", 0, CLI_TEXT, &stage},
                                         {"native", 0, CLI_NOTHING, &native},
                                         {"only", 0, CLI_TEXT, &only},
                                         {"json", 0, CLI_NOTHING, &json},
                                         {"child", 0, CLI_TEXT, &which},
                                         {NULL, 0, CLI_NOTHING, NULL}};
    int status;
    const int first = cli_options(argc, argv, options, usage, &status);

    if (first < 0)
        return status;
    if (which)
        return child(which);
    if (first + 1 != argc)
        return cli_wrong(argv[0], "it takes one manifest");
    if (processes < 1 || processes > MOST_PROCESSES)
        return cli_wrong(argv[0], "--processes is 1 to %d", MOST_PROCESSES);
    if (rounds < 1 || rounds > MOST_ROUNDS)
        return cli_wrong(argv[0], "--rounds is 1 to %d", MOST_ROUNDS);
    if (native && stage)
        return cli_wrong(argv[0], "either --native or --stage");
    const unsigned kinds = parse_kinds(only);
    if (kinds == 0)
        return cli_wrong(argv[0], "--only takes stat, open, list, readlink, load, absent");
    if (native)
        detach(argv);
    if (stage && attach_check(argv[0], stage) != 0)
        return 1;
    struct manifest *m = cli_manifest(argv[first]);
    if (!m)
        return 2;
    struct replayed *r = memory_new(1, sizeof *r);
    struct plan *p;
    const int fd = plan_make(m, kinds, processes, rounds, &p);
    const int error = errno;
    manifest_free(m);
    malloc_trim(0); /* what a fork copies are pages, used or not */
    r->rank = settings_rank(environ);
    r->stage = stage;
    if (fd < 0)
        cli_error("replay: memory for the operations: %s", strerror(error));
    status = fd < 0 ? 1 : replay(p, fd, r, json);
    free(r->first);
    free(r);
    return status;
}
