#include "replayer/stage/job.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "facts/memory.h"
#include "facts/progress.h"
#include "libdlcache/attach.h"
#include "libdlcache/stage.h"
#include "replayer/attach/locate.h"
#include "replayer/attach/probe.h"
#include "replayer/image/source.h"
#include "replayer/stage/contents.h"
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

/* Rank 0 alone: the exit status. */
static int build(struct job *j, struct outcome *o)
{
    struct reading r = {0};

    if (j->ahead)
        reading_end(j->ahead, &r);
    else
        reading_do(&j->o, &r);
    j->ahead = NULL;
    j->built = r.built;
    j->packed = r.packed;
    if (r.status) {
        outcome_fail(o, "%s", r.error);
    } else {
        drop_long(j);
        parts_read(o);
    }
    free(r.error);
    return r.status;
}

void job_open_view(struct job *j, struct outcome *o)
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

/* The index and the parts, from the reader to every leader, in two broadcasts: each takes its time. */
static void share_index(struct job *j)
{
    struct {
        uint64_t index, data, chunk, parts[PARTS];
    } sizes = {j->built.index_size, j->built.data_size, j->packed ? IMAGE_CHUNK : STREAM_CHUNK, {0}};
    const bool reader = j->team.rank == 0;

    parts_sizes(sizes.parts);
    team_broadcast(&j->team, &sizes, sizeof sizes);
    j->built.index_size = sizes.index;
    j->built.data_size = sizes.data;
    j->chunk = sizes.chunk;
    if (j->team.nodes == 1)
        return;
    uint64_t bytes = sizes.index;
    for (size_t i = 0; i < PARTS; i++)
        bytes += sizes.parts[i];
    char *all = memory_check(malloc(bytes));
    if (reader) {
        memcpy(all, j->built.index, sizes.index);
        parts_put(all + sizes.index);
    }
    team_broadcast(&j->team, all, bytes);
    if (reader) {
        free(all);
    } else {
        parts_take(sizes.parts, all + sizes.index);
        j->built.index = memory_check(realloc(all, sizes.index)); /* what is left of it is the index */
    }
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

static void begin(struct job *j, struct outcome *o)
{
    const struct copying copying = {&j->built, tell_copied, j};

    job_open_view(j, o);
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
        j->laydown = laydown_begin(&j->place, &j->view, contents_are_direct(j) ? &copying : NULL, o);
}

/* With --soft a node that fails does not stop the others. */
void job_soften(struct job *j, struct outcome *o)
{
    if (!o->failed || !j->o.soft || j->unread || !j->place.dir[0])
        return;
    fprintf(stderr, "dlcache: warning: %s: %s; programs start natively there\n", j->team.host, o->message);
    place_abandon(&j->place);
    laydown_free(j->laydown);
    j->laydown = NULL;
    j->native = true;
    *o = (struct outcome){0};
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
        job_soften(j, o);
    }
    if (!team_agree(&j->team, o))
        return 1;
    if (j->team.leader) {
        j->reused = team_sum(&j->team, j->reuse);
        if (j->reused < j->team.nodes)
            contents_lay_down(j, o);
        if (!o->failed)
            finish(j, o);
        job_soften(j, o);
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
    if (j->ahead) {
        struct reading r;
        reading_end(j->ahead, &r);
        built_free(&r.built);
        free(r.error);
    }
    to_abandon = NULL;
    team_interrupted = NULL;
    team_broken = NULL;
    laydown_free(j->laydown);
    built_free(&j->built);
    parts_free();
}

