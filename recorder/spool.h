/* The spool of a pilot run: one file a process, in one directory, mapped MAP_SHARED by the process that notes into it.
 *
 * What has been noted is in the file whatever then happens to the process: the page cache survives SIGKILL. The file
 * lives only as long as the pilot, on machines of one kind: numbers are native. Declares data only, for both sides: the shim,
 * which writes it inside the user's process, and the collector, which reads it when the pilot is over.
 *
 * Layout: struct spool_header; uint32_t heads[SPOOL_HEADS]; then, from SPOOL_FIRST, notes, each 8-byte aligned. Each head
 * is the root of a trie of hashes, the offset / 8 of a note, or 0: a note's hash says which head, by its lowest bits,
 * and by the next ones, two a step, which child of each note on the way (bits beyond the last are 0). So a note costs a
 * few steps among hundreds of thousands, and a process that notes little writes little more than the first page. A
 * process that forks without exec shares its parent's file with its child. */
#ifndef DLCACHE_SPOOL_H
#define DLCACHE_SPOOL_H

#include <stddef.h>
#include <stdint.h>

#define SPOOL_MAGIC "DLCSPOOL"
#define SPOOL_VERSION 3u
#define SPOOL_HEADS 512u /* a power of 2; with the header less than a page */
#define SPOOL_CHILDREN 4u
#define SPOOL_FIRST ((sizeof(struct spool_header) + SPOOL_HEADS * sizeof(uint32_t) + 7) / 8 * 8)
/* Bytes of a note with a path of `len` bytes. */
#define SPOOL_NOTE_BYTES(len) ((offsetof(struct spool_note, path) + (uint64_t)(len) + 1 + 7) / 8 * 8)
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
    SPOOL_ABSENT, /* ENOENT, ENOTDIR; of SPOOL_LOAD: a search came there, and what it did not take may be there */
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

/* Published by storing its offset in a head or a child that was 0, with release order, after it is whole; what is
 * stored there never changes again. A note is unique in its file for (op, result, path). */
struct spool_note {
    uint32_t child[SPOOL_CHILDREN]; /* atomic: offset / 8 of a note, or 0 */
    uint32_t hash;  /* low half of dlc_hash64(op << 8 | result, path) */
    uint32_t count; /* atomic */
    uint64_t when;  /* CLOCK_REALTIME of the first time, ns */
    uint16_t len;   /* of the path, without its NUL */
    uint8_t op;
    uint8_t result;
    char path[];    /* absolute, as the program asked (neither normalized nor resolved), NUL-terminated */
};

#endif
