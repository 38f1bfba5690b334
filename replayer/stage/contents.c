#include "replayer/stage/contents.h"

#include <stdlib.h>
#include <string.h>

#include "facts/memory.h"
#include "facts/progress.h"
#include "replayer/image/source.h"

bool contents_are_direct(const struct job *j)
{
    return j->team.nodes == 1 && !j->packed && !j->built.bundle;
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
    job_soften(j, o);
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
    struct carried sent = {0};

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
        job_open_view(j, o);
    }
    free(bad);
}

/* All leaders: the contents, read and laid down. */
void contents_lay_down(struct job *j, struct outcome *o)
{
    struct source *source = NULL;
    uint32_t *bad = NULL, node;
    size_t bad_count = 0;
    char *error = NULL;

    if (contents_are_direct(j)) {
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
        job_soften(j, o);
        free(error);
    }
    share_bad(j, bad, bad_count, o);
}

