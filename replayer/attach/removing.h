/* The steps of removing stages, for remove.c and stale.c: each from a descriptor of the directory, and never through a
 * symlink. */
#ifndef DLCACHE_REMOVING_H
#define DLCACHE_REMOVING_H

#include <sys/types.h>

/* The directory of all stages of `uid`: a descriptor, or -errno; -EPERM where it is not his, or open to others. */
int removing_open_parent(const char *parent, uid_t uid);
/* 0 where it has a stage's parts: whole or not. -ENOENT, -EINVAL, -EPERM (not uid's). */
int removing_looks_like_stage(int parent, const char *name, uid_t uid);
/* A name with a leading dot: -EBUSY where somebody is at work on it. */
int removing_leftover(int parent, const char *name);
/* Renamed first, so that nobody finds half of it. */
int removing_stage(int parent, const char *name);
/* The directory itself, where nothing is left in it. */
void removing_parent(const char *parent);

#endif
