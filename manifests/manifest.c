#include "manifests/manifest.h"

#include <stdlib.h>
#include <string.h>

#include "facts/memory.h"

const char *const manifest_kind_names[MANIFEST_KINDS] = {
    "module", "bytecode", "shared-object", "executable", "data", "directory", "symlink", "absent",
};

struct manifest *manifest_new(void)
{
    struct manifest *m = memory_new(1, sizeof *m);

    m->version = MANIFEST_VERSION;
    return m;
}

static void free_list(char **list, size_t count)
{
    for (size_t i = 0; i < count; i++)
        free(list[i]);
    free(list);
}

void manifest_entry_free(struct manifest_entry *e)
{
    free(e->path);
    free(e->target);
    free(e->soname);
    free_list(e->needed, e->needed_count);
}

void manifest_pilots_free(struct manifest *m)
{
    for (size_t i = 0; i < m->pilot_count; i++) {
        free(m->pilots[i].id);
        free_list(m->pilots[i].command, m->pilots[i].command_count);
        free(m->pilots[i].host);
        free(m->pilots[i].recorded);
    }
    free(m->pilots);
    m->pilots = NULL;
    m->pilot_count = 0;
}

void manifest_free(struct manifest *m)
{
    if (!m)
        return;
    free_list(m->command, m->command_count);
    free(m->cwd);
    free(m->host);
    free_list(m->hosts, m->host_count);
    free(m->recorded);
    free(m->interpreter);
    for (size_t i = 0; i < m->search_count; i++) {
        free(m->search[i].name);
        free(m->search[i].value);
    }
    free(m->search);
    for (size_t i = 0; i < m->mount_count; i++) {
        free(m->mounts[i].point);
        free(m->mounts[i].type);
        free(m->mounts[i].source);
        free(m->mounts[i].root);
    }
    free(m->mounts);
    free_list(m->policy.include, m->policy.include_count);
    free_list(m->policy.exclude, m->policy.exclude_count);
    free_list(m->policy.prefixes, m->policy.prefix_count);
    manifest_pilots_free(m);
    for (size_t i = 0; i < m->entry_count; i++)
        manifest_entry_free(&m->entries[i]);
    free(m->entries);
    free(m);
}

struct manifest_entry *manifest_append(struct manifest *m, const struct manifest_entry *e)
{
    m->entries = memory_grow(m->entries, &m->entry_capacity, m->entry_count + 1, sizeof *m->entries);
    m->entries[m->entry_count] = *e;
    return &m->entries[m->entry_count++];
}

struct manifest_entry *manifest_add(struct manifest *m, const char *path, enum manifest_kind kind)
{
    const struct manifest_entry e = {.path = memory_text(path), .kind = kind};

    return manifest_append(m, &e);
}

static int by_path(const void *a, const void *b)
{
    const struct manifest_entry *x = a, *y = b;

    return strcmp(x->path, y->path); /* strcmp compares unsigned bytes */
}

void manifest_sort(struct manifest *m)
{
    size_t i = 1;

    while (i < m->entry_count && by_path(&m->entries[i - 1], &m->entries[i]) <= 0)
        i++;
    if (i < m->entry_count) /* mostly they are sorted already */
        qsort(m->entries, m->entry_count, sizeof *m->entries, by_path);
}

const struct manifest_entry *manifest_find(const struct manifest *m, const char *path)
{
    const struct manifest_entry key = {.path = (char *)(uintptr_t)path};

    return m->entry_count ? bsearch(&key, m->entries, m->entry_count, sizeof key, by_path) : NULL;
}

uint64_t manifest_sum(uint64_t a, uint64_t b)
{
    return a > INT64_MAX || b > INT64_MAX - a ? INT64_MAX : a + b;
}

bool manifest_has_contents(enum manifest_kind kind)
{
    return kind != MANIFEST_DIRECTORY && kind != MANIFEST_SYMLINK && kind != MANIFEST_ABSENT;
}

uint64_t manifest_calls(const struct manifest_counts *c)
{
    const uint64_t some = manifest_sum(manifest_sum(c->stat, c->open), c->list);

    return manifest_sum(manifest_sum(manifest_sum(some, c->load), c->exec), c->write);
}

uint64_t manifest_bytes(const struct manifest *m)
{
    uint64_t bytes = 0;

    for (size_t i = 0; i < m->entry_count; i++)
        if (manifest_has_contents(m->entries[i].kind))
            bytes = manifest_sum(bytes, m->entries[i].size);
    return bytes;
}
