/* Everything that the processes of a pilot noted, in memory: the spool directory, read and merged. */
#ifndef DLCACHE_NOTES_H
#define DLCACHE_NOTES_H

#include <stdbool.h>

#include "facts/table.h"
#include "spool.h"

/* A path as programs asked for it, and what was done with it by all processes together. */
struct noted {
    char *path; /* absolute, not normalized */
    uint64_t first_ns; /* CLOCK_REALTIME of the first time */
    uint64_t counts[SPOOL_OPS][SPOOL_RESULTS];
    uint32_t index;     /* in notes.paths */
    uint32_t last_file; /* bookkeeping of the reader */
};

/* One spool file. A process has one for each of the libraries that note in it. */
struct noted_file {
    uint32_t pid;
    uint32_t process; /* processes are numbered from 0 by their start */
    uint64_t start_ns;
    int64_t rank; /* -1: none */
    char *host;   /* may be empty */
    char *exe;  /* may be empty */
    char *door; /* which library wrote it, from the file's name */
};

/* That a process, by its file, touched a path: once a (file, path). */
struct noted_touch {
    uint32_t file, path;
};

struct notes {
    struct noted **paths;
    size_t path_count;
    struct noted_file *files; /* in the order in which they were read */
    size_t file_count;
    struct noted_touch *touches; /* by file */
    size_t touch_count;
    uint32_t process_count;
    uint64_t lost;       /* notes that found no room */
    uint32_t dead_files; /* whose storage could not be extended */
    uint32_t damaged_files; /* of which something, or all, could not be read */
    struct table by_path;
    size_t path_capacity, file_capacity, touch_capacity;
};

/* Reads every spool file of the directory. NULL and *error (heap, the caller frees it) when the directory cannot be
 * read; a file that cannot is counted as damaged. */
struct notes *notes_read(const char *dir, char **error);
void notes_free(struct notes *n); /* NULL is fine */

/* Adds to what was noted of a path, in a file. */
void notes_add(struct notes *n, uint32_t file, const char *path, size_t len, enum spool_op op,
               enum spool_result result, uint64_t count, uint64_t when);

/* The file of the process that started first, or NULL. */
const struct noted_file *notes_first(const struct notes *n);

#endif
