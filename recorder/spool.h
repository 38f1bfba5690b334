/* The spool of a pilot run: one file a process, in one directory, mapped MAP_SHARED by the process that notes into it.
 *
 * What has been noted is in the file whatever then happens to the process: the page cache survives SIGKILL. The file
 * lives only as long as the pilot, on machines of one kind: numbers are native. Declares data only, for both sides: the shim,
 * which writes it inside the user's process, and the collector, which reads it when the pilot is over.
 *
 * Layout: struct spool_header; uint32_t heads[SPOOL_HEADS], each the offset / 8 of the first note of a hash chain or
 * 0; then notes, each 8-byte aligned. A process that forks without exec shares its parent's file with its child. */
#ifndef DLCACHE_SPOOL_H
#define DLCACHE_SPOOL_H

#include <stddef.h>
#include <stdint.h>

#define SPOOL_MAGIC "DLCSPOOL"
#define SPOOL_VERSION 2u
#define SPOOL_HEADS 16384u
#define SPOOL_SUFFIX ".spool"

/* What was done. */
enum spool_op {
    SPOOL_STAT,  /* stat, access, readlink and their families */
    SPOOL_OPEN,  /* open for reading */
    SPOOL_LIST,  /* opendir, open with O_DIRECTORY */
    SPOOL_LOAD,  /* the dynamic loader tried, or took, this file */
    SPOOL_EXEC,  /* execve and its family */
    SPOOL_WRITE, /* open for writing, and every call that changes the tree */
    SPOOL_OPS
};

/* How it ended. */
enum spool_result {
    SPOOL_FOUND,
    SPOOL_ABSENT, /* ENOENT, ENOTDIR */
    SPOOL_FAILED, /* any other errno */
    SPOOL_RESULTS
};

struct spool_header {
    char magic[8];
    uint32_t version;
    uint32_t pid;
    uint64_t size;      /* bytes of address space that the file may grow to */
    uint64_t used;      /* atomic: bytes handed out, this header and the heads included; may exceed allocated */
    uint64_t allocated; /* atomic: bytes that are backed by storage */
    uint64_t start_ns;  /* CLOCK_REALTIME when the process attached */
    uint64_t lost;      /* atomic: notes that found no room */
    int64_t rank;       /* of MPI or Slurm, from the environment; -1: none */
    uint32_t dead;      /* atomic: the storage could not be extended */
    uint32_t reserved;
    char host[64];      /* uname's, NUL-terminated: spools of several nodes may lie in one directory */
    char exe[1024];     /* /proc/self/exe, NUL-terminated, cut where longer */
};

/* Published by storing its offset in the chain, with release order, after it is whole. A note is unique in its file
 * for (op, result, path), up to a race that may note it twice: the collector adds up. */
struct spool_note {
    uint32_t next; /* offset / 8 of the next note of the chain, or 0 */
    uint32_t hash; /* low half of dlc_hash64(op << 8 | result, path) */
    uint64_t when; /* CLOCK_REALTIME of the first time, ns */
    uint32_t count;/* atomic */
    uint16_t len;  /* of the path, without its NUL */
    uint8_t op;
    uint8_t result;
    char path[];   /* absolute, as the program asked (neither normalized nor resolved), NUL-terminated */
};

#endif
