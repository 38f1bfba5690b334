/* How two manifests differ, and why. */
#ifndef DLCACHE_DIFF_H
#define DLCACHE_DIFF_H

#include <jansson.h>

#include "manifests/manifest.h"

enum diff_cause {
    DIFF_CONTENT,  /* the digest or the size differs; or the time, without digests to say it was just touched */
    DIFF_KIND,     /* a file here, a directory there; or a symlink with another target */
    DIFF_TIME,     /* the same contents, modified at another time */
    DIFF_MODE,     /* other permissions */
    DIFF_VOLATILE, /* a directory in which one of the two runs wrote: names in it are not answered from memory then */
    DIFF_FOUND_A,  /* found in A, absent in B */
    DIFF_FOUND_B,  /* absent in A, found in B */
    DIFF_ONLY_A,   /* B did not touch it */
    DIFF_ONLY_B,
    DIFF_CAUSES
};

/* For people: "contents changed", …; for programs: "content", … */
extern const char *const diff_cause_texts[DIFF_CAUSES];
extern const char *const diff_cause_names[DIFF_CAUSES];

struct diff_line {
    enum diff_cause cause;
    const struct manifest_entry *a, *b; /* the manifests' own; one may be NULL */
};

/* A difference of what the runs were: the interpreter, a search path, the policy. */
struct diff_head {
    char *name, *a, *b; /* heap; a or b NULL where it is not set */
};

struct diff {
    struct diff_line *lines; /* by path */
    size_t line_count, line_capacity;
    struct diff_head *heads;
    size_t head_count, head_capacity;
};

/* Both are sorted, as manifest_load leaves them, and stay the caller's, to be kept as long as the diff. How often,
 * when, where and by how many processes something was touched makes no difference. Free with diff_free. */
void diff_manifests(const struct manifest *a, const struct manifest *b, struct diff *d);
void diff_free(struct diff *d);

/* Grouped by cause and package. */
void diff_print(const struct diff *d, FILE *f, bool colours);
json_t *diff_json(const struct diff *d);

#endif
