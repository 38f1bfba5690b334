#include "replayer/stage/job.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "facts/memory.h"
#include "facts/progress.h"
#include "libdlcache/attach.h"
#include "libdlcache/stage.h"
#include "manifests/manifest.h"
#include "replayer/attach/locate.h"
#include "replayer/attach/probe.h"
#include "replayer/image/bundle.h"
#include "replayer/image/drift.h"
#include "replayer/image/file.h"
#include "replayer/image/source.h"
#include "replayer/stage/parts.h"

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
    __atomic_store_n(&team_signal, number, __ATOMIC_RELAXED);
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

/* --- the steps -------------------------------------------------------------------------------------------------- */

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

static void say_drifted(const char *path, const char *what)
{
    fprintf(stderr, "dlcache: warning: %s %s; it is left to the file system\n", path, what);
}

/* A packed image, less what is not as it was. */
static int open_packed(struct job *j, char **error)
{
    const long drifted = image_file_open(&j->built, j->o.source, error) != 0 ? -1
                         : j->o.check ? image_drop_drifted(j->built.index, say_drifted)
                                      : 0;

    if (drifted < 0) {
        if (!*error)
            *error = memory_text("no thread can be started to look at the files with");
        return -1;
    }
    j->built.report.drifted = (uint64_t)drifted;
    return 0;
}

bool job_is_own(const char *path)
{
    struct stat st;

    return lstat(path, &st) == 0 && S_ISREG(st.st_mode) && st.st_uid == geteuid();
}

