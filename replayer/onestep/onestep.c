/* libdlcache-onestep.so: the ranks of a job stage inside themselves, before their main, and go on as the program.
 *
 * They meet over a session of MPI (MPI-4), which stays open until exit: the program's own MPI_Init works beside it, but
 * not after it. Every rank must come, and live until all have their stage. Where one does not, the others cannot be told,
 * for MPI has no way out of waiting: after a time they say so, and end. Whatever else fails leaves the program as it is,
 * in all ranks.
 *
 * The stage goes when its ranks do, if they end as a program should; otherwise `dlcache unstage --stale` removes it. */
#include "libdlcache/onestep.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <mpi.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "replayer/attach/locate.h"
#include "replayer/attach/remove.h"
#include "replayer/stage/job.h"
#include "replayer/stage/mpi.h"

#define LATER 5   /* seconds that the other ranks leave the first for saying it */
#define TELLERS 8 /* ranks that say it: the first may be the one that is missing */

onestep_entry dlcache_onestep __attribute__((visibility("default")));

/* From the meeting to the exit. */
static struct {
    pid_t pid; /* the process that is the rank: a child of it is none. 0: there is no session */
    MPI_Session session;
    MPI_Comm world;
    int finalize;
    void (*detach)(void);
    char dir[sizeof ((struct onestep *)0)->dir]; /* the stage */
    int *ranks; /* of the node that have not ended yet: shared by them. NULL: the stage stays when they have */
} joined;

/* --- meeting ----------------------------------------------------------------------------------------------------- */

struct watch {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool over;
    struct timespec until;
    const struct onestep *o;
};

