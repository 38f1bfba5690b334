/* Noting what this process does, into its spool file. The in-process side of the recorder.
 *
 * Raw system calls only, no heap, no lock, no descriptor kept open; any context. errno is not touched. */
#ifndef DLCACHE_NOTE_H
#define DLCACHE_NOTE_H

#include <stddef.h>

#include "recorder/spool.h"

/* Where this process notes. All zero: nowhere. */
struct recorder {
    struct spool_header *spool;
    char file[4096]; /* its path, to extend it by */
};

/* Makes a spool file in the directory `dir` and maps it. `door` tells apart the libraries of one process that note
 * ("preload", "audit"). 0 or -errno, and then nothing is noted. */
int recorder_open(struct recorder *r, const char *dir, const char *door, long rank);

/* Notes an operation on an absolute path of `len` bytes. Does nothing when r notes nowhere, or when the storage is
 * used up (then it is counted as lost). */
void recorder_note(struct recorder *r, enum spool_op op, enum spool_result result, const char *path, size_t len);

/* The same for a path as the program gave it: relative ones are taken from dirfd (AT_FDCWD: the current directory). */
void recorder_note_at(struct recorder *r, enum spool_op op, enum spool_result result, int dirfd, const char *path,
                      size_t len);

#endif
