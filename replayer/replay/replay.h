/* Replaying a manifest: its operations again, from many processes at once, and how long each took. */
#ifndef DLCACHE_REPLAY_H
#define DLCACHE_REPLAY_H

#include <jansson.h>
#include <stdio.h>

#include "replayer/replay/plan.h"

/* What all processes together measured. */
struct replayed {
    uint32_t processes, rounds;
    long rank;                      /* of MPI or Slurm; -1: none */
    const char *stage;              /* NULL: natively, or as the command itself */
    double began, ended;            /* seconds since 1970, of the first start and the last end */
    uint64_t errors[REPLAY_ERRORS];
    char *first;                    /* an error, for a person: heap, or NULL */
    struct histogram times[REPLAY_KINDS];
    struct histogram all;
};

/* Starts the plan's processes, all at once: each does what it says in a copy of this process; or, where `argv` is not
 * NULL, in what execv(argv[0], argv) makes of it: replay_process has to be called there, after plan_map; its last word
 * is "FD:PROCESS". 0; or -1, and a message, where one could not be started or did not end as it should. */
int replay_run(struct plan *p, int fd, char **argv, char **error);

/* What became of it. */
void replay_sum(struct plan *p, struct replayed *r);

void replay_tell(const struct replayed *r, FILE *f);
json_t *replay_json(const struct replayed *r);

#endif