static void *watch(void *arg)
{
    struct watch *w = arg;
    int rc = 0;

    pthread_mutex_lock(&w->lock);
    while (!w->over && rc == 0)
        rc = pthread_cond_clockwait(&w->changed, &w->lock, CLOCK_MONOTONIC, &w->until);
    if (!w->over) {
        if (w->o->rank < TELLERS)
            fprintf(stderr, "dlcache: one step: after %ld s (DLCACHE_WAIT) not every rank has come and has its stage: each "
                    "must start the program of the manifest. The job ends; without DLCACHE_MANIFEST it runs natively\n",
                    w->o->wait);
        if (team_broken)
            team_broken();
        _exit(1);
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

/* Its thread has no signals: they are the program's. */
static bool watch_start(struct watch *w, const struct onestep *o)
{
    sigset_t all, before;

    *w = (struct watch){.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER, .o = o};
    clock_gettime(CLOCK_MONOTONIC, &w->until);
    w->until.tv_sec += o->wait + (o->rank > 0 ? LATER : 0);
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    const bool started = pthread_create(&w->thread, NULL, watch, w) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return started;
}

static void watch_end(struct watch *w)
{
    pthread_mutex_lock(&w->lock);
    w->over = true;
    pthread_cond_signal(&w->changed);
    pthread_mutex_unlock(&w->lock);
    pthread_join(w->thread, NULL);
}

/* A program that is linked with another MPI has brought it already, and our calls have gone there. This one has the same
 * form in each of them, and is allowed before everything else. */
static bool is_another_mpi(void)
{
    char text[MPI_MAX_LIBRARY_VERSION_STRING * 4] = "";
    int length;
#ifdef OPEN_MPI
    const bool open = true;
#else
    const bool open = false;
#endif

    MPI_Get_library_version(text, &length);
    return (strstr(text, "Open MPI") != NULL) != open;
}

static const char *meet(void)
{
    MPI_Group all;

    if (MPI_Session_init(MPI_INFO_NULL, MPI_ERRORS_RETURN, &joined.session) != MPI_SUCCESS)
        return "MPI has no session to give";
    joined.pid = getpid();
    joined.world = MPI_COMM_NULL;
    if (MPI_Group_from_session_pset(joined.session, "mpi://WORLD", &all) != MPI_SUCCESS)
        return "MPI does not say which ranks there are";
    const int rc = MPI_Comm_create_from_group(all, "dlcache", MPI_INFO_NULL, MPI_ERRORS_RETURN, &joined.world);
    MPI_Group_free(&all);
    return rc == MPI_SUCCESS ? NULL : "MPI cannot bring the ranks together";
}

/* --- staging ----------------------------------------------------------------------------------------------------- */

#define RANKS "/ranks" /* a file of the stage */

static int *map_ranks(int flags)
{
    char path[sizeof joined.dir + sizeof RANKS];
    void *p = MAP_FAILED;

    strcat(strcpy(path, joined.dir), RANKS);
    const int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | flags, 0600);
    if (fd >= 0 && (!(flags & O_CREAT) || ftruncate(fd, sizeof(int)) == 0))
        p = mmap(NULL, sizeof(int), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (fd >= 0)
        close(fd);
    return p == MAP_FAILED ? NULL : p;
}

/* All ranks. Where a stage was there before, on any node, they are not theirs to remove. */
static void count_ranks(const struct job *j)
{
    if (j->committed && (joined.ranks = map_ranks(O_CREAT | O_EXCL)))
        *joined.ranks = j->team.here;
    uint64_t all_have = !j->team.leader || joined.ranks;
    team_common(&j->team, &all_have, 1);
    if (!all_have)
        joined.ranks = NULL;
    else if (!j->team.leader)
        joined.ranks = map_ranks(0);
}

static void stage(struct onestep *o, struct outcome *why)
{
    struct job j = {.o = {.places = o->places ? o->places : "/dev/shm", .source = o->manifest, .check = true}};

    carrier_use(joined.world);
    team_begin(&j.team, &dlcache_carrier);
    if (!team_is_torn(j.team.size, why) && job_stage(&j, why) == 0) {
        snprintf(o->dir, sizeof o->dir, "%s", j.place.dir); /* the leaders know it */
        team_from_first(&j.team, o->dir, sizeof o->dir);
        memcpy(joined.dir, o->dir, sizeof joined.dir);
        count_ranks(&j);
        if (o->log && j.team.rank == 0)
            job_summary(&j);
    }
    job_free(&j);
    team_end(&j.team);
    MPI_Comm_set_errhandler(joined.world, MPI_ERRORS_RETURN);
}

static int join(struct onestep *o)
{
    struct outcome why = {0};
    struct watch w;

    if (is_another_mpi())
        outcome_fail(&why, "the program is linked with another MPI than dlcache");
    else if (!watch_start(&w, o))
        outcome_fail(&why, "no thread can be started");
    if (!why.failed) {
        const char *text = meet();
        if (text)
            outcome_fail(&why, "%s", text);
        else
            stage(o, &why);
        watch_end(&w);
    }
    if (why.failed && o->rank <= 0)
        fprintf(stderr, "dlcache: one step: %s; the program goes on natively\n", why.message);
    return why.failed ? -1 : 0;
}

int dlcache_onestep(struct onestep *o)
{
    Dl_info here;

    if (dladdr(joined.dir, &here))
        locate_from(here.dli_fname);
    joined.detach = o->detach;
    joined.finalize = o->finalize;
    const int rc = join(o);
    o->signal = __atomic_load_n(&team_signal, __ATOMIC_RELAXED);
    return rc;
}

/* --- leaving ----------------------------------------------------------------------------------------------------- */

/* MPI waits for the others itself, but not asleep. */
static void finalize(void)
{
    struct team all = {.carrier = &dlcache_carrier, .size = 1};
    struct outcome none = {0};

    if (joined.world != MPI_COMM_NULL) {
        MPI_Comm_size(joined.world, &all.size);
        team_agree(&all, &none);
        MPI_Comm_free(&joined.world);
    }
    MPI_Session_finalize(&joined.session);
}

/* The last rank of a node takes the stage away. One that was killed is missed, and the stage stays.
 *
 * The session is ended only for a launcher that would have it so: it takes all ranks, and another launcher may have let
 * one of them die. A program that has called MPI_Init, and ends without MPI_Finalize, is the launcher's to judge, as
 * ever. */
static __attribute__((destructor)) void leave(void)
{
    int initialized = 0, finalized = 0;

    if (!joined.pid || joined.pid != getpid())
        return;
    if (joined.ranks && __atomic_sub_fetch(joined.ranks, 1, __ATOMIC_ACQ_REL) == 0) {
        joined.detach();
        stage_remove(joined.dir);
    }
    MPI_Initialized(&initialized);
    MPI_Finalized(&finalized);
    if (joined.finalize && initialized == finalized)
        finalize();
}
