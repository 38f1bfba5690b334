/* The program dlcache-stage, which `dlcache stage` becomes, or starts on every node: a staging under MPI. */
#include <mpi.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "replayer/attach/probe.h"
#include "replayer/stage/job.h"

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
    int provided, status;

    if (argc == 2 && strcmp(argv[1], PROBE_ARGUMENT) == 0)
        return 0;
    status = options_parse(&j.o, argc, argv);
    if (status >= 0)
        return status;
    MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &provided);
    team_begin(&j.team, MPI_COMM_WORLD);
    if (!j.o.copy && team_is_torn(j.team.size, &o)) {
        status = tell(&j, 2, &o);
    } else {
        status = job_stage(&j, &o);
        if (j.team.rank == 0)
            status = tell(&j, status, &o);
    }
    if (j.o.copy && job_is_own(j.o.source))
        unlink(j.o.source);
    job_free(&j);
    team_end(&j.team);
    MPI_Finalize();
    return status;
}