/* Rank 0 alone: 2 is the exit status for what cannot be read. */
static int build(struct job *j, struct outcome *o)
{
    struct manifest *m = NULL;
    char *error = NULL;
    int status = 0;

    const struct bundle_place bundle = {j->o.source, j->o.at, j->o.strip, j->o.strict};
    j->packed = !j->o.at && image_file_is(j->o.source);
    if (j->o.copy && !job_is_own(j->o.source)) {
        outcome_fail(o, "%s: it is not your own file", j->o.source);
        return 1;
    }
    if (j->o.at)
        status = bundle_build(&bundle, &j->built, &error) ? 2 : 0;
    else if (j->packed)
        status = open_packed(j, &error) ? 2 : 0;
    else if (!(m = manifest_load(j->o.source, &error)))
        status = 2;
    else if (build_image(m, j->o.strict, &j->built, &error) != 0)
        status = 1;
    if (status) {
        outcome_fail(o, "%s", error);
    } else {
        drop_long(j);
        parts_read(o);
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
    uint64_t sizes[2] = {j->built.index_size, j->built.data_size};
    const bool reader = j->team.rank == 0;

    team_broadcast(&j->team, sizes, sizeof sizes);
    j->built.index_size = sizes[0];
    j->built.data_size = sizes[1];
    if (!reader)
        j->built.index = memory_check(malloc(sizes[0]));
    team_broadcast(&j->team, j->built.index, sizes[0]);
    parts_share(&j->team);
}

/* A stage of the same image that nobody has changed since, and that a program started here will take. */
static bool is_there(const struct job *j)
{
    const struct settings settings = {.stage = j->place.dir};
    struct stage s;

    if (attach(&s, &settings) != 0)
        return false;
    struct dlc_state *state = s.view.state;
    const bool same = memcmp(s.view.image.header->digest, j->view.image.header->digest, 16) == 0 && !state->any_dirty &&
                      parts_are_in(j->place.dir);
    stage_close(&s);
    return same;
}

/* While this node's only leader copies. */
static void tell_copied(void *arg, uint64_t done)
{
    const struct job *j = arg;

    progress_bytes_at(done, j->built.data_size, j->nodes_text);
    team_look();
}

/* The reader's node is the only one, and what it reads are files. Contents that have digests are to be compared with
 * them: they pass through memory all the same. */
static bool is_direct(const struct job *j)
{
    return j->team.nodes == 1 && !j->packed && !j->built.bundle;
}

static void begin(struct job *j, struct outcome *o)
{
    const struct copying copying = {&j->built, tell_copied, j};

    open_view(j, o);
    if (o->failed)
        return;
    place_name(&j->place, j->view.image.header->digest);
    j->reuse = is_there(j);
    if (j->reuse) {
        place_touch(&j->place);
        return;
    }
    const uint64_t bytes = laydown_bytes(&j->view.image) + parts_bytes();
    place_check_space(&j->place, bytes, (uint64_t)j->view.image.node_count + 16, j->o.max_bytes, o);
    if (!o->failed)
        place_begin(&j->place, o);
    if (!o->failed)
        j->laydown = laydown_begin(&j->place, &j->view, is_direct(j) ? &copying : NULL, o);
}

/* With --soft a node that fails does not stop the others. */
static void soften(struct job *j, struct outcome *o)
{
    if (!o->failed || !j->o.soft || !j->place.dir[0])
        return;
    fprintf(stderr, "dlcache: warning: %s: %s; programs start natively there\n", j->team.host, o->message);
    place_abandon(&j->place);
    laydown_free(j->laydown);
    j->laydown = NULL;
    j->native = true;
    *o = (struct outcome){0};
}

static void lay_chunk(struct job *j, const char *chunk, uint64_t bytes, struct outcome *o)
{
    if (!j->laydown || o->failed)
        return;
    /* The reader has just computed it. */
    if (j->team.rank == 0 || chunk_is_whole(chunk, bytes))
        laydown_data(j->laydown, chunk, bytes, o);
    else
        outcome_fail(o, "contents arrived damaged: they are not what their digest says");
    soften(j, o);
}

/* The contents, from the reader through every leader into its mirror: while a chunk is on its way, the next one is
 * read, and the last one is laid down. */
static void stream(struct job *j, struct source *source, struct outcome *o)
{
    const uint64_t total = j->built.data_size;
    char *own[2] = {NULL, NULL}, *laying = NULL;
    uint64_t laying_bytes = 0;

    for (int i = 0; i < 2 && !source; i++)
        own[i] = chunk_new();
    for (uint64_t at = 0, n = 0; at < total; at += SOURCE_CHUNK, n++) {
        const uint64_t bytes = chunk_bytes(total, n);
        char *chunk = source ? source_next(source) : own[n % 2];
        struct carried sent;
        if (j->team.nodes > 1)
            team_broadcast_begin(&j->team, &sent, chunk, bytes + CHUNK_DIGEST);
        if (laying)
            lay_chunk(j, laying, laying_bytes, o);
        if (j->team.nodes > 1)
            team_wait_chunk(&j->team, &sent);
        /* The chunk before is laid down, and has been sent. */
        if (laying && source)
            source_release(source);
        laying = chunk;
        laying_bytes = bytes;
        if (j->team.rank == 0)
            progress_bytes_at(at + bytes, total, j->nodes_text);
        team_look();
        /* Now and then: where somebody failed, the rest is in vain. */
        if (n % 64 == 63 && !team_least(&j->team, !o->failed))
            break;
    }
    if (laying)
        lay_chunk(j, laying, laying_bytes, o);
    progress_end();
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

/* All leaders: the contents, read and laid down. */
static void lay_contents(struct job *j, struct outcome *o)
{
    struct source *source = NULL;
    uint32_t *bad = NULL;
    size_t bad_count = 0;
    char *error = NULL;

    if (is_direct(j)) {
        if (!j->laydown)
            return; /* nobody wants them */
        laydown_copied(j->laydown, &bad, &bad_count, o);
    } else {
        if (j->team.rank == 0 && !(source = source_start(&j->built, team_look)))
            outcome_fail(o, "no thread can be started to read with");
        if (!team_least(&j->team, j->team.rank != 0 || source))
            return;
        stream(j, source, o);
        if (source && source_finish(source, &bad, &bad_count, &error) != 0)
            outcome_fail(o, "%s", error);
        free(error);
    }
    share_bad(j, bad, bad_count, o);
}

static void put_about(struct job *j, struct outcome *o)
{
    char about[256];

    about_format(&j->place.about, about);
    place_file(&j->place, STAGE_ABOUT, about, strlen(about), 0400, o);
}

/* A stage that holds nothing: its launcher starts programs natively. */
static void finish_native(struct job *j, struct outcome *o)
{
    j->place.about.bytes = 0;
    place_begin(&j->place, o);
    parts_lay_down(&j->place, false, o);
    put_about(j, o);
}

static void finish(struct job *j, struct outcome *o)
{
    if (!j->laydown)
        return;
    laydown_finish(j->laydown, o);
    parts_lay_down(&j->place, true, o);
    put_about(j, o);
    place_file(&j->place, STAGE_INDEX, j->built.index, j->built.index_size, 0400, o);
    if (o->failed)
        return;
    uint32_t audit = DLC_AUDIT_BAD; /* a place that code cannot be mapped from: the summary says it */
    struct dlc_loader loader = {0};
    if (j->place.executable) {
        char *library = memory_join(j->place.temporary, STAGE_AUDIT, strlen(STAGE_AUDIT));
        char *stager = locate("dlcache-stage");
        audit = probe_audit(library, j->place.temporary, stager ? stager : "/proc/self/exe", PROBE_ARGUMENT);
        free(stager);
        free(library);
        probe_loader(&loader, j->place.temporary, PROBE_ARGUMENT);
        if (audit != DLC_AUDIT_OK)
            fprintf(stderr, "dlcache: warning: %s: auditing does not work with the dynamic loader there: only shared "
                    "objects that programs ask for by their paths are served\n", j->team.host);
    }
    laydown_state(j->laydown, audit, &loader, o);
}

void job_summary(const struct job *j)
{
    const struct build_report *r = &j->built.report;
    const double seconds = now() - j->started;

    if (j->o.json) {
        fprintf(stderr,
                "{\"files\":%" PRIu64 ",\"bytes\":%" PRIu64 ",\"names\":%" PRIu64 ",\"frozen\":%" PRIu64
                ",\"gone\":%" PRIu64 ",\"changed\":%" PRIu64 ",\"unreadable\":%" PRIu64
                ",\"nodes\":%d,\"reused\":%d,\"native\":%d,\"seconds\":%.3f}\n",
                r->files, r->bytes, r->names, r->frozen, r->gone, r->drifted, r->unreadable, j->team.nodes, j->reused,
                j->natives, seconds);
        return;
    }
    fprintf(stderr, "dlcache: staged %" PRIu64 " files, %.1f MB, %" PRIu64 " names on %s in %.2f s", r->files,
            (double)r->bytes / 1e6, r->names, j->nodes_text, seconds);
    if (j->reused == j->team.nodes)
        fputs(" (it was there already)", stderr);
    else if (j->reused)
        fprintf(stderr, " (on %d of them it was there already)", j->reused);
    if (j->natives)
        fprintf(stderr, "; on %d of them programs start natively", j->natives);
    fputc('\n', stderr);
    if (r->drifted)
        fprintf(stderr, "dlcache: %" PRIu64 " %s\n", r->drifted,
                j->packed ? "names are not what they were when the image was packed; they are left to the file system"
                          : "files are not what they were in the pilot; they are staged as they are now");
}

/* Another staging of the same may have been faster: its stage is as good, and programs may run from it already. */
static void commit(struct job *j, struct outcome *o)
{
    if (!j->laydown && !j->native)
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
        soften(j, o);
    }
    if (!team_agree(&j->team, o))
        return 1;
    if (j->team.leader) {
        const bool all_reuse = team_least(&j->team, j->reuse) == 1;
        j->reused = team_sum(&j->team, j->reuse);
        if (!all_reuse)
            lay_contents(j, o);
        if (!o->failed)
            finish(j, o);
        soften(j, o);
        if (j->native)
            finish_native(j, o);
        j->natives = team_sum(&j->team, j->native);
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

int job_stage(struct job *j, struct outcome *o)
{
    j->started = now();
    const mode_t mask = umask(077);
    place_choose(&j->place, &j->team, j->o.places, o);
    if (!j->o.keep)
        about_job(&j->place.about);
    team_form(&j->team, j->place.dev);
    snprintf(j->nodes_text, sizeof j->nodes_text, "%d node%s", j->team.nodes, j->team.nodes == 1 ? "" : "s");
    const int status = team_agree(&j->team, o) ? work(j, o) : 1;
    place_abandon(&j->place);
    umask(mask);
    return status;
}

void job_free(struct job *j)
{
    to_abandon = NULL;
    team_interrupted = NULL;
    team_broken = NULL;
    laydown_free(j->laydown);
    built_free(&j->built);
    parts_free();
}
