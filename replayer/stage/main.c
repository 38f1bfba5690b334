/* dlcache stage: one rank reads what a manifest names, and every node lays it down. MPI; run by `dlcache stage`. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <limits.h>
#include <mpi.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "facts/memory.h"
#include "libdlcache/attach.h"
#include "libdlcache/stage.h"
#include "manifests/manifest.h"
#include "replayer/attach/locate.h"
#include "replayer/image/build.h"
#include "replayer/stage/laydown.h"
#include "replayer/stage/place.h"
#include "replayer/attach/probe.h"
#include "replayer/stage/source.h"
#include "replayer/stage/team.h"

static const char usage[] =
    "usage: dlcache stage [OPTION]... M\n"
    "Read what the manifest M names, once, broadcast it over MPI, and lay it down in the memory of every node. Prints the\n"
    "stage's directory D, and nothing else, on standard output; then: D/run CMD...\n"
    "\n"
    "In a batch script of Slurm, PBS or LSF it starts itself on every node of the job: D=$(dlcache stage M). Started by\n"
    "srun or mpiexec it is a rank, and there may be any number: one on each node works, the others wait. Outside of a job\n"
    "it stages on this node.\n"
    "\n"
    "  --dir A:B:C    places to try for the stage (default /dev/shm)\n"
    "  --strict       an entry of M that is gone or cannot be read is an error, not a warning\n"
    "  --json         the summary on standard error as JSON\n"
    "  --verbose, -v  say by which command it starts itself\n"
    "  --hosts FILE   start with mpiexec on the hosts that FILE names, one a line\n"
    "  --mpiexec CMD  the mpiexec to start with (default: $DLCACHE_MPIEXEC, or the one it was built with)\n"
    "\n"
    "The exit status is 0 where every node has its stage, 1 where one has not (then none has), 2 for wrong usage or a\n"
    "manifest that cannot be read.\n";

struct options {
    const char *places, *manifest;
    bool strict, json;
};

/* What goes to every node beside the image: read once, by rank 0. */
static struct part {
    const char *file, *name;
    mode_t mode;
    void *data;
    uint64_t bytes;
} parts[] = {
    {"dlcache-run", STAGE_RUN, 0500, NULL, 0},
    {"libdlcache.so", STAGE_LIB, 0500, NULL, 0},
    {"libdlcache-audit.so", STAGE_AUDIT, 0500, NULL, 0},
};

#define PARTS (sizeof parts / sizeof *parts)

struct job {
    struct options o;
    struct team team;
    struct place place;
    struct built built;      /* rank 0's; of the others, the index */
    struct view view;        /* of the image */
    struct laydown *laydown; /* leaders that do not reuse what they have */
    bool reuse, committed;
    int reused;              /* nodes */
    bool drifted;
    double started;
};

static struct place *to_abandon; /* for a signal */

static void abandon(void)
{
    place_abandon(to_abandon);
}

static void interrupted(int number)
{
    abandon();
    signal(number, SIG_DFL);
    raise(number);
}

static void on_signal(int number)
{
    team_signal = number;
}

/* From here on there is something to clean up. What the user has told us to ignore stays so (nohup). */
static void catch_signals(struct place *p)
{
    static const int signals[] = {SIGTERM, SIGINT, SIGHUP};
    const struct sigaction action = {.sa_handler = on_signal};
    struct sigaction old;

    to_abandon = p;
    team_interrupted = interrupted;
    team_broken = abandon;
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
        if (sigaction(signals[i], NULL, &old) == 0 && old.sa_handler != SIG_IGN)
            sigaction(signals[i], &action, NULL);
}

