/* What run and env share: which stage, and whether it can be used. */
#ifndef DLCACHE_CLI_ATTACH_H
#define DLCACHE_CLI_ATTACH_H

#include <stdbool.h>

#include "libdlcache/stage.h"

struct attach_options {
    const char *stage; /* --stage, or $DLCACHE_STAGE, or NULL */
    bool export_list;  /* --export */
};

/* Reads the options; optind is at the first argument then. -1 to go on, or the exit status. */
int attach_parse(struct attach_options *o, int argc, char **argv, const char *usage, const char *shorts);

/* The stage, opened: heap. NULL, and a message, where it cannot be used. */
struct stage *attach_open(const char *verb, const char *dir);

/* Whether this process could attach: 0; 1, and a message, where D/run would start a program natively, silently. */
int attach_check(const char *verb, const char *dir);

#endif
