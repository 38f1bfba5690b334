/* What a program calls a file when it looks for it along a search path. */
#ifndef DLCACHE_NAME_H
#define DLCACHE_NAME_H

#include "manifests/manifest.h"

struct name_place {
    const char *name;  /* of a module or package; or a library's soname. Points into the entry */
    size_t len;
    size_t place;      /* bytes of the entry's path that are the module, the package's directory, or the library */
    size_t directory;  /* bytes that are the directory which was searched; at least 1 */
    bool is_module;
};

/* False where it has no such name. */
bool name_of(const struct manifest_entry *e, struct name_place *n);

/* The first entry whose path is not less than `path`. */
size_t name_lower(const struct manifest *m, const char *path);

#endif
