/* What a manifest tells about how its program searches: what costs every process something and could be otherwise. */
#ifndef DLCACHE_FINDINGS_H
#define DLCACHE_FINDINGS_H

#include "manifests/bytecode.h"
#include "manifests/manifest.h"

/* A name that was looked for in several directories. */
struct finding_search {
    const char *name;                   /* a path's last component; the manifest's */
    size_t tried;                       /* directories in which it was not */
    const struct manifest_entry *found; /* the first that was; or NULL */
};

/* A variable with a search path. */
struct finding_path {
    const struct manifest_variable *variable;
    size_t elements, idle; /* idle: nothing was found below them */
};

/* A module, package or library that was found in several directories. */
struct finding_twice {
    char *name;
    char **places;
    size_t count, capacity;
};

struct findings {
    struct finding_search *searches; /* the longest first */
    size_t search_count, search_capacity;
    struct finding_path *paths;
    size_t path_count, path_capacity;
    struct finding_twice *twice; /* by name */
    size_t twice_count, twice_capacity;
    struct bytecode bytecode;    /* that Python did not find, or not take */
};

/* The manifest stays the caller's, to be kept as long as the findings. */
void findings_of(const struct manifest *m, struct findings *f);
void findings_free(struct findings *f);

#endif
