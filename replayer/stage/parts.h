/* What goes to every node beside the image: the launcher and the two libraries. Read once, by rank 0. */
#ifndef DLCACHE_PARTS_H
#define DLCACHE_PARTS_H

#include <stdbool.h>
#include <stdint.h>

#include "replayer/stage/place.h"

/* Rank 0. */
void parts_read(struct outcome *o);
/* Their sizes, in bytes; rank 0. */
#define PARTS 3u
void parts_sizes(uint64_t sizes[PARTS]);
/* All of them, one behind the other: of rank 0; for the other leaders. */
void parts_put(char *to);
void parts_take(const uint64_t sizes[PARTS], const char *from);
/* Bytes that they take in a file system with pages of 4 KiB. */
uint64_t parts_bytes(void);
/* The stage that is at `dir` has the same ones. */
bool parts_are_in(const char *dir);
/* Writes them into the stage that is being laid down; `all`, or the launcher alone. */
void parts_lay_down(const struct place *p, bool all, struct outcome *o);
void parts_free(void);

#endif
