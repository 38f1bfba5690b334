#include "manifests/search_path.h"

#include <stdlib.h>
#include <string.h>

#include "facts/memory.h"

struct element {
    const char *text;
    size_t len;
    size_t other; /* its place in the other path, from 1; or 0 */
    size_t rank;  /* among those that both have */
};

struct elements {
    struct element *list;
    size_t count, capacity;
};

static struct elements split(const char *path)
{
    struct elements e = {0};

    for (const char *p = path; p && *path; p++) {
        const size_t n = strcspn(p, ":");
        e.list = memory_grow(e.list, &e.capacity, e.count + 1, sizeof *e.list);
        e.list[e.count++] = (struct element){p, n, 0, 0};
        p += n;
        if (!*p)
            break;
    }
    return e;
}

/* The first of that name. */
static size_t place_of(const struct elements *e, const struct element *name)
{
    for (size_t i = 0; i < e->count; i++)
        if (e->list[i].len == name->len && memcmp(e->list[i].text, name->text, name->len) == 0)
            return i + 1;
    return 0;
}

static void relate(struct elements *e, const struct elements *other)
{
    size_t rank = 0;

    for (size_t i = 0; i < e->count; i++) {
        e->list[i].other = place_of(other, &e->list[i]);
        e->list[i].rank = rank += e->list[i].other != 0;
    }
}

static void add(struct search_path_changes *c, enum search_path_what what, const struct element *e, size_t place)
{
    c->list = memory_grow(c->list, &c->capacity, c->count + 1, sizeof *c->list);
    c->list[c->count++] = (struct search_path_change){what, memory_bytes(e->text, e->len), place,
                                                      what == SEARCH_PATH_MOVED ? e->other : 0};
}

void search_path_compare(const char *a, const char *b, struct search_path_changes *changes)
{
    struct elements x = split(a), y = split(b);

    *changes = (struct search_path_changes){0};
    relate(&x, &y);
    relate(&y, &x);
    for (size_t i = 0; i < x.count; i++)
        if (!x.list[i].other)
            add(changes, SEARCH_PATH_REMOVED, &x.list[i], i + 1);
    for (size_t i = 0; i < y.count; i++) {
        const struct element *e = &y.list[i];
        if (!e->other)
            add(changes, SEARCH_PATH_ADDED, e, i + 1);
        else if (y.list[place_of(&y, e) - 1].rank != x.list[e->other - 1].rank)
            add(changes, SEARCH_PATH_MOVED, e, i + 1);
    }
    free(x.list);
    free(y.list);
}

void search_path_free(struct search_path_changes *changes)
{
    for (size_t i = 0; i < changes->count; i++)
        free(changes->list[i].element);
    free(changes->list);
    *changes = (struct search_path_changes){0};
}
