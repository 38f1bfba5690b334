/* What `stage` and `unstage` share: being started once on every node of a job. */
#ifndef DLCACHE_CLI_START_H
#define DLCACHE_CLI_START_H

#include <stdbool.h>

struct start_options {
    const char *hosts;   /* a file of hosts, or NULL */
    const char *mpiexec; /* or NULL */
    bool verbose;        /* tell the command on standard error */
};

/* Where the program `argv` is to run on every node of this job, and this is no rank: becomes the launcher that does
 * that. Returns -1 where it is to run here, else (told on standard error) an exit status. */
int start_everywhere(const char *verb, const struct start_options *o, char *const *argv);

#endif
