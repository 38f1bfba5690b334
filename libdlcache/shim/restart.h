/* Executing the program once more, attached: for those that LD_PRELOAD alone brought us into. */
#ifndef DLCACHE_RESTART_H
#define DLCACHE_RESTART_H

#include "libdlcache/attach.h"
#include "shim.h"

/* Comes back where the program is to go on as it is. From the constructor, attached to s, before anything else that
 * could be noticed was done; touches errno. */
void restart(const struct stage *s, const struct settings *set, int argc, char **argv, char **envp);

#endif
