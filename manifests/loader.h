/* Reading a manifest (manifests/load.c): where in the file we are, what is wrong there, and members of JSON objects. */
#ifndef DLCACHE_LOADER_H
#define DLCACHE_LOADER_H

#include <jansson.h>

#include "manifests/manifest.h"
#include "manifests/scan.h"

#define LOADER_DEEPEST 4 /* entries, which one, "needed", which one */

struct loader {
    const char *file; /* for messages */
    const char *text; /* the whole file */
    size_t size;
    struct manifest *m;
    char *error;
    struct scan_step at[LOADER_DEEPEST]; /* where in the text we are, for messages */
    size_t depth;
};

/* Into the member `key`, or, where that is NULL, the element `index`. */
void loader_enter(struct loader *l, const char *key, size_t index);
void loader_leave(struct loader *l);

/* What is wrong, in that line; where we are; with the member of the object where we are. The first is kept. False. */
bool loader_fail(struct loader *l, size_t line, const char *what);
__attribute__((format(printf, 2, 3))) bool loader_wrong(struct loader *l, const char *format, ...);
bool loader_wrong_member(struct loader *l, const char *key, const char *why);

enum loader_need { LOADER_OPTIONAL, LOADER_REQUIRED };

/* A member of the object o; *out stays as it is where there is none. False when it was said what is wrong. */
bool loader_text(struct loader *l, const json_t *o, const char *key, enum loader_need need, char **out);
bool loader_integer(struct loader *l, const json_t *o, const char *key, enum loader_need need, int64_t least,
                    int64_t most, int64_t *out);
bool loader_count(struct loader *l, const json_t *o, const char *key, uint64_t *out);
bool loader_bool(struct loader *l, const json_t *o, const char *key, bool *out);
bool loader_list(struct loader *l, const json_t *o, const char *key, enum loader_need need, char ***list,
                 size_t *count);

/* All but the entries (manifests/load_head.c). */
bool loader_head(struct loader *l, const json_t *root);

#endif
