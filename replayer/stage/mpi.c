#include "replayer/stage/mpi.h"

#include <string.h>

#define CHUNK_TAG 1

static MPI_Comm communicators[] = {[CARRIER_ALL] = MPI_COMM_NULL, [CARRIER_LEADERS] = MPI_COMM_NULL};
static void (*on_failure)(const char *text);

_Static_assert(sizeof(MPI_Request) <= sizeof(struct carried), "there is room for a request");

static void start(void)
{
    int provided;

    MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &provided);
    communicators[CARRIER_ALL] = MPI_COMM_WORLD;
}

static void end(void)
{
    MPI_Finalize();
}

void carrier_use(MPI_Comm world)
{
    communicators[CARRIER_ALL] = world;
}

static void on_error(MPI_Comm *comm, int *code, ...)
{
    char text[MPI_MAX_ERROR_STRING] = "";
    int len = 0;

    (void)comm;
    MPI_Error_string(*code, text, &len);
    text[strcspn(text, "\n")] = '\0';
    on_failure(text);
}

static void begin(void (*failed)(const char *text), int *rank, int *size)
{
    const MPI_Comm world = communicators[CARRIER_ALL];
    MPI_Errhandler handler;

    on_failure = failed;
    MPI_Comm_rank(world, rank);
    MPI_Comm_size(world, size);
    /* The communicator of the leaders inherits it. */
    MPI_Comm_create_errhandler(on_error, &handler);
    MPI_Comm_set_errhandler(world, handler);
    MPI_Errhandler_free(&handler);
}

static void abort_all(void)
{
    MPI_Abort(communicators[CARRIER_ALL], 1);
}

static void make_leaders(bool leader)
{
    const MPI_Comm world = communicators[CARRIER_ALL];
    int rank;

    MPI_Comm_rank(world, &rank);
    MPI_Comm_split(world, leader ? 0 : MPI_UNDEFINED, rank, &communicators[CARRIER_LEADERS]);
}

static void free_leaders(void)
{
    if (communicators[CARRIER_LEADERS] != MPI_COMM_NULL)
        MPI_Comm_free(&communicators[CARRIER_LEADERS]);
}

static void put_request(struct carried *c, MPI_Request request)
{
    memcpy(c->request, &request, sizeof request);
}

static void rank_of(enum carrier_ranks ranks, int *rank)
{
    MPI_Comm_rank(communicators[ranks], rank);
}

static void send_to(struct carried *c, enum carrier_ranks ranks, const void *buf, int bytes, int to)
{
    MPI_Request request = MPI_REQUEST_NULL;

    MPI_Isend(buf, bytes, MPI_BYTE, to, CHUNK_TAG, communicators[ranks], &request);
    put_request(c, request);
}

static void receive_from(struct carried *c, enum carrier_ranks ranks, void *buf, int bytes, int from)
{
    MPI_Request request = MPI_REQUEST_NULL;

    MPI_Irecv(buf, bytes, MPI_BYTE, from, CHUNK_TAG, communicators[ranks], &request);
    put_request(c, request);
}

static void broadcast(struct carried *c, enum carrier_ranks ranks, void *buf, int bytes, int root)
{
    MPI_Request request = MPI_REQUEST_NULL;

    MPI_Ibcast(buf, bytes, MPI_BYTE, root, communicators[ranks], &request);
    put_request(c, request);
}

static void reduce(struct carried *c, enum carrier_ranks ranks, const void *mine, void *result, int count,
                   enum carrier_op op)
{
    const MPI_Op what = op == CARRIER_LEAST ? MPI_MIN : op == CARRIER_SUM ? MPI_SUM : MPI_BAND;
    MPI_Request request = MPI_REQUEST_NULL;

    MPI_Iallreduce(mine, result, count, op == CARRIER_COMMON ? MPI_UINT64_T : MPI_INT, what, communicators[ranks],
                   &request);
    put_request(c, request);
}

static void gather(struct carried *c, const void *mine, void *of_all, int bytes)
{
    MPI_Request request = MPI_REQUEST_NULL;

    MPI_Iallgather(mine, bytes, MPI_BYTE, of_all, bytes, MPI_BYTE, communicators[CARRIER_ALL], &request);
    put_request(c, request);
}

static bool is_done(struct carried *c)
{
    MPI_Request request;
    int done = 0;

    memcpy(&request, c->request, sizeof request);
    MPI_Test(&request, &done, MPI_STATUS_IGNORE);
    put_request(c, request);
    return done;
}

const struct carrier dlcache_carrier = {
    .start = start,
    .end = end,
    .begin = begin,
    .abort = abort_all,
    .make_leaders = make_leaders,
    .free_leaders = free_leaders,
    .rank = rank_of,
    .send = send_to,
    .receive = receive_from,
    .broadcast = broadcast,
    .reduce = reduce,
    .gather = gather,
    .is_done = is_done,
};
