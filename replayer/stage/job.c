#include "replayer/stage/job.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <pthread.h>
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

static void say_drifted(const char *path, const char *what)
{
    fprintf(stderr, "dlcache: warning: %s %s; it is left to the file system\n", path, what);
}

/* What rank 0 finds out by itself. */
struct reading {
    const struct options *o;
    struct built built;
    bool packed;
    int status;  /* the exit status */
    char *error; /* why it is not 0: heap */
};

/* A packed image, less what is not as it was. 0 or -1. */
static int open_packed(struct reading *r)
{
    const long drifted = image_file_open(&r->built, r->o->source, &r->error) != 0 ? -1
                         : r->o->check ? image_drop_drifted(r->built.index, say_drifted)
                                       : 0;

    if (drifted < 0) {
        if (!r->error)
            r->error = memory_text("no thread can be started to look at the files with");
        return -1;
    }
    r->built.report.drifted = (uint64_t)drifted;
    return 0;
}

bool job_is_own(const char *path)
{
    struct stat st;

    return lstat(path, &st) == 0 && S_ISREG(st.st_mode) && st.st_uid == geteuid();
}

/* 2 is the exit status for what cannot be read. */
static void read_source(struct reading *r)
{
    const struct options *o = r->o;
    const struct bundle_place bundle = {o->source, o->at, o->strip, o->strict};
    struct manifest *m = NULL;

    r->packed = !o->at && image_file_is(o->source);
    if (o->copy && !job_is_own(o->source)) {
        if (asprintf(&r->error, "%s: it is not your own file", o->source) < 0)
            memory_check(NULL);
        r->status = 1;
    } else if (o->at) {
        r->status = bundle_build(&bundle, &r->built, &r->error) ? 2 : 0;
    } else if (r->packed) {
        r->status = open_packed(r) ? 2 : 0;
    } else if (!(m = manifest_load(o->source, &r->error))) {
        r->status = 2;
    } else if (build_image(m, o->strict, &r->built, &r->error) != 0) {
        r->status = 1;
    }
    manifest_free(m);
}

/* A thread that does it while MPI starts. */
struct ahead {
    pthread_t thread;
    struct reading reading;
};

static void *read_ahead(void *arg)
{
    read_source(arg);
    return NULL;
}

void job_read_ahead(struct job *j)
{
    struct ahead *a = memory_new(1, sizeof *a);

    a->reading.o = &j->o;
    if (pthread_create(&a->thread, NULL, read_ahead, &a->reading) == 0)
        j->ahead = a;
    else
        free(a);
}

static struct reading end_ahead(struct job *j)
{
    struct ahead *a = j->ahead;

