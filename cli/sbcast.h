/* `dlcache stage --sbcast`. */
#ifndef DLCACHE_CLI_SBCAST_H
#define DLCACHE_CLI_SBCAST_H

#include <stdbool.h>
#include <stddef.h>

struct sbcast {
    const char *image, *places; /* A:B:C */
    const char *self;           /* the path of `dlcache` */
    bool check, verbose;
    size_t argc;                /* the stager and its options, the image not among them */
};

/* Sends the image to every node of the Slurm job whose script this process is in, and has it laid down there. Prints
 * the stage's directory. The exit status. */
int sbcast_stage(const struct sbcast *s, char *const *argv);

#endif
