/* Writing a file whole or not at all: a temporary one beside it, synced, renamed over it. "-" is standard output; what
 * is no regular file (a pipe, /dev/null) is written to as it is. */
#ifndef DLCACHE_OUTPUT_H
#define DLCACHE_OUTPUT_H

#include <stdio.h>

/* 0 when all was written and f is free of errors, flushed; -1 with errno. */
typedef int output_put(const void *what, FILE *f);

/* 0; or -1, and *error is a message with the file's name: heap, the caller frees it. */
int output_write(const char *file, output_put *put, const void *what, char **error);

/* Whether output_write could write there, before much work is done for it. Leaves nothing behind. */
int output_may_write(const char *file, char **error);

#endif
