#include "replayer/stage/team.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "facts/memory.h"

int team_signal;
void (*team_interrupted)(int signal);
void (*team_broken)(void);

void outcome_fail(struct outcome *o, const char *format, ...)
{
    va_list ap;

    if (o->failed)
        return; /* the first is the cause */
    o->failed = 1;
    va_start(ap, format);
    vsnprintf(o->message, sizeof o->message, format, ap);
    va_end(ap);
}

bool team_is_torn(int size, struct outcome *o)
{
    static const struct {
        const char *variable, *advice;
    } hints[] = {
        {"SLURM_STEP_NUM_TASKS", "under srun, give the option --mpi that fits this MPI (srun --mpi=pmi2 for MPICH)"},
        {"OMPI_COMM_WORLD_SIZE", "it was started by Open MPI's mpiexec, and is linked with another MPI"},
        {"PMI_SIZE", "it was started by the mpiexec of another MPI"},
    };

    if (size > 1)
        return false;
    for (size_t i = 0; i < sizeof hints / sizeof *hints; i++) {
        const char *n = getenv(hints[i].variable);
        if (n && atoi(n) > 1) {
            outcome_fail(o, "this is one of %d tasks, but MPI takes it for the only one: %s", atoi(n), hints[i].advice);
            return true;
        }
    }
    return false;
}

/* `longest`: of a nap, nanoseconds. */
static void wait_napping(MPI_Request *request, long longest)
{
    /* Short naps first: most waits are for a chunk that is on its way. */
    long nap = 20000;
    int done = 0;

    for (int i = 0; i < 2000 && !done; i++)
        MPI_Test(request, &done, MPI_STATUS_IGNORE);
    while (!done) {
        team_look();
        nanosleep(&(struct timespec){0, nap}, NULL);
        if (nap < longest)
            nap += nap / 8;
        MPI_Test(request, &done, MPI_STATUS_IGNORE);
    }
}

void team_wait(MPI_Request *request)
{
    wait_napping(request, 5000000);
}

void team_wait_chunk(MPI_Request *request)
{
    wait_napping(request, 200000);
}

/* What was said is in a pipe to mpiexec, which stops forwarding when a rank aborts: it is to be read first. A second at
 * most; what is no pipe needs no waiting. */
static void wait_until_read(int fd)
{
    int unread = 0;

    for (int i = 0; i < 1000 && ioctl(fd, FIONREAD, &unread) == 0 && unread > 0; i++)
        nanosleep(&(struct timespec){0, 1000000}, NULL);
}

/* The others wait for this rank: they have to be told. */
static void on_error(MPI_Comm *comm, int *code, ...)
{
    char text[MPI_MAX_ERROR_STRING] = "";
    int len = 0;

    MPI_Error_string(*code, text, &len);
    fprintf(stderr, "dlcache: stage: MPI: %.*s\n", (int)strcspn(text, "\n"), text);
    if (team_broken)
        team_broken();
    wait_until_read(STDERR_FILENO);
    MPI_Abort(*comm, 1);
    _exit(1);
}

void team_begin(struct team *t, MPI_Comm world)
{
    MPI_Errhandler handler;

    *t = (struct team){.world = world, .leaders = MPI_COMM_NULL};
    MPI_Comm_rank(world, &t->rank);
    MPI_Comm_size(world, &t->size);
    gethostname(t->host, sizeof t->host - 1);
    /* The communicator of the leaders inherits it. */
    MPI_Comm_create_errhandler(on_error, &handler);
    MPI_Comm_set_errhandler(world, handler);
    MPI_Errhandler_free(&handler);
}

uint64_t team_common(const struct team *t, uint64_t mask)
{
    uint64_t common = mask;
    MPI_Request request;

    if (t->size > 1) {
        MPI_Iallreduce(&mask, &common, 1, MPI_UINT64_T, MPI_BAND, t->world, &request);
        team_wait(&request);
    }
    return common;
}

