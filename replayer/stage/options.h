/* The options of dlcache-stage. */
#ifndef DLCACHE_STAGE_OPTIONS_H
#define DLCACHE_STAGE_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

struct options {
    const char *places, *source; /* A:B:C; the manifest, image or bundle */
    const char *at; /* of a bundle: its prefix; else NULL */
    unsigned strip; /* directories of a bundle's names */
    bool strict, json, check, keep, soft;
    bool copy; /* `source` is this node's own copy of an image: it goes when it is read */
    uint64_t max_bytes; /* 0: no limit */
};

/* -1 to go on, or the exit status. Before MPI is started: every rank finds the same. */
int options_parse(struct options *o, int argc, char **argv);

#endif
