/* What a team needs of MPI. It is a library of its own, dlcache-mpi.so: who is alone does not load MPI, nor start it;
 * and a probe of the dynamic loader, which executes the stager, has only the C library to load. */
#ifndef DLCACHE_CARRIER_H
#define DLCACHE_CARRIER_H

#include <stdbool.h>
#include <stdint.h>

/* Something that was begun, until `is_done` says so, which it goes on saying. */
struct carried {
    _Alignas(8) unsigned char request[16];
};

enum carrier_ranks { CARRIER_ALL, CARRIER_LEADERS };
enum carrier_op { CARRIER_LEAST, CARRIER_SUM, CARRIER_COMMON }; /* of int, int, uint64_t */

/* Calls of the main thread alone. What is begun is of all the ranks meant, in the same order; its memory stays as it is
 * until it is done. */
struct carrier {
    /* MPI_Init, MPI_Finalize. */
    void (*start)(void);
    void (*end)(void);
    /* From now on `failed` is called with an error of MPI, instead of going on; it does not come back. */
    void (*begin)(void (*failed)(const char *text), int *rank, int *size);
    void (*abort)(void);
    /* All ranks; comes back when all have called it. */
    void (*make_leaders)(bool leader);
    void (*free_leaders)(void);
    /* This process's among them. */
    void (*rank)(enum carrier_ranks ranks, int *rank);
    void (*send)(struct carried *c, enum carrier_ranks ranks, const void *buf, int bytes, int to);
    void (*receive)(struct carried *c, enum carrier_ranks ranks, void *buf, int bytes, int from);
    void (*broadcast)(struct carried *c, enum carrier_ranks ranks, void *buf, int bytes, int root);
    void (*reduce)(struct carried *c, enum carrier_ranks ranks, const void *mine, void *result, int count,
                   enum carrier_op op);
    void (*gather)(struct carried *c, const void *mine, void *of_all, int bytes);
    bool (*is_done)(struct carried *c);
};

/* The name by which dlcache-mpi.so has it. */
#define CARRIER_SYMBOL "dlcache_carrier"
#define CARRIER_LIBRARY "dlcache-mpi.so"

#endif
