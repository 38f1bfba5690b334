#include "replayer/stage/relay.h"

#include <stdbool.h>
#include <stdlib.h>

#include "facts/memory.h"
#include "replayer/image/source.h"

struct slot {
    char *chunk;
    struct carried in, out[2];
    bool sending; /* `out` are not done yet */
};

struct relay {
    const struct team *team;
    uint64_t total, chunk; /* bytes */
    uint64_t limit;        /* chunks that will be sent */
    uint64_t next;         /* the chunk that is sent, or received, next */
    uint64_t posted;       /* receives that were begun */
    uint64_t sent;         /* rank 0's: chunks that have arrived */
    int parent, children[2];
    unsigned child_count;
    char *memory;
    struct slot slots[RELAY_DEPTH];
};

static struct slot *slot_of(struct relay *r, uint64_t n)
{
    return &r->slots[n % RELAY_DEPTH];
}

static int bytes_of(const struct relay *r, uint64_t n)
{
    return (int)(chunk_bytes(r->total, r->chunk, n) + CHUNK_DIGEST);
}

struct relay *relay_start(const struct team *t, uint64_t total, uint64_t chunk)
{
    struct relay *r = memory_new(1, sizeof *r);
    size_t stride;
    int rank;

    r->team = t;
    r->total = total;
    r->chunk = chunk;
    t->carrier->rank(t->leaders, &rank);
    r->parent = (rank - 1) / 2;
    for (int child = 2 * rank + 1; child <= 2 * rank + 2 && child < t->nodes; child++)
        r->children[r->child_count++] = child;
    if (rank == 0)
        return r;
    r->memory = chunks_new(chunk, RELAY_DEPTH, &stride);
    for (unsigned i = 0; i < RELAY_DEPTH; i++)
        r->slots[i].chunk = r->memory + i * stride;
    return r;
}

static void pass_on(struct relay *r, struct slot *s, void *chunk, uint64_t n)
{
    for (unsigned i = 0; i < r->child_count; i++)
        r->team->carrier->send(&s->out[i], r->team->leaders, chunk, bytes_of(r, n), r->children[i]);
    s->sending = true;
}

static void wait_until_sent(struct relay *r, struct slot *s)
{
    for (unsigned i = 0; i < r->child_count && s->sending; i++)
        team_wait_chunk(r->team, &s->out[i]);
    s->sending = false;
}

/* The chunk that was laid down last may still be on its way from here: its memory is not taken yet. */
static void post(struct relay *r)
{
    while (r->memory && r->posted < r->limit && r->posted + 1 < r->next + RELAY_DEPTH) {
        struct slot *s = slot_of(r, r->posted);
        wait_until_sent(r, s);
        r->team->carrier->receive(&s->in, r->team->leaders, s->chunk, bytes_of(r, r->posted), r->parent);
        r->posted++;
    }
}

void relay_allow(struct relay *r, uint64_t limit)
{
    const uint64_t count = (r->total + r->chunk - 1) / r->chunk;

    r->limit = limit < count ? limit : count;
    post(r);
}

void relay_send(struct relay *r, void *chunk)
{
    pass_on(r, slot_of(r, r->next), chunk, r->next);
    r->next++;
}

unsigned relay_sent(struct relay *r, unsigned most)
{
    unsigned count = 0;

    for (; r->next - r->sent > most; count++)
        wait_until_sent(r, slot_of(r, r->sent++));
    return count;
}

const char *relay_receive(struct relay *r)
{
    struct slot *s = slot_of(r, r->next);

    team_wait_chunk(r->team, &s->in);
    pass_on(r, s, s->chunk, r->next);
    return s->chunk;
}

void relay_done(struct relay *r)
{
    r->next++;
    post(r);
}

/* Any call that asks for something drives all of it. What is done may be asked again. */
void relay_poke(struct relay *r)
{
    if (!r->memory && r->sent < r->next && r->child_count) {
        r->team->carrier->is_done(&slot_of(r, r->sent)->out[0]);
    } else if (r->memory && r->next + 1 < r->posted) {
        r->team->carrier->is_done(&slot_of(r, r->next + 1)->in);
    }
}

void relay_end(struct relay *r)
{
    if (!r)
        return;
    for (unsigned i = 0; i < RELAY_DEPTH; i++)
        wait_until_sent(r, &r->slots[i]);
    free(r->memory);
    free(r);
}