void team_from_first(const struct team *t, void *buf, int bytes)
{
    MPI_Request request;

    if (t->size > 1) {
        MPI_Ibcast(buf, bytes, MPI_BYTE, 0, t->world, &request);
        team_wait(&request);
    }
}

struct node_key {
    char boot[40];
    uint64_t dev;
};

/* What a rank tells the others. */
struct card {
    struct node_key key;
    char host[sizeof ((struct team *)0)->host];
};

static void read_boot_id(char boot[40])
{
    FILE *f = fopen("/proc/sys/kernel/random/boot_id", "re");

    memset(boot, 0, 40);
    if (!f || !fgets(boot, 40, f))
        gethostname(boot, 39);
    if (f)
        fclose(f);
}

void team_form(struct team *t, dev_t dev)
{
    struct card card = {.key.dev = dev};
    MPI_Request request;

    read_boot_id(card.key.boot);
    memcpy(card.host, t->host, sizeof card.host);
    struct card *cards = memory_new((size_t)t->size, sizeof *cards);
    if (t->size > 1) {
        MPI_Iallgather(&card, sizeof card, MPI_BYTE, cards, sizeof card, MPI_BYTE, t->world, &request);
        team_wait(&request);
    } else {
        cards[0] = card;
    }
    int first = 0;
    while (memcmp(&cards[first].key, &card.key, sizeof card.key) != 0)
        first++;
    t->leader = first == t->rank;
    for (int i = 0; i < t->size; i++) {
        t->here += memcmp(&cards[i].key, &card.key, sizeof card.key) == 0;
        t->several_hosts |= strcmp(cards[i].host, t->host) != 0;
    }
    free(cards);
    t->nodes = 1;
    if (t->size > 1) {
        MPI_Comm_split(t->world, t->leader ? 0 : MPI_UNDEFINED, t->rank, &t->leaders);
        int mine = t->leader;
        MPI_Allreduce(&mine, &t->nodes, 1, MPI_INT, MPI_SUM, t->world);
    }
}

void team_end(struct team *t)
{
    if (t->leaders != MPI_COMM_NULL)
        MPI_Comm_free(&t->leaders);
}

bool team_agree(const struct team *t, struct outcome *o)
{
    int mine = o->failed ? t->rank : t->size, lowest;
    MPI_Request request;

    if (t->size == 1)
        return !o->failed;
    MPI_Iallreduce(&mine, &lowest, 1, MPI_INT, MPI_MIN, t->world, &request);
    team_wait(&request);
    if (lowest == t->size)
        return true;
    if (t->rank == lowest && (t->nodes > 1 || t->several_hosts)) {
        const size_t n = strlen(o->message);
        snprintf(o->message + n, sizeof o->message - n, " (on %s)", t->host);
    }
    MPI_Ibcast(o->message, TEAM_MESSAGE, MPI_CHAR, lowest, t->world, &request);
    team_wait(&request);
    o->failed = 1;
    return false;
}

MPI_Request team_broadcast_begin(const struct team *t, void *buf, uint64_t bytes)
{
    MPI_Request request = MPI_REQUEST_NULL;

    if (t->nodes > 1)
        MPI_Ibcast(buf, (int)bytes, MPI_BYTE, 0, t->leaders, &request);
    return request;
}

void team_broadcast(const struct team *t, void *buf, uint64_t bytes)
{
    const uint64_t most = 64 << 20;
    char *p = buf;

    for (uint64_t n; bytes; p += n, bytes -= n) {
        n = bytes < most ? bytes : most;
        MPI_Request request = team_broadcast_begin(t, p, n);
        team_wait(&request);
    }
}

static int reduce(const struct team *t, int value, MPI_Op op)
{
    int result = value;
    MPI_Request request;

    if (t->nodes > 1) {
        MPI_Iallreduce(&value, &result, 1, MPI_INT, op, t->leaders, &request);
        team_wait(&request);
    }
    return result;
}

int team_least(const struct team *t, int value)
{
    return reduce(t, value, MPI_MIN);
}

int team_sum(const struct team *t, int value)
{
    return reduce(t, value, MPI_SUM);
}
