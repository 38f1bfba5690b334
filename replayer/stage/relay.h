/* A stream of chunks from rank 0 to all leaders, through a binary tree: who has a chunk passes it on to two others, while
 * it lays it down, and while the next ones come. A broadcast of MPI's takes for each chunk of this size as many steps as
 * there are nodes (MPICH: scatter, and a ring); this takes two more for each doubling of their number.
 *
 * Several nodes; calls of the main thread alone, by all leaders. */
#ifndef DLCACHE_RELAY_H
#define DLCACHE_RELAY_H

#include <stdint.h>

#include "replayer/stage/team.h"

/* Chunks that a rank has in memory, or has sent and its children have not got yet. */
#define RELAY_DEPTH 4u

struct relay;

/* `total` bytes in chunks of `chunk`, each with the digest behind it. */
struct relay *relay_start(const struct team *t, uint64_t total, uint64_t chunk);

/* All: the chunks below `limit` will be sent. More than that nobody waits for. */
void relay_allow(struct relay *r, uint64_t limit);

/* Rank 0: the next chunk, whose memory stays as it is until relay_sent has counted it. */
void relay_send(struct relay *r, void *chunk);
/* Rank 0, before the next relay_send: how many chunks have arrived since the last call, first come first. Waits until at
 * most so many are on their way, which are less than RELAY_DEPTH. */
unsigned relay_sent(struct relay *r, unsigned most);

/* The others: waits for the next chunk, and passes it on. It is there until relay_done. */
const char *relay_receive(struct relay *r);
/* It is not needed any more. */
void relay_done(struct relay *r);

/* Something else takes its time: chunks come and go all the same. */
void relay_poke(struct relay *r);

/* Waits until all that were sent have arrived. Everything that was allowed has been received. NULL: nothing. */
void relay_end(struct relay *r);

#endif
