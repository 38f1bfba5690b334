/* The program dlcache-stage, which `dlcache stage` becomes, or starts on every node: a staging under MPI, where there
 * is more than one rank, or nobody says how many. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "replayer/attach/locate.h"
#include "replayer/attach/probe.h"
#include "replayer/stage/job.h"

/* MPI, started; NULL where it cannot be loaded, which is said. Its own libraries want its symbols; most of theirs are
 * never called. */
static const struct carrier *start_mpi(void)
{
    char *library = locate(CARRIER_LIBRARY);
    void *handle = library ? dlopen(library, RTLD_LAZY | RTLD_GLOBAL) : NULL;
    const struct carrier *carrier = handle ? dlsym(handle, CARRIER_SYMBOL) : NULL;

    if (carrier)
        carrier->start();
    else
        fprintf(stderr, "dlcache: stage: %s\n",
                library ? dlerror() : CARRIER_LIBRARY " is not installed beside dlcache-stage");
    free(library);
    return carrier;
}

static int tell(const struct job *j, int status, const struct outcome *o)
{
    if (status) {
        fprintf(stderr, "dlcache: stage: %s\n", o->message);
        return status;
    }
    if (!j->place.executable_everywhere)
        fprintf(stderr, "dlcache: warning: %s is mounted noexec: shared objects are not served\n", j->place.parent);
    if (!j->o.copy)
        job_summary(j);
    puts(j->place.dir);
    return fflush(stdout) == 0 ? 0 : 1;
}

int main(int argc, char **argv)
{
    struct job j = {0};
    struct outcome o = {0};
    int status;

    if (argc == 2 && strcmp(argv[1], PROBE_ARGUMENT) == 0)
        return 0;
    status = options_parse(&j.o, argc, argv);
    if (status >= 0)
        return status;
    /* What reads a copy of its own needs nobody. */
    const bool alone = j.o.copy || team_is_alone(environ);
    /* What looks at the machine for MPI has plugins for displays and accelerators, with libraries of theirs. Now, as
     * long as there is one thread. */
    if (!alone)
        setenv("HWLOC_PLUGINS_PATH", "", 0);
    if (!alone && team_seems_first(environ))
        j.ahead = reading_begin(&j.o);
    const struct carrier *carrier = alone ? NULL : start_mpi();
    if (!alone && !carrier) {
        job_free(&j);
        return 1;
    }
    team_begin(&j.team, carrier);
    if (!alone && team_is_torn(j.team.size, &o)) {
        status = tell(&j, 2, &o);
    } else {
        status = job_stage(&j, &o);
        if (j.team.rank == 0)
            status = tell(&j, status, &o);
    }
    if (j.o.copy && reading_is_own(j.o.source))
        unlink(j.o.source);
    job_free(&j);
    team_end(&j.team);
    if (carrier)
        carrier->end();
    return status;
}
