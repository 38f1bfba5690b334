/* A process attaches itself: from its environment to a stage that it may serve from. Once, before main. Raw system
 * calls only; for the preloaded library and for the audit library, which may not share anything but the stage. */
#ifndef DLCACHE_ATTACH_H
#define DLCACHE_ATTACH_H

#include "stage.h"

struct settings {
    const char *stage;  /* DLCACHE_STAGE, or NULL */
    const char *record; /* DLCACHE_RECORD, or NULL */
    const char *manifest; /* DLCACHE_MANIFEST, or NULL */
    int log;            /* DLCACHE_LOG is set, and not to 0 */
    int stats;          /* DLCACHE_STATS is set, and not to 0 */
    int audit;          /* DLCACHE_AUDIT is not "off" */
    int part;           /* set by settings_read: what is served in part is served, too */
    long rank;          /* of MPI or Slurm; -1: none */
};

/* Reads the environment. DLCACHE_DISABLE=1 leaves everything unset. The texts stay the environment's. */
void settings_read(struct settings *set, char *const *envp);

/* The rank of MPI or Slurm; -1: none. */
long settings_rank(char *const *envp);

/* Opens the stage and looks whether this process sees the file system as the stage's node does (same mount name
 * space, same root). Where it does not, and a part will do, the stage's view becomes one of what is the same all the
 * same (mounts.h), in static storage: for one stage a process. 0, or -errno as stage_open; -EXDEV when nothing is the
 * same, or a part will not do. */
int attach(struct stage *s, const struct settings *set);

/* Takes a stage that is attached to already, in this process, in the stead of attaching: true where it is the one of
 * the settings, whole, and the process still sees what it saw. */
int attach_taken(struct stage *s, const struct stage *given, const struct settings *set);

/* What the kernel answers about this process's root and mount name space is what it answered when the process
 * attached to this state; of a state that it is not attached to: what it answered the stager. */
int attach_same_view(const struct dlc_state *state);

/* The number of the mount that the root directory of this process is in, and the directory's st_dev and st_ino. A number
 * that never comes again, of a mount that belongs to one mount name space: who has the same root in the same mount sees
 * the same files. 0: this kernel gives none (Linux before 6.8). */
uint64_t attach_root_mount(uint64_t *dev, uint64_t *ino);

/* The value of `name` in envp, or NULL. */
const char *env_value(char *const *envp, const char *name);

#endif
