/* The contents of a staging, from the reader through every leader into its mirror. */
#ifndef DLCACHE_CONTENTS_H
#define DLCACHE_CONTENTS_H

#include <stdbool.h>

#include "replayer/stage/job.h"

/* The reader's node is the only one, and what it reads are files: they are copied while the names are made. Contents
 * that have digests are to be compared with them: they pass through memory all the same. */
bool contents_are_direct(const struct job *j);

/* All leaders. What cannot be read is dropped from the image of all. */
void contents_lay_down(struct job *j, struct outcome *o);

#endif
