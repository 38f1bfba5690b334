/* How two manifests differ, and why. */
#ifndef DLCACHE_DIFF_H
#define DLCACHE_DIFF_H

#include <jansson.h>

#include "manifests/manifest.h"

/* In the order in which they explain what another run does: what it does not find comes before what looks older. */
enum diff_cause {
    DIFF_FOUND_A,  /* found in A, absent in B */
    DIFF_FOUND_B,  /* absent in A, found in B */
    DIFF_KIND,     /* a file here, a directory there; or a symlink with another target */
    DIFF_CONTENT,  /* the digest or the size differs; or the time, without digests to say it was just touched */
    DIFF_VOLATILE, /* a directory in which one of the two runs wrote: names in it are not answered from memory then */
    DIFF_ONLY_A,   /* B did not touch it */
    DIFF_ONLY_B,
    DIFF_NAMES,    /* a directory modified at another time: names came or went. Of interest to verify alone */
    DIFF_TIME,     /* the same contents, modified at another time */
    DIFF_MODE,     /* other permissions */
    DIFF_CAUSES,
    DIFF_NONE = DIFF_CAUSES
};

/* For programs: "found-a", "found-b", … */
extern const char *const diff_cause_names[DIFF_CAUSES];

struct diff_line {
    enum diff_cause cause;
    const struct manifest_entry *a, *b; /* the manifests' own; one may be NULL. Two paths where it also moved */
};

/* A difference of what the runs were: the interpreter, a search path, the policy, a mount. */
struct diff_head {
    char *name, *a, *b; /* heap; a or b NULL where it is not set */
    bool is_path;       /* of elements with ':' between them */
};

/* A whole tree under another prefix: /opt/a/x in A is /opt/b/x in B. */
struct diff_move {
    char *from, *to;
    size_t same, changed; /* entries; those that changed are lines as well */
};

/* A name that the two runs found at different places, though both still use the first one's directory. */
struct diff_shadow {
    char *name;           /* of a module or package; or a soname */
    char *a, *b;          /* where each found it: a package's directory, or the file */
    bool gone, fresh;     /* B looked at A's place in vain; A looked at B's place in vain */
    size_t entries;       /* that this explains, of both */
};

struct diff {
    struct diff_line *lines; /* by path */
    size_t line_count, line_capacity;
    struct diff_head *heads;
    size_t head_count, head_capacity;
    struct diff_move *moves; /* the largest first */
    size_t move_count, move_capacity;
    struct diff_shadow *shadows; /* by name */
    size_t shadow_count, shadow_capacity;
};

/* Both are sorted, as manifest_load leaves them, and stay the caller's, to be kept as long as the diff. How often,
 * when, where and by how many processes something was touched makes no difference. Free with diff_free. */
void diff_manifests(const struct manifest *a, const struct manifest *b, struct diff *d);
void diff_free(struct diff *d);
bool diff_is_same(const struct diff *d);

/* Forgets what B did not touch: what is left is new in B. */
void diff_keep_new(struct diff *d);

/* The parts of it. Two entries of one file: why they differ, or DIFF_NONE. */
enum diff_cause diff_entries(const struct manifest_entry *a, const struct manifest_entry *b);
void diff_add(struct diff *d, enum diff_cause cause, const struct manifest_entry *a, const struct manifest_entry *b);
/* Takes out of the lines what moved, or what a name explains that leads elsewhere (manifests/moved.c). */
void diff_relate(struct diff *d, const struct manifest *b);

struct diff_style {
    bool colours;
    size_t top;        /* lines of a package, at most */
    const char *a, *b; /* what the two are called; NULL: "A", "B" */
};

/* Grouped by cause and package (manifests/tell.c). */
void diff_print(const struct diff *d, FILE *f, const struct diff_style *style);
json_t *diff_json(const struct diff *d);

#endif
