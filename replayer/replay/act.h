/* One process of a replay. */
#ifndef DLCACHE_ACT_H
#define DLCACHE_ACT_H

#include "replayer/replay/plan.h"

/* Waits for all others, does every operation of the plan as fast as it can, and leaves in its slot what it measured. */
void replay_process(struct plan *p, uint32_t process);

#endif
