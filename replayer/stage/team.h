/* The ranks of a staging: who reads, who lays down, who waits; agreeing; and broadcasts of any size.
 *
 * * MPI calls of the main thread alone, and none where there is one rank: MPICH 4.0 cannot, in a session. Whoever
 * waits does so without burning a processor: MPICH spins, and there may be more ranks than cores. */
#ifndef DLCACHE_TEAM_H
#define DLCACHE_TEAM_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "replayer/stage/carrier.h"

struct team {
    const struct carrier *carrier; /* NULL: one rank, alone */
    int rank, size;   /* rank 0 reads */
    bool leader;      /* lays down on its node: the lowest rank there */
    int here;         /* ranks on this node */
    int nodes;        /* number of leaders */
    bool several_hosts; /* by their names: for messages */
    enum carrier_ranks leaders; /* who these are to the carrier, rank 0 first */
    char host[64];
};

#define TEAM_MESSAGE 1024

/* What one rank has to say about a step that failed; all zero: nothing. */
struct outcome {
    int failed;
    char message[TEAM_MESSAGE];
};

__attribute__((format(printf, 2, 3))) void outcome_fail(struct outcome *o, const char *format, ...);

/* MPI has `size` ranks: true, and *o says so, where that is one, and the environment has several tasks. */
bool team_is_torn(int size, struct outcome *o);

/* The launcher has started this process alone, and says so in its environment. Where it says nothing only MPI knows. */
bool team_is_alone(char *const *envp);

/* It says that this process is rank 0 of several. MPI may see it otherwise. */
bool team_seems_first(char *const *envp);

/* Of all ranks that the carrier has; NULL: of this one. From now on an error of MPI is told, team_broken is called,
 * and all of them end with status 1. */
void team_begin(struct team *t, const struct carrier *carrier);

/* All ranks: in each of the `count` masks the bits that everybody has set there. */
void team_common(const struct team *t, uint64_t *masks, int count);
/* The same: rank 0's bytes for everybody. */
void team_from_first(const struct team *t, void *buf, int bytes);

/* Ranks with the same boot id and the same `dev` (of the stage's place) are one node. */
void team_form(struct team *t, dev_t dev);

/* Gives back what team_form took. */
void team_end(struct team *t);

/* All ranks, after a step: true where nobody failed. Otherwise everybody has the outcome of the lowest rank that did,
 * with its host. */
bool team_agree(const struct team *t, struct outcome *o);

/* The leaders, from rank 0. */
void team_broadcast(const struct team *t, void *buf, uint64_t bytes);
/* Until what was begun is done: with short naps, for there are many such waits. */
void team_wait_chunk(const struct team *t, struct carried *c);

/* Of all leaders, who all call it: the least value; the sum. */
int team_least(const struct team *t, int value);
int team_sum(const struct team *t, int value);

/* Set by SIGTERM, SIGINT, SIGHUP: what waits or works for long calls team_look, which then calls team_interrupted,
 * which ends the process. Atomic: the signal may come to a thread of the MPI library's. */
extern int team_signal;
extern void (*team_interrupted)(int signal);
/* What is to be cleaned up before an error of MPI, or the time, ends the process; NULL: nothing. */
extern void (*team_broken)(void);

static inline void team_look(void)
{
    const int number = __atomic_load_n(&team_signal, __ATOMIC_RELAXED);

    if (__builtin_expect(number && team_interrupted, 0))
        team_interrupted(number);
}

#endif
