#include "manifests/bytecode.h"

#include <stdlib.h>
#include <string.h>

#include "facts/memory.h"

/* ".../__pycache__/name.cpython-311.pyc" is the bytecode of ".../name.py": that path, heap; NULL for any other. */
static char *source_of(const char *path)
{
    static const char cache[] = "/__pycache__/";
    const char *dir = strstr(path, cache), *name = dir ? dir + sizeof cache - 1 : NULL, *end = strrchr(path, '.');
    const char *tag = name ? strchr(name, '.') : NULL;

    if (!tag || tag == end || strcmp(end, ".pyc") != 0)
        return NULL;
    const size_t head = (size_t)(dir + 1 - path), len = (size_t)(tag - name);
    char *source = memory_check(malloc(head + len + sizeof ".py"));
    memcpy(source, path, head);
    memcpy(source + head, name, len);
    memcpy(source + head + len, ".py", sizeof ".py");
    return source;
}

uint64_t bytecode_missing(const struct manifest *m, const struct manifest_entry **first)
{
    const char *last = "";
    uint64_t count = 0;

    *first = NULL;
    for (size_t i = 0; i < m->entry_count; i++) {
        const struct manifest_entry *e = &m->entries[i];
        char *source = e->kind == MANIFEST_ABSENT ? source_of(e->path) : NULL;
        const struct manifest_entry *module = source ? manifest_find(m, source) : NULL;
        free(source);
        /* Two Pythons may miss bytecode of one module. */
        if (!module || module->kind != MANIFEST_MODULE || !module->counts.open || strcmp(module->path, last) == 0)
            continue;
        last = module->path;
        count++;
        if (!*first)
            *first = module;
    }
    return count;
}
