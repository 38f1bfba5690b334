/* The carrier that is MPI. */
#ifndef DLCACHE_STAGE_MPI_H
#define DLCACHE_STAGE_MPI_H

#include <mpi.h>

#include "replayer/stage/carrier.h"

extern const struct carrier dlcache_carrier __attribute__((visibility("default")));

/* The communicator of all ranks, before carrier.begin: instead of MPI_COMM_WORLD. */
void carrier_use(MPI_Comm world);

#endif
