/* What goes to every node beside the image: the launcher and the two libraries. Read once, by rank 0. */
#ifndef DLCACHE_PARTS_H
#define DLCACHE_PARTS_H

#include <stdbool.h>
#include <stdint.h>

#include "replayer/stage/place.h"
#include "replayer/stage/team.h"

/* Rank 0. */
void parts_read(struct outcome *o);
/* The leaders. */
void parts_share(const struct team *t);
/* Bytes that they take in a file system with pages of 4 KiB. */
uint64_t parts_bytes(void);
/* The stage that is at `dir` has the same ones. */
bool parts_are_in(const char *dir);
/* Writes them into the stage that is being laid down; `all`, or the launcher alone. */
void parts_lay_down(const struct place *p, bool all, struct outcome *o);
void parts_free(void);

#endif
