/* Where on a node a stage is laid down. */
#ifndef DLCACHE_PLACE_H
#define DLCACHE_PLACE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "replayer/attach/about.h"
#include "replayer/stage/team.h"

struct place {
    char parent[400];      /* PLACE/dlcache-UID, the same on every node */
    char dir[480];         /* the stage's directory, once it has its name */
    char temporary[480];   /* what is laid down now; empty: nothing */
    int lock;              /* on the temporary directory: a descriptor, valid while there is one */
    dev_t dev;
    bool executable;       /* code may be mapped from there */
    bool executable_everywhere;
    struct about about;    /* whose job it is, and in the end what it takes */
};

/* All ranks of the team, before team_form: takes the first of the places in A:B:C (64 at most) that every rank can
 * use under the same path. One that forbids mapping code anywhere is taken only where there is no other. Makes
 * PLACE/dlcache-UID in each. */
void place_choose(struct place *p, const struct team *t, const char *places, struct outcome *o);

/* Removes what interrupted stagings left there; never what somebody is laying down. */
void place_sweep(const struct place *p);

/* Bytes that come before the original's path in the mirror while it is laid down (never fewer than later). */
size_t place_root_length(const struct place *p);

/* The name of the stage: the id of the job that p->about names, if it does, and the digest. */
void place_name(struct place *p, const uint8_t digest[16]);

/* Is there room for that many bytes and files: in the file system, in this process's control group, and below
 * `max_bytes` together with the user's other stages there (0: no such limit)? Stages that were asked to stay, and that
 * nobody uses, give way to it, the one that was staged longest ago first. Sets p->about.bytes. */
void place_check_space(struct place *p, uint64_t bytes, uint64_t files, uint64_t max_bytes, struct outcome *o);

/* The stage that is there was wanted again. */
void place_touch(const struct place *p);

/* Makes the temporary directory, and locks it: nobody sweeps it while this process lives. */
void place_begin(struct place *p, struct outcome *o);
/* Writes a file into it: "index", "run", "lib/…". */
void place_file(const struct place *p, const char *name, const void *data, uint64_t bytes, mode_t mode,
                struct outcome *o);
/* Gives it its name; what had it before is removed. */
void place_commit(struct place *p, struct outcome *o);
/* Takes back what place_commit did: another node could not do it. */
void place_withdraw(struct place *p);
/* Removes the temporary directory, if there is one, and the directory above it, if that is empty then. */
void place_abandon(struct place *p);

#endif
