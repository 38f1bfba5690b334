/* Reading one spool file (recorder/spool.h), whatever state its process left it in. */
#ifndef DLCACHE_SPOOL_READ_H
#define DLCACHE_SPOOL_READ_H

#include <stdbool.h>

#include "spool.h"

/* What the header says, and how the reading went. */
struct spool_facts {
    uint32_t pid;
    uint64_t start_ns; /* CLOCK_REALTIME */
    uint64_t lost;     /* notes that found no room */
    int64_t rank;      /* -1: none */
    char host[sizeof((struct spool_header *)0)->host]; /* NUL-terminated; may be empty */
    bool dead;         /* the storage could not be extended */
    bool damaged;      /* something led nowhere: what could be reached was visited */
    uint64_t notes;    /* visited */
    char exe[sizeof((struct spool_header *)0)->exe]; /* NUL-terminated; may be empty */
};

/* One sound note: the operation and its end are known ones, the path begins with '/', is of `len` bytes and
 * NUL-terminated. `count` is at least 1. The path lives as long as the call. */
struct spool_seen {
    enum spool_op op;
    enum spool_result result;
    uint64_t when;
    uint64_t count;
    const char *path;
    size_t len;
};
typedef void spool_visit(void *context, const struct spool_seen *seen);

/* Visits every sound note of the file once. The file may still be written to. 0, or -errno: -EBADMSG is not a spool
 * of this version (nothing was visited); otherwise as open(2) and mmap(2). Trusts nothing that the file says: offsets
 * and lengths are checked, a note whose hash does not fit its path is damage, and so is one that two lead to. */
int spool_read(const char *file, struct spool_facts *facts, spool_visit *visit, void *context);

#endif
