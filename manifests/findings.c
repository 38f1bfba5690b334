#include "manifests/findings.h"

#include <stdio.h>
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

/* --- what is compiled again ------------------------------------------------------------------------------------- */

/* The program's own script is never kept as bytecode. */
static bool is_command(const struct manifest *m, const char *path)
{
    for (size_t i = 0; i < m->command_count; i++) {
        const char *word = m->command[i];
        const size_t n = strlen(word), k = strlen(path);
        if (n && n <= k && strcmp(path + k - n, word) == 0 && (word[0] == '/' || path[k - n - 1] == '/'))
            return true;
    }
    return false;
}

static bool has_bytecode(const struct manifest *m, const char *path)
{
    const char *slash = strrchr(path, '/');
    char *start;

    if (asprintf(&start, "%.*s/__pycache__/%.*s.", (int)(slash - path), path, (int)(strlen(slash) - 4), slash + 1) < 0)
        memory_check(NULL);
    bool found = false;
    for (size_t i = name_lower(m, start); i < m->entry_count && !found; i++) {
        if (strncmp(m->entries[i].path, start, strlen(start)) != 0)
            break;
        found = m->entries[i].kind == MANIFEST_BYTECODE;
    }
    free(start);
    return found;
}

/* A whole package where it is one, or else the directory. */
static size_t compiled_together(const struct manifest_entry *e)
{
    const size_t directory = (size_t)(strrchr(e->path, '/') - e->path);
    struct name_place p;

    return name_of(e, &p) && p.place < directory ? p.place : directory ? directory : 1;
}

static int by_files(const void *x, const void *y)
{
    const struct finding_source *a = x, *b = y;

    return a->files != b->files ? (a->files < b->files ? 1 : -1) : strcmp(a->directory, b->directory);
}

static int by_directory(const void *x, const void *y)
{
    return strcmp(((const struct finding_source *)x)->directory, ((const struct finding_source *)y)->directory);
}

static void add_source(struct findings *f, const char *path, size_t len)
{
    struct finding_source *last = f->source_count ? &f->sources[f->source_count - 1] : NULL;

    /* The entries are sorted: those of a package follow each other. */
    if (!last || strlen(last->directory) != len || memcmp(last->directory, path, len) != 0) {
        f->sources = memory_grow(f->sources, &f->source_capacity, f->source_count + 1, sizeof *f->sources);
        last = &f->sources[f->source_count++];
        *last = (struct finding_source){.directory = memory_bytes(path, len)};
    }
    last->files++;
}

/* Those of single files in one directory do not, where a package comes between. */
static void merge_sources(struct findings *f)
{
    size_t n = 0;

    if (f->source_count)
        qsort(f->sources, f->source_count, sizeof *f->sources, by_directory);
    for (size_t i = 0; i < f->source_count; i++) {
        if (n == 0 || strcmp(f->sources[n - 1].directory, f->sources[i].directory) != 0) {
            f->sources[n++] = f->sources[i];
            continue;
        }
        f->sources[n - 1].files += f->sources[i].files;
        free(f->sources[i].directory);
    }
    f->source_count = n;
    if (n)
        qsort(f->sources, n, sizeof *f->sources, by_files);
}

static void find_sources(const struct manifest *m, struct findings *f)
{
    for (size_t i = 0; i < m->entry_count; i++) {
        const struct manifest_entry *e = &m->entries[i];
        const size_t n = strlen(e->path);
        if (e->kind == MANIFEST_MODULE && e->counts.open && n > 3 && strcmp(e->path + n - 3, ".py") == 0 &&
            !is_command(m, e->path) && !has_bytecode(m, e->path))
            add_source(f, e->path, compiled_together(e));
    }
    merge_sources(f);
}

/* A word of a shell. */
static void put_word(FILE *f, const char *text)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-+,=@%:";

    if (!text[strspn(text, plain)]) {
        fputs(text, f);
        return;
    }
    putc('\'', f);
    for (; *text; text++)
        *text == '\'' ? (void)fputs("'\\''", f) : (void)putc(*text, f);
    putc('\'', f);
}

char *findings_compile(const char *directory)
{
    char *text = NULL;
    size_t size;
    FILE *f = memory_check(open_memstream(&text, &size));

    fputs("python3 -m compileall -q ", f);
    put_word(f, directory);
    fclose(f);
    return memory_check(text);
}

/* --- all -------------------------------------------------------------------------------------------------------- */

void findings_of(const struct manifest *m, struct findings *f)
{
    *f = (struct findings){0};
    find_searches(m, f);
    find_paths(m, f);
    find_twice(m, f);
    find_sources(m, f);
}

void findings_free(struct findings *f)
{
    for (size_t i = 0; i < f->twice_count; i++)
        free_twice(&f->twice[i]);
    for (size_t i = 0; i < f->source_count; i++)
        free(f->sources[i].directory);
    free(f->searches);
    free(f->paths);
    free(f->twice);
    free(f->sources);
}
