/* Reading and writing all of it: a system call may do a part, or be interrupted. */
#ifndef DLCACHE_WHOLE_H
#define DLCACHE_WHOLE_H

#include <stdint.h>

/* `bytes` from offset `at` of the file on. 0; -errno; or 1: it ends before that. */
int whole_read(int fd, void *data, uint64_t bytes, uint64_t at);

/* The same, written. 0 or -errno. */
int whole_write(int fd, const void *data, uint64_t bytes, uint64_t at);

#endif
