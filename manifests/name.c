#include "manifests/name.h"

#include <string.h>

#include "manifests/package.h"

static bool is_word(const char *text, size_t len, const char *word)
{
    return strlen(word) == len && memcmp(text, word, len) == 0;
}

static bool module(const struct manifest_entry *e, const char *package, size_t len, struct name_place *n)
{
    static const char cache[] = "/__pycache__";
    const size_t start = (size_t)(package - e->path), tail = sizeof cache - 1;

    *n = (struct name_place){package, len, start + strcspn(package, "/"), start - 1, true};
    if (n->directory > tail && memcmp(package - 1 - tail, cache, tail) == 0)
        n->directory -= tail;
    /* Directories of modules themselves are no modules. */
    if (is_word(n->name, n->len, "site-packages") || is_word(n->name, n->len, "dist-packages") ||
        is_word(n->name, n->len, "lib-dynload") || is_word(n->name, n->len, "__pycache__"))
        return false;
    if (!e->path[n->place] && e->kind != MANIFEST_DIRECTORY) { /* six.py, _json.cpython-311.so, six.cpython-311.pyc */
        if (e->kind == MANIFEST_DATA)
            return false;
        const size_t stem = strcspn(n->name, ".");
        n->len = stem < n->len ? stem : n->len;
    }
    return n->len > 0 && n->directory > 0;
}

bool name_of(const struct manifest_entry *e, struct name_place *n)
{
    size_t len;
    const char *package = manifest_package(e->path, &len);

    if (package != e->path)
        return module(e, package, len, n);
    if (e->kind != MANIFEST_SHARED_OBJECT)
        return false;
    const char *slash = strrchr(e->path, '/');
    const size_t directory = (size_t)(slash - e->path);
    const char *name = e->soname && *e->soname ? e->soname : slash + 1;
    *n = (struct name_place){name, strlen(name), strlen(e->path), directory ? directory : 1, false};
    return n->len > 0;
}

size_t name_lower(const struct manifest *m, const char *path)
{
    size_t low = 0, high = m->entry_count;

    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (strcmp(m->entries[middle].path, path) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}
