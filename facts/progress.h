/* A line on a terminal that tells how far a long piece of work is: only on a terminal (standard error), only after a
 * second, gone when the work is done. One at a time. */
#ifndef DLCACHE_PROGRESS_H
#define DLCACHE_PROGRESS_H

#include <stdint.h>

/* `done` of `total` bytes; called as often as one likes. `where`: what is behind the figures ("4 nodes"), or NULL. */
void progress_bytes_at(uint64_t done, uint64_t total, const char *where);
void progress_bytes(uint64_t done, uint64_t total);
/* The same of things that are counted: "entries". */
void progress_count(uint64_t done, uint64_t total, const char *things);
/* The line goes away; before anything else is printed, too. */
void progress_end(void);

#endif
