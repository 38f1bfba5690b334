/* What is to be replayed, and what came of it: one mapping that all processes share. Written by the command before it
 * starts them, then read by all; each process writes its own slot. A file without a name: an attached process, which is
 * executed, maps it again by its descriptor. */
#ifndef DLCACHE_PLAN_H
#define DLCACHE_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "manifests/manifest.h"
#include "replayer/replay/histogram.h"

/* As what it counts. */
enum replay_kind {
    REPLAY_STAT,
    REPLAY_OPEN,     /* open, fstat, read, close */
    REPLAY_LIST,     /* opendir, readdir to the end, closedir */
    REPLAY_READLINK,
    REPLAY_LOAD,     /* open, read of an ELF header, fstat, mmap, munmap, close: what ld.so and an execve ask */
    REPLAY_ABSENT,   /* a stat, or an open, of what is not there */
    REPLAY_KINDS
};

/* "stat", "open", "list", "readlink", "load", "absent". */
extern const char *const replay_kind_names[REPLAY_KINDS];

enum replay_act { ACT_STAT, ACT_OPEN_WHOLE, ACT_OPEN_HEAD, ACT_LIST, ACT_READLINK, ACT_LOAD };

struct step {
    uint64_t path;  /* where its text begins */
    uint32_t times; /* that it is done, in a round */
    uint16_t act, kind;
};

enum replay_error {
    REPLAY_MISSING,  /* the manifest has it, and it is not there */
    REPLAY_APPEARED, /* the other way round */
    REPLAY_FAILED,   /* anything else */
    REPLAY_ERRORS
};

/* What one process measured. */
struct slot {
    uint64_t start_ns, end_ns;      /* CLOCK_MONOTONIC */
    uint64_t errors[REPLAY_ERRORS];
    uint64_t first_path;            /* of the first error: where its text begins, */
    uint32_t first_errno;           /* and what it was; 0 for what appeared */
    uint32_t done;                  /* written last */
    struct histogram times[REPLAY_KINDS];
};

#define PLAN_MAGIC "DLCPLAN1"

struct plan {
    char magic[8];
    uint64_t total;                /* bytes of the mapping */
    uint32_t processes, rounds;
    uint32_t ready, go;            /* the barrier: both futexes */
    uint64_t step_count, steps_off, text_off, slots_off;
};

/* The most that one entry's calls of a kind are repeated in a round: what more a manifest says is a mistake, or a loop. */
#define PLAN_MOST 1000u

/* The operations of a start of the application, of one rank, in the order of first touch; of the kinds in `only`
 * (bits 1 << kind). A descriptor of it, or -1 with errno; *plan is the mapping. */
int plan_make(const struct manifest *m, unsigned only, uint32_t processes, uint32_t rounds, struct plan **plan);

/* Maps what plan_make made. NULL where the descriptor is of something else. */
struct plan *plan_map(int fd);

static inline const struct step *plan_steps(const struct plan *p)
{
    return (const void *)((const char *)p + p->steps_off);
}

static inline const char *plan_text(const struct plan *p, uint64_t at)
{
    return (const char *)p + p->text_off + at;
}

static inline struct slot *plan_slot(struct plan *p, uint32_t process)
{
    return (struct slot *)((char *)p + p->slots_off) + process;
}

#endif
