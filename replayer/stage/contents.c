#include "replayer/stage/contents.h"

#include <stdlib.h>
#include <string.h>

#include "facts/memory.h"
#include "facts/progress.h"
#include "replayer/image/source.h"
#include "replayer/stage/relay.h"

bool contents_are_direct(const struct job *j)
{
    return j->team.nodes == 1 && !j->packed && !j->built.bundle;
}

/* Bytes that are looked at, and written, before the next ones are: they are in the processor's cache then. */
#define AT_ONCE ((uint64_t)256 << 10)

/* A chunk that came from another node is compared with its digest while it is laid down: where they differ this
 * node has failed. The reader has just computed it: no `digest`. `relay`: or NULL. */
static void lay_chunk(struct job *j, struct relay *relay, struct chunk_digest *digest, const char *chunk,
                      uint64_t bytes, struct outcome *o)
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
        if (relay)
            relay_poke(relay);
    }
    if (digest && !o->failed) {
        chunk_digest_end(digest, is);
        if (memcmp(is, chunk + bytes, CHUNK_DIGEST) != 0)
            outcome_fail(o, "contents arrived damaged: they are not what their digest says");
    }
    job_soften(j, o);
}

/* Where somebody failed, the rest is in vain. What the reader's threads could not write they tell later. */
static bool goes_on(const struct job *j, struct source *source, const struct outcome *o)
{
    uint32_t node;

    return !o->failed && (!source || j->o.soft || !source_failed(source, &node));
}

/* The contents' way through this node: to others while the next chunks are read, or come, and are laid down. `source`:
 * the reader's. `copied`: whoever reads also lays down. */
static void stream(struct job *j, struct source *source, bool copied, struct outcome *o)
{
    const uint64_t total = j->built.data_size, chunk = j->chunk, now_and_then = ((uint64_t)256 << 20) / chunk;
    /* Most of the reader's memory is for what is read. */
    const uint64_t quarter = SOURCE_MEMORY / chunk / 4;
    const unsigned most = quarter < RELAY_DEPTH ? (unsigned)quarter : RELAY_DEPTH - 1;
    struct relay *relay = j->team.nodes > 1 ? relay_start(&j->team, total, chunk) : NULL;
    struct chunk_digest *digest = source ? NULL : chunk_digest_new();

    for (uint64_t at = 0, n = 0; at < total; at += chunk, n++) {
        const uint64_t bytes = chunk_bytes(total, chunk, n);
        if (n % now_and_then == 0 && n > 0 && !team_least(&j->team, goes_on(j, source, o)))
            break;
        if (n % now_and_then == 0 && relay)
            relay_allow(relay, n + now_and_then);
        if (source) {
            /* Nothing to send yet: nothing holds up what is on its way. */
            for (unsigned sent = relay ? relay_sent(relay, source_is_ready(source) ? most : 0) : 0; sent; sent--)
                source_release(source);
            char *next = source_next(source);
            if (relay)
                relay_send(relay, next);
            if (!copied)
                lay_chunk(j, relay, NULL, next, bytes, o);
            if (!relay)
                source_release(source);
        } else {
            lay_chunk(j, relay, digest, relay_receive(relay), bytes, o);
            relay_done(relay);
        }
        if (j->team.rank == 0)
            progress_bytes_at(at + bytes, total, j->nodes_text);
        team_look();
    }
    relay_end(relay);
    progress_end();
    if (digest)
        chunk_digest_free(digest);
}

static void share_bad(struct job *j, uint32_t *bad, size_t bad_count, struct outcome *o)
{
    uint64_t count = bad_count;

    team_broadcast(&j->team, &count, sizeof count);
    if (j->team.rank != 0)
        bad = memory_new(count, sizeof *bad);
    team_broadcast(&j->team, bad, count * sizeof *bad);
    if (count) {
        built_drop_data(&j->built, bad, count);
        job_open_view(j, o);
    }
    free(bad);
}

/* What the others have laid down is no use either. */
static void fail_reading(struct job *j, struct outcome *o, const char *why)
{
    j->unread = true;
    outcome_fail(o, "%s", why);
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
        const bool copied = j->team.rank == 0 && j->laydown && files;
        if (j->team.rank == 0 && !(source = source_start(&j->built, j->chunk, copied ? &copy : NULL, team_look)))
            fail_reading(j, o, "no thread can be started to read with");
        if (!team_least(&j->team, j->team.rank != 0 || source))
            return;
        stream(j, source, copied, o);
        const int failed = source ? source_failed(source, &node) : 0;
        if (source && source_finish(source, &bad, &bad_count, &error) != 0)
            fail_reading(j, o, error);
        else if (failed)
            laydown_failed(j->laydown, node, failed, o);
        job_soften(j, o);
        free(error);
    }
    share_bad(j, bad, bad_count, o);
}

