/* Staging inside the program itself. */
#ifndef DLCACHE_SHIM_ONESTEP_H
#define DLCACHE_SHIM_ONESTEP_H

#include "libdlcache/attach.h"

/* DLCACHE_MANIFEST is set, and DLCACHE_STAGE is not: the stage's directory, which is from now on in the environment; NULL
 * where the program goes on as it is. From the constructor; touches errno. */
const char *onestep(const struct settings *set, char **envp);

#endif
