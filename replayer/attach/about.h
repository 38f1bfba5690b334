/* What a stage says of itself beside the image: doc/FORMAT.md 8.3. */
#ifndef DLCACHE_ABOUT_H
#define DLCACHE_ABOUT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define STAGE_ABOUT "about"

struct about {
    char manager[16]; /* "Slurm", …: whose job it belongs to; empty: it was asked to stay, or there was no job */
    char job[64];
    uint64_t bytes;   /* of memory that it takes */
};

/* The job that this process is part of, by its environment: true where there is one. */
bool about_job(struct about *a);

/* The text of the file. */
void about_format(const struct about *a, char text[256]);
/* From the stage `name` in the directory of stages `parent` (a descriptor): 0 or -errno. */
int about_read(struct about *a, int parent, const char *name);

/* Whether that job is over, as its manager says, or this being the job's epilog on this node: 1 it is, 0 it is not,
 * -1 it cannot be told. */
int about_is_over(const struct about *a);

#endif
