/* Removing stages. */
#ifndef DLCACHE_REMOVE_H
#define DLCACHE_REMOVE_H

#include <stdint.h>

/* Removes the stage in the directory `dir`: only one that is called as a stage is, in a directory called dlcache-UID,
 * both the caller's own. It is renamed first, so that nobody finds half of one. Symlinks are not followed. 0 or -errno:
 * -ENOENT there is none; -EINVAL that is no stage; -EPERM not the caller's own. */
int stage_remove(const char *dir);

/* All stages of the caller's own below `place`/dlcache-UID, and what interrupted stagings left there; not what a
 * staging that goes on is laying down. The number removed, or -errno. */
int stage_remove_all(const char *place);

/* The stages below `place` whose job is over, and what interrupted stagings left there: the caller's own; all users' for
 * root. *untold: stages of which it cannot be told. The number removed, or -errno. */
int stage_remove_stale(const char *place, int *untold);

/* Bytes that the caller's stages in `parent` (a dlcache-UID directory) take, the one called `name` not counted. While
 * with `bytes` more they would be over `most`, stages of no job that no process uses are removed. */
uint64_t stage_make_room(const char *parent, const char *name, uint64_t bytes, uint64_t most);

/* What interrupted stagings and removals left in `parent` (a dlcache-UID directory): names with a leading dot that
 * nobody holds a flock(2) on. The number removed, or -errno. */
int stage_sweep(const char *parent);

/* Removes the tree `name` below the directory dirfd, whatever modes its directories have. 0 or -errno. */
int tree_remove(int dirfd, const char *name);

#endif
