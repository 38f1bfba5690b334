#include "manifests/bytecode.h"

#include <stdlib.h>
#include <string.h>

#include "facts/memory.h"
#include "manifests/name.h"
#include "manifests/text.h"

/* --- one file ----------------------------------------------------------------------------------------------------- */

/* The name begins behind "/__pycache__/", its tag ("cpython-311", "cpython-311.opt-1") behind the first dot. */
static bool parts(const char *path, const char **name, const char **tag)
{
    static const char cache[] = "/__pycache__/";
    const char *dir = strstr(path, cache), *end = strrchr(path, '.');

    *name = dir ? dir + sizeof cache - 1 : NULL;
    *tag = *name ? strchr(*name, '.') : NULL;
    return *tag && *tag != end && strcmp(end, ".pyc") == 0;
}

char *bytecode_source(const char *path)
{
    const char *name, *tag;

    if (!parts(path, &name, &tag))
        return NULL;
    const size_t head = (size_t)(name - path) - strlen("__pycache__/"), len = (size_t)(tag - name);
    char *source = memory_check(malloc(head + len + sizeof ".py"));
    memcpy(source, path, head);
    memcpy(source + head, name, len);
    memcpy(source + head + len, ".py", sizeof ".py");
    return source;
}

/* '1' or '2', or 0. */
static char level_of(const char *path)
{
    const char *opt = strstr(path, ".opt-");

    return opt && (opt[5] == '1' || opt[5] == '2') && opt[6] == '.' ? opt[5] : 0;
}

static uint32_t word(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

bool bytecode_is_stale(const uint8_t *head, size_t len, int64_t mtime_s, uint64_t size)
{
    if (len < BYTECODE_HEAD)
        return true;
    return word(head + 4) == 0 && (word(head + 8) != (uint32_t)mtime_s || word(head + 12) != (uint32_t)size);
}

/* --- all of them -------------------------------------------------------------------------------------------------- */

/* A whole package where it is one, or else the directory. */
static size_t compiled_together(const struct manifest_entry *e)
{
    const size_t directory = (size_t)(strrchr(e->path, '/') - e->path);
    struct name_place p;

    return name_of(e, &p) && p.place < directory ? p.place : directory ? directory : 1;
}

static struct bytecode_place *place_at(struct bytecode *b, const char *path, size_t len)
{
    struct bytecode_place *last = b->count ? &b->places[b->count - 1] : NULL;

    /* The entries are sorted: those of a package follow each other. */
    if (last && strlen(last->directory) == len && memcmp(last->directory, path, len) == 0)
        return last;
    b->places = memory_grow(b->places, &b->capacity, b->count + 1, sizeof *b->places);
    last = &b->places[b->count++];
    *last = (struct bytecode_place){.directory = memory_bytes(path, len)};
    return last;
}

static int by_modules(const void *x, const void *y)
{
    const struct bytecode_place *a = x, *b = y;
    const size_t n = a->absent + a->stale, k = b->absent + b->stale;

    return n != k ? (n < k ? 1 : -1) : strcmp(a->directory, b->directory);
}

static int by_directory(const void *x, const void *y)
{
    return strcmp(((const struct bytecode_place *)x)->directory, ((const struct bytecode_place *)y)->directory);
}

/* Modules of one directory do not follow each other where a package comes between. */
static void join_places(struct bytecode *b)
{
    size_t n = 0;

    if (b->count)
        qsort(b->places, b->count, sizeof *b->places, by_directory);
    for (size_t i = 0; i < b->count; i++) {
        struct bytecode_place *p = &b->places[i], *same = n ? &b->places[n - 1] : NULL;
        if (!same || strcmp(same->directory, p->directory) != 0) {
            b->places[n++] = *p;
            continue;
        }
        same->absent += p->absent;
        same->stale += p->stale;
        same->plain |= p->plain;
        same->level = p->level > same->level ? p->level : same->level;
        free(p->directory);
    }
    b->count = n;
    if (n)
        qsort(b->places, n, sizeof *b->places, by_modules);
}

/* The module that was compiled for want of this bytecode: its source was read then. NULL where none was. */
static const struct manifest_entry *compiled(const struct manifest *m, const struct manifest_entry *e)
{
    char *source = e->counts.open && (e->kind == MANIFEST_ABSENT || e->is_stale) ? bytecode_source(e->path) : NULL;
    const struct manifest_entry *module = source ? manifest_find(m, source) : NULL;

    free(source);
    const bool is_source = module && (module->kind == MANIFEST_MODULE || module->kind == MANIFEST_SYMLINK);
    return is_source && module->counts.open ? module : NULL;
}

void bytecode_of(const struct manifest *m, struct bytecode *b)
{
    const struct manifest_entry *last = NULL;

    *b = (struct bytecode){0};
    for (size_t i = 0; i < m->entry_count; i++) {
        const struct manifest_entry *e = &m->entries[i], *module = compiled(m, e);
        if (!module)
            continue;
        struct bytecode_place *p = place_at(b, module->path, compiled_together(module));
        const char level = level_of(e->path);
        p->plain |= !level;
        p->level = level > p->level ? level : p->level;
        if (module == last) /* two Pythons may miss bytecode of one module */
            continue;
        last = module;
        e->is_stale ? p->stale++ : p->absent++;
        e->is_stale ? b->stale++ : b->absent++;
    }
    join_places(b);
}

void bytecode_free(struct bytecode *b)
{
    for (size_t i = 0; i < b->count; i++)
        free(b->places[i].directory);
    free(b->places);
    *b = (struct bytecode){0};
}

/* --- what makes it ------------------------------------------------------------------------------------------------ */

static bool is_python(const char *path)
{
    const char *name = path ? strrchr(path, '/') : NULL;

    return name && strncmp(name, "/python", 7) == 0;
}

/* -f: by itself it looks at the source's time, and not at its size. */
char *bytecode_command(const struct manifest *m, const struct bytecode_place *p)
{
    char *text = NULL;
    size_t size;
    FILE *f = memory_check(open_memstream(&text, &size));

    text_put_word(f, is_python(m->interpreter) ? m->interpreter : "python3");
    fprintf(f, " -m compileall -q%s", p->stale ? " -f" : "");
    if (p->level)
        fprintf(f, "%s -o %c", p->plain ? " -o 0" : "", p->level);
    putc(' ', f);
    text_put_word(f, p->directory);
    fclose(f);
    return memory_check(text);
}
