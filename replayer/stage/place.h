/* Where on a node a stage is laid down. */
#ifndef DLCACHE_PLACE_H
#define DLCACHE_PLACE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "replayer/stage/team.h"

struct place {
    char parent[400];    /* PLACE/dlcache-UID */
    char dir[480];       /* the stage's directory, once it has its name */
    char temporary[480]; /* what is laid down now; empty: nothing */
    dev_t dev;
    bool executable;     /* code may be mapped from there */
};

/* Takes the first usable of the places in A:B:C; makes PLACE/dlcache-UID there. One that forbids mapping code is taken
 * only where there is no other. */
void place_choose(struct place *p, const char *places, struct outcome *o);

/* The name of the stage: the job's id, if there is one, and the digest. */
void place_name(struct place *p, const uint8_t digest[16]);

/* Is there room for that many bytes and files? */
void place_check_space(const struct place *p, uint64_t bytes, uint64_t files, struct outcome *o);

/* Makes the temporary directory. */
void place_begin(struct place *p, struct outcome *o);
/* Gives it its name; what had it before is removed. */
void place_commit(struct place *p, struct outcome *o);
/* Takes back what place_commit did: another node could not do it. */
void place_withdraw(struct place *p);
/* Removes the temporary directory, if there is one. */
void place_abandon(struct place *p);

#endif