    pthread_join(a->thread, NULL);
    const struct reading r = a->reading;
    free(a);
    j->ahead = NULL;
    return r;
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

/* Rank 0 alone: the exit status. */
static int build(struct job *j, struct outcome *o)
{
    struct reading r = {.o = &j->o};

    if (j->ahead)
        r = end_ahead(j);
    else
        read_source(&r);
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
    if (!reader) {
        parts_take(sizes.parts, all + sizes.index);
        j->built.index = memory_check(malloc(sizes.index));
        memcpy(j->built.index, all, sizes.index);
    }
    free(all);
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

/* Bytes that are looked at, and written, before the next ones are: they are in the processor's cache then. */
#define AT_ONCE ((uint64_t)256 << 10)

/* A chunk that came from another node is compared with its digest while it is laid down: where they differ there will be
 * no stage. The reader has just computed it: no `digest`. */
static void lay_chunk(struct job *j, struct chunk_digest *digest, const char *chunk, uint64_t bytes,
                      struct outcome *o)
{
    uint8_t is[CHUNK_DIGEST];

    if (!j->laydown || o->failed)
        return;
    if (digest)
        chunk_digest_begin(digest);
    for (uint64_t at = 0, n; at < bytes && !o->failed; at += n) {
        n = bytes - at < AT_ONCE ? bytes - at : AT_ONCE;
        if (digest)
            chunk_digest_add(digest, chunk + at, n);
        laydown_data(j->laydown, chunk + at, n, o);
    }
    if (digest && !o->failed) {
        chunk_digest_end(digest, is);
        if (memcmp(is, chunk + bytes, CHUNK_DIGEST) != 0)
            outcome_fail(o, "contents arrived damaged: they are not what their digest says");
    }
    soften(j, o);
}

/* The contents' way through this node. */
struct stream {
    struct job *j;
    struct source *source;       /* the reader's; else NULL */
    bool copied;                 /* whoever reads also lays down */
    struct chunk_digest *digest; /* of those who do not read */
    char *own[2];                /* theirs: chunks */
    char *chunk;                 /* the last one that was sent, and is not laid down yet; NULL: none */
    uint64_t bytes;              /* its size */
    struct carried sent;
    struct outcome *o;
};

/* The chunk has been sent; and is laid down. */
static void end_chunk(struct stream *s)
{
    if (!s->chunk)
        return;
    if (s->j->team.nodes > 1)
        team_wait_chunk(&s->j->team, &s->sent);
    if (!s->copied)
        lay_chunk(s->j, s->digest, s->chunk, s->bytes, s->o);
    if (s->source)
        source_release(s->source);
    s->chunk = NULL;
}

static void next_chunk(struct stream *s, uint64_t n, uint64_t bytes)
{
    struct carried sent;

    /* Nothing to send yet: nothing holds up what is on its way. */
    if (s->source && s->chunk && !source_is_ready(s->source))
        end_chunk(s);
    char *chunk = s->source ? source_next(s->source) : s->own[n % 2];
    if (s->j->team.nodes > 1)
        team_broadcast_begin(&s->j->team, &sent, chunk, bytes + CHUNK_DIGEST);
    end_chunk(s);
    s->chunk = chunk;
    s->bytes = bytes;
    s->sent = sent;
}

/* Where somebody failed, the rest is in vain. What the reader's threads could not write they tell later. */
static bool goes_on(const struct stream *s)
{
    uint32_t node;

    return !s->o->failed && (!s->source || s->j->o.soft || !source_failed(s->source, &node));
}

/* The contents, from the reader through every leader into its mirror: while a chunk is on its way, the next one is
 * read, and the last one is laid down. */
static void stream(struct job *j, struct source *source, uint64_t chunk, bool copied, struct outcome *o)
{
    struct stream s = {.j = j, .source = source, .copied = copied, .o = o};
    const uint64_t total = j->built.data_size, now_and_then = ((uint64_t)256 << 20) / chunk;
    size_t stride;
    char *own = source ? NULL : chunks_new(chunk, 2, &stride);

    for (int i = 0; i < 2 && own; i++)
        s.own[i] = own + i * stride;
    s.digest = source ? NULL : chunk_digest_new();
    for (uint64_t at = 0, n = 0; at < total; at += chunk, n++) {
        const uint64_t bytes = chunk_bytes(total, chunk, n);
        next_chunk(&s, n, bytes);
        if (j->team.rank == 0)
            progress_bytes_at(at + bytes, total, j->nodes_text);
        team_look();
        if (n % now_and_then == now_and_then - 1 && !team_least(&j->team, goes_on(&s)))
            break;
    }
    end_chunk(&s);
    progress_end();
    if (s.digest)
        chunk_digest_free(s.digest);
    free(own);
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
    uint32_t *bad = NULL, node;
    size_t bad_count = 0;
    char *error = NULL;

    if (is_direct(j)) {
        if (!j->laydown)
            return; /* nobody wants them */
        laydown_copied(j->laydown, &bad, &bad_count, o);
    } else {
        const bool files = !j->packed && !j->built.bundle;
        const struct source_copy copy = {laydown_open, laydown_end, j->laydown};
        const uint64_t chunk = j->chunk;
        const bool copied = j->team.rank == 0 && j->laydown && files;
        if (j->team.rank == 0 && !(source = source_start(&j->built, chunk, copied ? &copy : NULL, team_look)))
            outcome_fail(o, "no thread can be started to read with");
        if (!team_least(&j->team, j->team.rank != 0 || source))
            return;
        stream(j, source, chunk, copied, o);
        const int failed = source ? source_failed(source, &node) : 0;
        if (source && source_finish(source, &bad, &bad_count, &error) != 0)
            outcome_fail(o, "%s", error);
        else if (failed)
            laydown_failed(j->laydown, node, failed, o);
        soften(j, o);
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
        j->reused = team_sum(&j->team, j->reuse);
        if (j->reused < j->team.nodes)
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
    if (j->ahead) {
        struct reading r = end_ahead(j);
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
