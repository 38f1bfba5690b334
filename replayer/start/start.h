/* One process on every node of a job: how `dlcache stage` and `dlcache unstage` start themselves where they are called
 * by a batch script, outside of any step. */
#ifndef DLCACHE_START_H
#define DLCACHE_START_H

#include <stdbool.h>
#include <stddef.h>

enum start_kind {
    START_HERE,   /* a rank already, or no job: go on in this process */
    START_LAUNCH, /* run the command of the plan */
    START_ASK,    /* the manager has to be asked first how many nodes there are: start_ask */
    START_REFUSE, /* it cannot be told how: `why` */
};

#define START_WORDS 24 /* of a launcher, before the program's own arguments */

struct start_plan {
    enum start_kind kind;
    const char *manager;       /* "Slurm", …; of START_LAUNCH */
    char *words[START_WORDS];  /* the launcher and its options; of START_ASK the question: heap */
    size_t count;
    bool in_no_job;            /* of Flux: this instance is no job of another one */
    char *why;                 /* of START_REFUSE; of START_HERE a warning, or NULL: heap */
};

/* What to do in a process with the environment `envp`. `hosts`: a file with the name of a host a line, for mpiexec; or
 * NULL. `mpiexec`: the one to use, or NULL for the one that the stager was built for. Reads PBS_NODEFILE and
 * LSB_DJOB_HOSTFILE, and nothing else. */
void start_plan(struct start_plan *p, char *const *envp, const char *hosts, const char *mpiexec);
void start_free(struct start_plan *p);

/* Of START_ASK: what was answered, or NULL, makes START_LAUNCH or START_REFUSE of it. */
void start_answer(struct start_plan *p, const char *text);
/* Asks, and does that. */
void start_ask(struct start_plan *p);

/* One more option for the launcher. */
void start_add(struct start_plan *p, const char *option);

/* The environment of the launcher: what asks it for another number or kind of tasks than the plan's is taken away. */
void start_clean_environment(void);

/* The command line, as one would type it in a shell: heap. `argv`: the program and its arguments. */
char *start_text(const struct start_plan *p, char *const *argv);

/* Runs the launcher to its end. `output`: what its tasks write to standard output, heap, NUL-terminated; or NULL: they
 * write to this process's. The exit status; -1 with errno where it cannot be run. */
int start_run(const struct start_plan *p, char *const *argv, char **output);

/* Becomes the launcher, with nothing to read: standard input is the script's. Comes back with errno where that
 * fails. */
void start_launch(const struct start_plan *p, char *const *argv);

#endif