static double now(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* -1 to go on, or the exit status. Before MPI_Init: every rank finds the same. */
static int parse(struct options *o, int argc, char **argv)
{
    static const struct option longs[] = {{"dir", required_argument, NULL, 'd'}, {"strict", no_argument, NULL, 's'},
                                          {"json", no_argument, NULL, 'j'},      {"help", no_argument, NULL, 'h'},
                                          {NULL, 0, NULL, 0}};
    int c;

    *o = (struct options){.places = "/dev/shm"};
    opterr = 0;
    while ((c = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
        switch (c) {
        case 'd': o->places = optarg; break;
        case 's': o->strict = true; break;
        case 'j': o->json = true; break;
        case 'h': fputs(usage, stdout); return fflush(stdout) ? 1 : 0;
        default:
            fprintf(stderr, "dlcache: stage: '%s' is no option, or lacks its value (see dlcache stage --help)\n",
                    argv[optind - 1]);
            return 2;
        }
    }
    if (optind + 1 != argc) {
        fprintf(stderr, "dlcache: stage: %s (see dlcache stage --help)\n",
                optind == argc ? "no manifest is named" : "more than one manifest is named");
        return 2;
    }
    o->manifest = argv[optind];
    return -1;
}

/* --- the steps -------------------------------------------------------------------------------------------------- */

static void read_part(struct part *p, struct outcome *o)
{
    char *path = locate(p->file);
    struct stat st;
    const int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;

    if (fd < 0 || fstat(fd, &st) != 0) {
        outcome_fail(o, "%s: %s", path ? path : p->file, path ? strerror(errno) : "is not installed beside dlcache");
    } else {
        p->bytes = (uint64_t)st.st_size;
        p->data = memory_check(malloc(p->bytes + 1));
        if (read(fd, p->data, p->bytes) != st.st_size)
            outcome_fail(o, "%s: %s", path, "it cannot be read whole");
    }
    if (fd >= 0)
        close(fd);
    free(path);
}

/* In the mirror a path is longer than it is. */
static void drop_long(struct job *j)
{
    char *first;
    const size_t before = place_root_length(&j->place);
    const size_t n = image_drop_long(j->built.index, PATH_MAX - 1 - before, &first);

    if (n)
        fprintf(stderr, "dlcache: warning: %zu path%s too long below %s, and left to the file system: %.200s...\n", n,
                n == 1 ? " is" : "s are", j->place.parent, first);
    free(first);
}

/* Rank 0 alone: 2 is the exit status for a manifest that cannot be read. */
static int build(struct job *j, struct outcome *o)
{
    char *error = NULL;
    struct manifest *m = manifest_load(j->o.manifest, &error);
    int status = 0;

    if (!m) {
        outcome_fail(o, "%s", error);
        status = 2;
    } else if (build_image(m, j->o.strict, &j->built, &error) != 0) {
        outcome_fail(o, "%s", error);
        status = 1;
    } else {
        drop_long(j);
        for (size_t i = 0; i < PARTS; i++)
            read_part(&parts[i], o);
    }
    manifest_free(m);
    free(error);
    return status;
}

static void open_view(struct job *j, struct outcome *o)
{
    const char *why = "it cannot be opened";
    uint8_t digest[16];

    j->view = (struct view){0};
    if (image_open(&j->view.image, j->built.index, j->built.index_size) != 0 ||
        image_check(&j->view.image, &why) != 0) {
        outcome_fail(o, "the image that arrived is damaged: %s", why);
        return;
    }
    image_digest(j->built.index, digest);
    if (memcmp(digest, j->view.image.header->digest, sizeof digest) != 0)
        outcome_fail(o, "the image that arrived is damaged: its digest is another");
}

static void share_index(struct job *j)
{
    uint64_t sizes[2 + PARTS] = {j->built.index_size, j->built.data_size};
    const bool reader = j->team.rank == 0;

    for (size_t i = 0; i < PARTS; i++)
        sizes[2 + i] = parts[i].bytes;
    team_broadcast(&j->team, sizes, sizeof sizes);
    j->built.index_size = sizes[0];
    j->built.data_size = sizes[1];
    if (!reader)
        j->built.index = memory_check(malloc(sizes[0]));
    team_broadcast(&j->team, j->built.index, sizes[0]);
    for (size_t i = 0; i < PARTS; i++) {
        parts[i].bytes = sizes[2 + i];
        if (!reader)
            parts[i].data = memory_check(malloc(parts[i].bytes + 1));
        team_broadcast(&j->team, parts[i].data, parts[i].bytes);
    }
}

/* The file of the stage that is there holds these bytes. */
static bool same_part(const char *dir, const struct part *p)
{
    char *path = memory_join(dir, p->name, strlen(p->name));
    struct stat st;
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    bool same = false;

    if (fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && (uint64_t)st.st_size == p->bytes && p->bytes) {
        void *there = mmap(NULL, p->bytes, PROT_READ, MAP_PRIVATE, fd, 0);
        same = there != MAP_FAILED && memcmp(there, p->data, p->bytes) == 0;
        if (there != MAP_FAILED)
            munmap(there, p->bytes);
    }
    if (fd >= 0)
        close(fd);
    free(path);
    return same;
}

/* A stage of the same image that nobody has changed since, and that a program started here will take. */
static bool is_there(const struct job *j)
{
    const struct settings settings = {.stage = j->place.dir};
    struct stage s;

    if (attach(&s, &settings) != 0)
        return false;
    struct dlc_state *state = s.view.state;
    bool same = memcmp(s.view.image.header->digest, j->view.image.header->digest, 16) == 0 && !state->any_dirty;
    for (size_t i = 0; i < PARTS && same; i++)
        same = same_part(j->place.dir, &parts[i]);
    stage_close(&s);
    return same;
}

static void begin(struct job *j, struct outcome *o)
{
    open_view(j, o);
    if (o->failed)
        return;
    place_name(&j->place, j->view.image.header->digest);
    j->reuse = is_there(j);
    if (j->reuse)
        return;
    uint64_t bytes = laydown_bytes(&j->view.image);
    for (size_t i = 0; i < PARTS; i++)
        bytes += parts[i].bytes + 4096;
    place_check_space(&j->place, bytes, (uint64_t)j->view.image.node_count + 16, o);
    if (!o->failed)
        place_begin(&j->place, o);
    if (!o->failed)
        j->laydown = laydown_begin(&j->place, &j->view, o);
}

/* The contents, from the reader through every leader into its mirror: while a chunk is on its way, the next one is
 * read, and the last one is laid down. */
static void stream(struct job *j, struct source *source, struct outcome *o)
{
    const uint64_t total = j->built.data_size;
    char *own[2] = {NULL, NULL}, *laying = NULL;
    uint64_t laying_bytes = 0;

    for (int i = 0; i < 2 && !source; i++)
        own[i] = memory_check(malloc(SOURCE_CHUNK));
    for (uint64_t at = 0, n = 0; at < total; at += SOURCE_CHUNK, n++) {
        const uint64_t bytes = total - at < SOURCE_CHUNK ? total - at : SOURCE_CHUNK;
        char *chunk = source ? source_next(source) : own[n % 2];
        MPI_Request request = team_broadcast_begin(&j->team, chunk, bytes);
        if (laying && j->laydown && !o->failed)
            laydown_data(j->laydown, laying, laying_bytes, o);
        if (j->team.nodes > 1)
            team_wait(&request);
        /* The chunk before is laid down, and has been sent. */
        if (laying && source)
            source_release(source);
        laying = chunk;
        laying_bytes = bytes;
        team_look();
    }
    if (laying && j->laydown && !o->failed)
        laydown_data(j->laydown, laying, laying_bytes, o);
    free(own[0]);
    free(own[1]);
}

static void share_bad(struct job *j, uint32_t *bad, size_t bad_count, struct outcome *o)
{
    uint64_t count = bad_count;

    team_broadcast(&j->team, &count, sizeof count);
    if (j->team.rank != 0)
        bad = memory_new(count, sizeof *bad);
    team_broadcast(&j->team, bad, count * sizeof *bad);
    if (count) {
        image_drop_data(j->built.index, bad, count);
        open_view(j, o);
    }
    free(bad);
}

static void finish(struct job *j, struct outcome *o)
{
    char path[sizeof j->place.temporary + 16];

    if (!j->laydown)
        return;
    laydown_finish(j->laydown, o);
    snprintf(path, sizeof path, "%s/lib", j->place.temporary);
    if (!o->failed && mkdir(path, 0700) != 0)
        outcome_fail(o, "%s: %s", path, strerror(errno));
    for (size_t i = 0; i < PARTS; i++)
        laydown_file(j->laydown, parts[i].name, parts[i].data, parts[i].bytes, parts[i].mode, o);
    laydown_file(j->laydown, STAGE_INDEX, j->built.index, j->built.index_size, 0400, o);
    if (o->failed)
        return;
    uint32_t audit = DLC_AUDIT_BAD; /* a place that code cannot be mapped from: the summary says it */
    if (j->place.executable) {
        char *library = memory_join(j->place.temporary, STAGE_AUDIT, strlen(STAGE_AUDIT));
        audit = probe_audit(library, j->place.temporary, PROBE_ARGUMENT);
        free(library);
        if (audit != DLC_AUDIT_OK)
            fprintf(stderr, "dlcache: warning: %s: auditing does not work with the dynamic loader there: shared objects "
                    "are not served\n", j->team.host);
    }
    laydown_state(j->laydown, audit, o);
}

static void summary(const struct job *j)
{
    const struct build_report *r = &j->built.report;
    const double seconds = now() - j->started;

    if (j->o.json) {
        fprintf(stderr,
                "{\"files\":%" PRIu64 ",\"bytes\":%" PRIu64 ",\"names\":%" PRIu64 ",\"frozen\":%" PRIu64
                ",\"gone\":%" PRIu64 ",\"changed\":%" PRIu64 ",\"unreadable\":%" PRIu64
                ",\"nodes\":%d,\"reused\":%d,\"seconds\":%.3f}\n",
                r->files, r->bytes, r->names, r->frozen, r->gone, r->drifted, r->unreadable, j->team.nodes, j->reused,
                seconds);
        return;
    }
    fprintf(stderr, "dlcache: staged %" PRIu64 " files, %.1f MB, %" PRIu64 " names on %d node%s in %.2f s", r->files,
            (double)r->bytes / 1e6, r->names, j->team.nodes, j->team.nodes == 1 ? "" : "s", seconds);
    if (j->reused == j->team.nodes)
        fputs(" (it was there already)", stderr);
    else if (j->reused)
        fprintf(stderr, " (on %d of them it was there already)", j->reused);
    fputc('\n', stderr);
    if (r->drifted)
        fprintf(stderr, "dlcache: %" PRIu64 " files are not what they were in the pilot; they are staged as they are "
                "now\n", r->drifted);
}

/* Another staging of the same may have been faster: its stage is as good, and programs may run from it already. */
static void commit(struct job *j, struct outcome *o)
{
    if (!j->laydown)
        return;
    if (is_there(j)) {
        place_abandon(&j->place);
        return;
    }
    place_commit(&j->place, o);
    j->committed = !o->failed;
}

/* 0, or the exit status; then the outcome says why. Every rank comes here, and to every agreement. */
static int work(struct job *j, struct outcome *o)
{
    int status = 0;

    if (j->team.rank == 0)
        status = build(j, o);
    if (!team_agree(&j->team, o))
        return status ? status : 1;

    catch_signals(&j->place);
    if (j->team.leader) {
        place_sweep(&j->place);
        share_index(j);
        begin(j, o);
    }
    if (!team_agree(&j->team, o))
        return 1;
    if (j->team.leader) {
        const bool all_reuse = team_least(&j->team, j->reuse) == 1;
        struct source *source = NULL;
        uint32_t *bad = NULL;
        size_t bad_count = 0;
        if (j->team.nodes > 1)
            MPI_Allreduce(&(int){j->reuse}, &j->reused, 1, MPI_INT, MPI_SUM, j->team.leaders);
        else
            j->reused = j->reuse;
        if (!all_reuse && j->team.rank == 0 && !(source = source_start(&j->built)))
            outcome_fail(o, "no thread can be started to read with");
        if (!all_reuse && team_least(&j->team, j->team.rank == 0 ? source != NULL : 1) == 1) {
            stream(j, source, o);
            if (source)
                source_finish(source, &bad, &bad_count);
            share_bad(j, bad, bad_count, o);
        }
        if (!o->failed)
            finish(j, o);
    }
    if (!team_agree(&j->team, o))
        return 1;
    commit(j, o);
    if (!team_agree(&j->team, o)) {
        if (j->committed)
            place_withdraw(&j->place);
        return 1;
    }
    return 0;
}

int main(int argc, char **argv)
{
    struct job j = {.started = now()};
    struct outcome o = {0};
    int provided, size, status;

    if (argc == 2 && strcmp(argv[1], PROBE_ARGUMENT) == 0)
        return 0;
    status = parse(&j.o, argc, argv);
    if (status >= 0)
        return status;
    MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &provided);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    status = team_check_singleton(size);
    if (status == 0) {
        team_watch();
        umask(077);
        place_choose(&j.place, j.o.places, &o);
        team_form(&j.team, j.place.dev);
        status = team_agree(&j.team, &o) ? work(&j, &o) : 1;
        place_abandon(&j.place);
        if (j.team.rank == 0) {
            if (status) {
                fprintf(stderr, "dlcache: stage: %s\n", o.message);
            } else {
                if (!j.place.executable_everywhere)
                    fprintf(stderr, "dlcache: warning: %s is mounted noexec: shared objects are not served\n",
                            j.place.parent);
                summary(&j);
                puts(j.place.dir);
                if (fflush(stdout) != 0)
                    status = 1;
            }
        }
        laydown_free(j.laydown);
    }
    built_free(&j.built);
    for (size_t i = 0; i < PARTS; i++)
        free(parts[i].data);
    MPI_Finalize();
    return status;
}
