/* What was looked for in vain: by name, in how many directories; by directory, how many names; and the search paths of
 * the environment, with what is in them twice. */
#include <stdlib.h>
#include <string.h>
#include <uthash.h>

#include "facts/memory.h"
#include "manifests/report/parts.h"

#define TOP 60
#define PARTS 300 /* of all search paths together */

/* --- names ------------------------------------------------------------------------------------------------------ */

struct name {
    const char *text;
    const struct manifest_entry *found; /* the first by this name that was found after the first miss, or NULL */
    uint64_t first;                     /* rank of the first miss */
    uint64_t tried, calls;              /* before it was found, or given up */
    UT_hash_handle hh;
};

static const char *last_component(const char *path)
{
    return strrchr(path, '/') + 1;
}

static struct name *name_of(struct name *names, const struct manifest_entry *e)
{
    struct name *n;

    HASH_FIND_STR(names, last_component(e->path), n);
    return n;
}

static struct name *missed_names(const struct manifest *m)
{
    struct name *names = NULL, *n;

    for (size_t i = 0; i < m->entry_count; i++) {
        const struct manifest_entry *e = &m->entries[i];
        if (e->kind != MANIFEST_ABSENT)
            continue;
        if (!(n = name_of(names, e))) {
            n = memory_new(1, sizeof *n);
            n->text = last_component(e->path);
            n->first = e->order;
            HASH_ADD_KEYPTR(hh, names, n->text, strlen(n->text), n);
        }
        if (e->order < n->first)
            n->first = e->order;
    }
    return names;
}

static void find_names(struct name *names, const struct manifest *m)
{
    for (size_t i = 0; i < m->entry_count; i++) {
        const struct manifest_entry *e = &m->entries[i];
        struct name *n = e->kind == MANIFEST_ABSENT ? NULL : name_of(names, e);
        if (n && e->order > n->first && (!n->found || e->order < n->found->order))
            n->found = e;
    }
    for (size_t i = 0; i < m->entry_count; i++) {
        const struct manifest_entry *e = &m->entries[i];
        struct name *n = e->kind == MANIFEST_ABSENT ? name_of(names, e) : NULL;
        if (n && (!n->found || e->order < n->found->order)) {
            n->tried++;
            n->calls = manifest_sum(n->calls, manifest_calls(&e->counts));
        }
    }
}

static int by_tried(struct name *a, struct name *b)
{
    if (a->tried != b->tried)
        return a->tried < b->tried ? 1 : -1;
    return a->calls != b->calls ? (a->calls < b->calls ? 1 : -1) : strcmp(a->text, b->text);
}

static void put_names(json_t *figures, const struct manifest *m)
{
    struct name *names = missed_names(m), *n, *next;
    json_t *array = memory_check(json_array());

    json_object_set_new(figures, "name_count", report_number(HASH_COUNT(names)));
    find_names(names, m);
    HASH_SORT(names, by_tried);
    HASH_ITER(hh, names, n, next) {
        if (json_array_size(array) < TOP)
            json_array_append_new(array, memory_check(json_pack("[oIIo]", report_text(n->text, strlen(n->text)),
                (json_int_t)n->tried, (json_int_t)n->calls, n->found ? report_path(n->found) : json_null())));
        HASH_DEL(names, n);
        free(n);
    }
    json_object_set_new(figures, "names", array);
}

/* --- directories ------------------------------------------------------------------------------------------------ */

struct directory {
    const char *path; /* in the manifest's first path below it */
    size_t len;
    uint64_t missed, calls;
    UT_hash_handle hh;
};

static struct directory *missed_directories(const struct manifest *m)
{
    struct directory *directories = NULL, *d;

    for (size_t i = 0; i < m->entry_count; i++) {
        const struct manifest_entry *e = &m->entries[i];
        if (e->kind != MANIFEST_ABSENT)
            continue;
        const char *slash = strrchr(e->path, '/');
        const size_t len = slash == e->path ? 1 : (size_t)(slash - e->path);
        HASH_FIND(hh, directories, e->path, len, d);
        if (!d) {
            d = memory_new(1, sizeof *d);
            d->path = e->path;
            d->len = len;
            HASH_ADD_KEYPTR(hh, directories, d->path, len, d);
        }
        d->missed++;
        d->calls = manifest_sum(d->calls, manifest_calls(&e->counts));
    }
    return directories;
}

static int by_missed(struct directory *a, struct directory *b)
{
    if (a->missed != b->missed)
        return a->missed < b->missed ? 1 : -1;
    const int c = memcmp(a->path, b->path, a->len < b->len ? a->len : b->len);
    return c ? c : (a->len > b->len) - (a->len < b->len);
}

static void put_directories(json_t *figures, struct directory *directories)
{
    json_t *array = memory_check(json_array());

    for (struct directory *d = directories; d && json_array_size(array) < TOP; d = d->hh.next)
        json_array_append_new(array, memory_check(json_pack("[oII]", report_text(d->path, d->len),
                                                            (json_int_t)d->missed, (json_int_t)d->calls)));
    json_object_set_new(figures, "directory_count", report_number(HASH_COUNT(directories)));
    json_object_set_new(figures, "directories", array);
}

/* --- search paths ----------------------------------------------------------------------------------------------- */

/* "/a/" is "/a". */
static size_t trimmed(const char *part, size_t len)
{
    while (len > 1 && part[len - 1] == '/')
        len--;
    return len;
}

/* Appends each part, where it stood already (from 1; 0: nowhere), and what was missed in it. Parts that find no room
 * are counted. */
static uint64_t put_parts(json_t *array, const char *value, size_t room, struct directory *directories)
{
    const char *parts[PARTS];
    size_t lens[PARTS], n = 0;
    uint64_t left = 0;

    for (const char *p = value; *value; p++) {
        const char *part = p;
        struct directory *d;
        p += strcspn(p, ":");
        if (n < room) {
            size_t same = 0;
            parts[n] = part;
            lens[n] = trimmed(part, (size_t)(p - part));
            while (lens[same] != lens[n] || memcmp(parts[same], parts[n], lens[n]) != 0)
                same++;
            HASH_FIND(hh, directories, parts[n], lens[n], d);
            json_array_append_new(array, memory_check(json_pack("[oII]", report_text(parts[n], lens[n]),
                (json_int_t)(same < n ? same + 1 : 0), (json_int_t)(d ? d->missed : 0))));
            n++;
        } else {
            left++;
        }
        if (!*p)
            break;
    }
    return left;
}

static void put_paths(json_t *figures, const struct manifest *m, struct directory *directories)
{
    json_t *array = memory_check(json_array());
    size_t room = PARTS;
    uint64_t left = 0;

    for (size_t i = 0; i < m->search_count; i++) {
        const struct manifest_variable *v = &m->search[i];
        json_t *parts = memory_check(json_array());
        left += put_parts(parts, v->value, room, directories);
        room -= json_array_size(parts);
        if (json_array_size(parts))
            json_array_append_new(array, memory_check(json_pack("[oO]", report_text(v->name, strlen(v->name)), parts)));
        json_decref(parts);
    }
    json_object_set_new(figures, "search", array);
    json_object_set_new(figures, "search_left", report_number(left));
}

void report_searches(json_t *figures, const struct manifest *m)
{
    struct directory *directories = missed_directories(m), *d, *next;

    put_names(figures, m);
    HASH_SORT(directories, by_missed);
    put_directories(figures, directories);
    put_paths(figures, m, directories);
    HASH_ITER(hh, directories, d, next) {
        HASH_DEL(directories, d);
        free(d);
    }
}
