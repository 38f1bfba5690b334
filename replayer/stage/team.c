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
#include "libdlcache/attach.h"

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
        {"FLUX_JOB_SIZE", "under flux run, give the option -o pmi= that fits this MPI (-o pmi=simple for MPICH)"},
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

bool team_is_alone(char *const *envp)
{
    static const char *const sizes[] = {"PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS", "FLUX_JOB_SIZE"};
    bool one = false;

    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        const char *n = env_value(envp, sizes[i]);
        if (n && strcmp(n, "1") != 0)
            return false;
        one |= n != NULL;
    }
    /* PMIx is asked for the number; only Open MPI's launcher tells it, too. */
    return one && (!env_value(envp, "PMIX_RANK") || env_value(envp, "OMPI_COMM_WORLD_SIZE"));
}

bool team_seems_first(char *const *envp)
{
    static const char *const ranks[] = {"PMI_RANK", "OMPI_COMM_WORLD_RANK", "PMIX_RANK"};

    for (size_t i = 0; i < sizeof ranks / sizeof *ranks; i++) {
        const char *rank = env_value(envp, ranks[i]);
        if (rank)
            return strcmp(rank, "0") == 0;
    }
    return false;
}

/* Until it is done. `longest`: of a nap, nanoseconds. */
static void wait_napping(const struct team *t, struct carried *c, long longest)
{
    /* Short naps first: most waits are for a chunk that is on its way. */
    long nap = 20000;
    bool done = false;

    for (int i = 0; i < 2000 && !done; i++)
        done = t->carrier->is_done(c);
    while (!done) {
        team_look();
        nanosleep(&(struct timespec){0, nap}, NULL);
        if (nap < longest)
            nap += nap / 8;
        done = t->carrier->is_done(c);
    }
}

static void wait_for(const struct team *t, struct carried *c)
{
    wait_napping(t, c, 1000000);
}

void team_wait_chunk(const struct team *t, struct carried *c)
{
    wait_napping(t, c, 200000);
}

/* What was said is in a pipe to mpiexec, which stops forwarding when a rank aborts: it is to be read first. A second at
 * most; what is no pipe needs no waiting. */
static void wait_until_read(int fd)
{
    int unread = 0;

    for (int i = 0; i < 1000 && ioctl(fd, FIONREAD, &unread) == 0 && unread > 0; i++)
        nanosleep(&(struct timespec){0, 1000000}, NULL);
}

static const struct carrier *in_use; /* for an error */

/* The others wait for this rank: they have to be told. */
static void on_error(const char *text)
{
    fprintf(stderr, "dlcache: stage: MPI: %s\n", text);
    if (team_broken)
        team_broken();
    wait_until_read(STDERR_FILENO);
    in_use->abort();
    _exit(1);
}

void team_begin(struct team *t, const struct carrier *carrier)
{
    *t = (struct team){.carrier = carrier, .size = 1, .leaders = CARRIER_ALL};
    gethostname(t->host, sizeof t->host - 1);
    in_use = carrier;
    if (carrier)
        carrier->begin(on_error, &t->rank, &t->size);
}

void team_common(const struct team *t, uint64_t *masks, int count)
{
    struct carried c;

    if (t->size == 1)
        return;
    uint64_t *mine = memory_new((size_t)count, sizeof *mine);
    memcpy(mine, masks, (size_t)count * sizeof *mine);
    t->carrier->reduce(&c, CARRIER_ALL, mine, masks, count, CARRIER_COMMON);
    wait_for(t, &c);
    free(mine);
}

void team_from_first(const struct team *t, void *buf, int bytes)
{
    struct carried c;

    if (t->size > 1) {
        t->carrier->broadcast(&c, CARRIER_ALL, buf, bytes, 0);
        wait_for(t, &c);
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

static int by_key(const void *a, const void *b)
{
    return memcmp(&((const struct card *)a)->key, &((const struct card *)b)->key, sizeof(struct node_key));
}

/* How many nodes there are; sorts the cards. */
static int count_nodes(struct card *cards, int size)
{
    int nodes = 1;

    qsort(cards, (size_t)size, sizeof *cards, by_key);
    for (int i = 1; i < size; i++)
        nodes += by_key(&cards[i - 1], &cards[i]) != 0;
    return nodes;
}

void team_form(struct team *t, dev_t dev)
{
    struct card card = {.key.dev = dev};
    struct carried c;
    int first = 0;

    read_boot_id(card.key.boot);
    memcpy(card.host, t->host, sizeof card.host);
    struct card *cards = memory_new((size_t)t->size, sizeof *cards);
    if (t->size > 1) {
        t->carrier->gather(&c, &card, cards, sizeof card);
        wait_for(t, &c);
    } else {
        cards[0] = card;
    }
    while (by_key(&cards[first], &card) != 0)
        first++;
    t->leader = first == t->rank;
    for (int i = 0; i < t->size; i++) {
        t->here += by_key(&cards[i], &card) == 0;
        t->several_hosts |= strcmp(cards[i].host, t->host) != 0;
    }
    t->nodes = count_nodes(cards, t->size);
    free(cards);
    /* One rank on each node: there is nobody else. */
    if (t->nodes < t->size) {
        t->carrier->make_leaders(t->leader);
        t->leaders = CARRIER_LEADERS;
    }
}

void team_end(struct team *t)
{
    if (t->leaders == CARRIER_LEADERS)
        t->carrier->free_leaders();
    t->leaders = CARRIER_ALL;
}

bool team_agree(const struct team *t, struct outcome *o)
{
    int mine = o->failed ? t->rank : t->size, lowest;
    struct carried c;

    if (t->size == 1)
        return !o->failed;
    t->carrier->reduce(&c, CARRIER_ALL, &mine, &lowest, 1, CARRIER_LEAST);
    wait_for(t, &c);
    if (lowest == t->size)
        return true;
    if (t->rank == lowest && (t->nodes > 1 || t->several_hosts)) {
        const size_t n = strlen(o->message);
        snprintf(o->message + n, sizeof o->message - n, " (on %s)", t->host);
    }
    t->carrier->broadcast(&c, CARRIER_ALL, o->message, TEAM_MESSAGE, lowest);
    wait_for(t, &c);
    o->failed = 1;
    return false;
}

void team_broadcast(const struct team *t, void *buf, uint64_t bytes)
{
    const uint64_t most = 64 << 20;
    char *p = buf;

    for (uint64_t n; bytes && t->nodes > 1; p += n, bytes -= n) {
        struct carried c;
        n = bytes < most ? bytes : most;
        t->carrier->broadcast(&c, t->leaders, p, (int)n, 0);
        wait_for(t, &c);
    }
}

static int reduce(const struct team *t, int value, enum carrier_op op)
{
    int result = value;
    struct carried c;

    if (t->nodes > 1) {
        t->carrier->reduce(&c, t->leaders, &value, &result, 1, op);
        wait_for(t, &c);
    }
    return result;
}

int team_least(const struct team *t, int value)
{
    return reduce(t, value, CARRIER_LEAST);
}

int team_sum(const struct team *t, int value)
{
    return reduce(t, value, CARRIER_SUM);
}
