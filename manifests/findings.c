#include "manifests/findings.h"

#include <stdlib.h>
#include <string.h>
#include <uthash.h>

#include "facts/memory.h"
#include "manifests/name.h"

/* --- names that are searched for -------------------------------------------------------------------------------- */

struct basename {
    struct finding_search s;
    UT_hash_handle hh;
};

static int by_tried(const void *x, const void *y)
{
    const struct finding_search *a = x, *b = y;

    return a->tried != b->tried ? (a->tried < b->tried ? 1 : -1) : strcmp(a->name, b->name);
}

static void find_searches(const struct manifest *m, struct findings *f)
{
    struct basename *names = NULL, *n, *next;

    for (size_t i = 0; i < m->entry_count; i++) {
        const struct manifest_entry *e = &m->entries[i];
        const char *name = strrchr(e->path, '/') + 1;
        if (strncmp(name, "__init__.", 9) == 0) /* each is another package's */
            continue;
        HASH_FIND(hh, names, name, strlen(name), n);
        if (!n) {
            n = memory_new(1, sizeof *n);
            n->s.name = name;
            HASH_ADD_KEYPTR(hh, names, n->s.name, strlen(name), n);
        }
        if (e->kind == MANIFEST_ABSENT)
            n->s.tried++;
        else if (!n->s.found || e->order < n->s.found->order)
            n->s.found = e;
    }
    HASH_ITER(hh, names, n, next) {
        if (n->s.tried > 1) { /* once is no search */
            f->searches = memory_grow(f->searches, &f->search_capacity, f->search_count + 1, sizeof *f->searches);
            f->searches[f->search_count++] = n->s;
        }
        HASH_DEL(names, n);
        free(n);
    }
    if (f->search_count)
        qsort(f->searches, f->search_count, sizeof *f->searches, by_tried);
}

/* --- search paths ----------------------------------------------------------------------------------------------- */

/* Whether something was found below the directory. */
static bool answers(const struct manifest *m, const char *directory, size_t len)
{
    while (len > 0 && directory[len - 1] == '/')
        len--;
    char *below = memory_bytes(directory, len + 1);
    below[len] = '/';
    bool found = false;

    for (size_t i = name_lower(m, below); i < m->entry_count && !found; i++) {
        if (strncmp(m->entries[i].path, below, len + 1) != 0)
            break;
        found = m->entries[i].kind != MANIFEST_ABSENT;
    }
    free(below);
    return found;
}

/* Only there it would be known. */
static bool is_kept(const struct manifest *m, const char *directory, size_t len)
{
    for (size_t i = 0; i < m->policy.prefix_count; i++) {
        const char *prefix = m->policy.prefixes[i];
        const size_t n = strcmp(prefix, "/") == 0 ? 0 : strlen(prefix);
        if (n <= len && memcmp(directory, prefix, n) == 0 && (n == len || directory[n] == '/'))
            return true;
    }
    return false;
}

static void find_paths(const struct manifest *m, struct findings *f)
{
    for (size_t i = 0; i < m->search_count; i++) {
        struct finding_path p = {.variable = &m->search[i]};
        for (const char *e = m->search[i].value; *m->search[i].value;) {
            const size_t n = strcspn(e, ":");
            p.elements++;
            p.idle += is_kept(m, e, n) && !answers(m, e, n);
            e += n;
            if (!*e++)
                break;
        }
        f->paths = memory_grow(f->paths, &f->path_capacity, f->path_count + 1, sizeof *f->paths);
        f->paths[f->path_count++] = p;
    }
}

/* --- what is there twice ---------------------------------------------------------------------------------------- */

struct twice {
    struct finding_twice t;
    UT_hash_handle hh;
};

static bool has_place(const struct finding_twice *t, const char *place, size_t len, size_t directory, bool is_module)
{
    for (size_t i = 0; i < t->count; i++) {
        const char *other = t->places[i];
        /* Of a module, other forms in one directory are one. */
        if (is_module ? strncmp(other, place, directory) == 0 && other[directory] == '/' &&
                            !strchr(other + directory + 1, '/')
                      : strlen(other) == len && memcmp(other, place, len) == 0)
            return true;
    }
    return false;
}

static int by_twice(const void *x, const void *y)
{
    const struct finding_twice *a = x, *b = y;

    return strcmp(a->name, b->name);
}

static void free_twice(struct finding_twice *t)
{
    for (size_t i = 0; i < t->count; i++)
        free(t->places[i]);
    free(t->places);
    free(t->name);
}

static void find_twice(const struct manifest *m, struct findings *f)
{
    struct twice *names = NULL, *n, *next;

    for (size_t i = 0; i < m->entry_count; i++) {
        const struct manifest_entry *e = &m->entries[i];
        struct name_place p;
        if ((!manifest_has_contents(e->kind) && e->kind != MANIFEST_DIRECTORY) || strstr(e->path, "/__pycache__/") ||
            !name_of(e, &p))
            continue;
        HASH_FIND(hh, names, p.name, p.len, n);
        if (!n) {
            n = memory_new(1, sizeof *n);
            n->t.name = memory_bytes(p.name, p.len);
            HASH_ADD_KEYPTR(hh, names, n->t.name, p.len, n);
        }
        if (has_place(&n->t, e->path, p.place, p.directory, p.is_module))
            continue;
        n->t.places = memory_grow(n->t.places, &n->t.capacity, n->t.count + 1, sizeof *n->t.places);
        n->t.places[n->t.count++] = memory_bytes(e->path, p.place);
    }
    HASH_ITER(hh, names, n, next) {
        HASH_DEL(names, n);
        if (n->t.count > 1) {
            f->twice = memory_grow(f->twice, &f->twice_capacity, f->twice_count + 1, sizeof *f->twice);
            f->twice[f->twice_count++] = n->t;
        } else {
            free_twice(&n->t);
        }
        free(n);
    }
    if (f->twice_count)
        qsort(f->twice, f->twice_count, sizeof *f->twice, by_twice);
}

/* --- all -------------------------------------------------------------------------------------------------------- */

void findings_of(const struct manifest *m, struct findings *f)
{
    *f = (struct findings){0};
    find_searches(m, f);
    find_paths(m, f);
    find_twice(m, f);
    bytecode_of(m, &f->bytecode);
}

void findings_free(struct findings *f)
{
    for (size_t i = 0; i < f->twice_count; i++)
        free_twice(&f->twice[i]);
    free(f->searches);
    free(f->paths);
    free(f->twice);
    bytecode_free(&f->bytecode);
}
