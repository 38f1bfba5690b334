/* What the preloaded library wants of libdlcache-onestep.so, which it loads for one step alone (shim/onestep.c). That
 * library is no guest in the process as this one is: it has heap, threads, and MPI. */
#ifndef DLCACHE_ONESTEP_H
#define DLCACHE_ONESTEP_H

#define ONESTEP_LIBRARY "libdlcache-onestep.so"
#define ONESTEP_ENTRY "dlcache_onestep"

struct onestep {
    const char *manifest;
    const char *places;   /* DLCACHE_DIR, as --dir; or NULL */
    long wait;            /* seconds for all ranks to come, and to stage */
    long rank;            /* as the launcher says; -1: it does not */
    int log;              /* a summary, where it went well */
    int finalize;         /* the launcher takes it for a failure where a rank ends with the session open */
    void (*detach)(void); /* from now on the process is not to be served: the stage goes */
    char dir[480];        /* of 0: the stage's directory */
    int signal;           /* one that came meanwhile, and is to come again; 0: none */
};

/* Before main, in every rank of the job: 0, or -1 where none of them has a stage, and the first has said why. Afterwards,
 * until the process exits, an MPI session is open. Handlers of signals are the caller's to put back: the libraries of MPI
 * set some when they are loaded. */
typedef int onestep_entry(struct onestep *o);

#endif
