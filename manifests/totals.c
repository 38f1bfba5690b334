#include "manifests/totals.h"

#include <stdlib.h>
#include <string.h>

#include "facts/memory.h"
#include "manifests/package.h"

static void add_counts(struct manifest_counts *sum, const struct manifest_counts *c)
{
    sum->stat = manifest_sum(sum->stat, c->stat);
    sum->open = manifest_sum(sum->open, c->open);
    sum->list = manifest_sum(sum->list, c->list);
    sum->load = manifest_sum(sum->load, c->load);
    sum->exec = manifest_sum(sum->exec, c->exec);
    sum->write = manifest_sum(sum->write, c->write);
}

static struct sum *sum_of(struct sum **sums, const char *name, size_t len)
{
    struct sum *s;

    HASH_FIND(hh, *sums, name, len, s);
    if (!s) {
        s = memory_new(1, sizeof *s);
        s->name = memory_bytes(name, len);
        HASH_ADD_KEYPTR(hh, *sums, s->name, len, s);
    }
    return s;
}

static void add(struct sum **sums, const char *name, size_t len, const struct manifest_entry *e)
{
    struct sum *s = sum_of(sums, name, len);

    s->entries++;
    s->calls = manifest_sum(s->calls, manifest_calls(&e->counts));
    if (manifest_has_contents(e->kind)) {
        s->files++;
        s->bytes = manifest_sum(s->bytes, e->size);
    }
}

static int by_size(const void *x, const void *y)
{
    const struct manifest_entry *a = *(const struct manifest_entry *const *)x;
    const struct manifest_entry *b = *(const struct manifest_entry *const *)y;

    return a->size != b->size ? (a->size < b->size ? 1 : -1) : strcmp(a->path, b->path);
}

void totals_of(const struct manifest *m, struct totals *t)
{
    *t = (struct totals){.biggest = memory_new(m->entry_count, sizeof *t->biggest)};
    for (size_t i = 0; i < m->entry_count; i++) {
        const struct manifest_entry *e = &m->entries[i];
        const size_t slash = (size_t)(strrchr(e->path, '/') - e->path);
        size_t len;
        const char *package = manifest_package(e->path, &len);
        t->entries[e->kind]++;
        add_counts(&t->counts, &e->counts);
        add(&t->packages, package, len, e);
        add(e->kind == MANIFEST_ABSENT ? &t->missed : &t->directories, e->path, slash ? slash : 1, e);
        if (manifest_has_contents(e->kind)) {
            t->bytes[e->kind] = manifest_sum(t->bytes[e->kind], e->size);
            t->biggest[t->file_count++] = e;
        }
    }
    if (t->file_count)
        qsort(t->biggest, t->file_count, sizeof *t->biggest, by_size);
}

static void free_sums(struct sum **sums)
{
    struct sum *s, *next;

    HASH_ITER(hh, *sums, s, next) {
        HASH_DEL(*sums, s);
        free(s->name);
        free(s);
    }
}

void totals_free(struct totals *t)
{
    free_sums(&t->directories);
    free(t->biggest);
    free_sums(&t->packages);
    free_sums(&t->missed);
}

int sums_by_bytes(struct sum *a, struct sum *b)
{
    return a->bytes != b->bytes ? (a->bytes < b->bytes ? 1 : -1) : strcmp(a->name, b->name);
}

int sums_by_calls(struct sum *a, struct sum *b)
{
    return a->calls != b->calls ? (a->calls < b->calls ? 1 : -1) : strcmp(a->name, b->name);
}
