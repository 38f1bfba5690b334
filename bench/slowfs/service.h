/* The server's time: slots, service times, the bandwidth; the counters; the log. Any thread. */
#ifndef SLOWFS_SERVICE_H
#define SLOWFS_SERVICE_H

#include <stdio.h>

#include "slowfs.h"

/* Counts a request, lets it wait for its turn and for its service, and writes it into the log. `bytes` are on the wire,
 * `name` is the last component where `ino` is a directory's, or NULL. False: it has been answered with an error. */
bool service(fuse_req_t, enum kind, fuse_ino_t ino, const char *name, size_t bytes);

/* A lookup found nothing. */
void service_absent(fuse_req_t);

/* The kind of this name, or -1. */
int service_kind(const char *name);
const char *service_kind_name(enum kind);

/* "lookup=300,open=500", "all=100", "network=50": 0, or -EINVAL. */
int service_set_latency(const char *text);
void service_print_latency(FILE *);

void service_reset(void);
void service_print_counters(FILE *);

#endif
