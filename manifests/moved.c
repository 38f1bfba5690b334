/* What belongs together among the differences: names that lead to another file, and trees that moved as a whole. */
#include <stdlib.h>
#include <string.h>
#include <uthash.h>

#include "facts/memory.h"
#include "manifests/diff.h"
#include "manifests/name.h"
#include "manifests/package.h"

#define LEAST 3        /* files that make a tree */
#define CANDIDATES 8   /* files of the same name that are tried */
#define MOST_TRIES 32   /* pairs of prefixes: each looks at every line */

/* A file that A found, and B did not, or not there. */
static bool is_lost(const struct diff_line *l)
{
    return l->cause == DIFF_FOUND_A || (l->cause == DIFF_ONLY_A && l->a->kind != MANIFEST_ABSENT);
}

static bool is_gained(const struct diff_line *l)
{
    return l->cause == DIFF_FOUND_B || (l->cause == DIFF_ONLY_B && l->b->kind != MANIFEST_ABSENT);
}

static void take_out(struct diff_line *l)
{
    l->cause = DIFF_NONE;
}

static void compact(struct diff *d)
{
    size_t n = 0;

    for (size_t i = 0; i < d->line_count; i++)
        if (d->lines[i].cause != DIFF_NONE)
            d->lines[n++] = d->lines[i];
    d->line_count = n;
}

/* Whether a run found a file below that directory. */
static bool uses(const struct manifest *m, const char *directory)
{
    const size_t n = strlen(directory);
    char *below = memory_join(directory, "", 0);
    const size_t k = strlen(below);
    bool found = false;

    for (size_t i = name_lower(m, below); n && i < m->entry_count && !found; i++) {
        if (strncmp(m->entries[i].path, below, k) != 0)
            break;
        found = manifest_has_contents(m->entries[i].kind);
    }
    free(below);
    return found;
}

/* --- names ------------------------------------------------------------------------------------------------------ */

struct name {
    char *name;
    char *a, *b;     /* where it was found: heap */
    char *directory; /* a's: in which it was searched for */
    char *b_directory;
    size_t entries;
    bool gone, fresh, shadows;
    UT_hash_handle hh;
};

static struct name *name_entry(struct name **names, const char *text, size_t n)
{
    struct name *found;

    HASH_FIND(hh, *names, text, n, found);
    if (!found) {
        found = memory_new(1, sizeof *found);
        found->name = memory_bytes(text, n);
        HASH_ADD_KEYPTR(hh, *names, found->name, n, found);
    }
    return found;
}

/* What a line of a file that was lost or gained is called. */
static bool name_line(const struct diff_line *l, struct name_place *p)
{
    const struct manifest_entry *e = is_lost(l) ? l->a : is_gained(l) ? l->b : NULL;

    return e && manifest_has_contents(e->kind) && name_of(e, p);
}

static bool is_cached(const char *path)
{
    return strstr(path, "/__pycache__/") != NULL;
}

/* A library of one name may be another file of the same directory; a module's file there is another of its forms. */
static bool is_elsewhere(const struct name *n)
{
    size_t len;

    return n->a && n->b && strcmp(n->a, n->b) != 0 &&
           (manifest_package(n->a, &len) == n->a || strcmp(n->directory, n->b_directory) != 0);
}

static void collect(const struct diff *d, struct name **names)
{
    for (size_t i = 0; i < d->line_count; i++) {
        const struct diff_line *l = &d->lines[i];
        struct name_place p;
        if (!name_line(l, &p))
            continue;
        const bool lost = is_lost(l);
        const char *path = (lost ? l->a : l->b)->path;
        struct name *n = name_entry(names, p.name, p.len);
        char **where = lost ? &n->a : &n->b, **searched = lost ? &n->directory : &n->b_directory;
        if (*where && !is_cached(*where)) /* the first that is no bytecode */
            continue;
        free(*where);
        free(*searched);
        *where = memory_bytes(path, p.place);
        *searched = memory_bytes(path, p.directory);
    }
}

/* Whether a path is that, or below it. */
static bool is_of(const char *path, const char *root)
{
    const size_t n = strlen(root);

    return strncmp(path, root, n) == 0 && (path[n] == '\0' || path[n] == '/');
}

static void explained(struct diff_line *l, struct name *n)
{
    n->gone |= l->cause == DIFF_FOUND_A;
    n->fresh |= l->cause == DIFF_FOUND_B;
    n->entries++;
    take_out(l);
}

/* All that lies where the name was found is explained by it: directories too, and what was looked for in vain. */
static void explain(struct diff *d, struct name *names)
{
    for (size_t i = 0; i < d->line_count; i++) {
        struct diff_line *l = &d->lines[i];
        const bool absent = (l->cause == DIFF_ONLY_A && !is_lost(l)) || (l->cause == DIFF_ONLY_B && !is_gained(l));
        if (!absent && !is_lost(l) && !is_gained(l))
            continue;
        const struct manifest_entry *e = l->a && l->cause != DIFF_FOUND_B ? l->a : l->b;
        struct name_place p;
        struct name *n = NULL;
        if (name_of(e, &p))
            HASH_FIND(hh, names, p.name, p.len, n);
        if (n && n->shadows && (manifest_has_contents(e->kind) || is_of(e->path, n->a) || is_of(e->path, n->b)))
            explained(l, n);
    }
}

static int by_name(struct name *a, struct name *b)
{
    return strcmp(a->name, b->name);
}

static void find_shadows(struct diff *d, const struct manifest *b)
{
    struct name *names = NULL, *n, *next;

    collect(d, &names);
    HASH_ITER(hh, names, n, next)
        n->shadows = is_elsewhere(n) && uses(b, n->directory);
    explain(d, names);
    HASH_SORT(names, by_name);
    HASH_ITER(hh, names, n, next) {
        HASH_DEL(names, n);
        if (n->shadows) {
            d->shadows = memory_grow(d->shadows, &d->shadow_capacity, d->shadow_count + 1, sizeof *d->shadows);
            d->shadows[d->shadow_count++] = (struct diff_shadow){n->name, n->a, n->b, n->gone, n->fresh, n->entries};
        } else {
            free(n->name);
            free(n->a);
            free(n->b);
        }
        free(n->directory);
        free(n->b_directory);
        free(n);
    }
    compact(d);
}

/* --- trees ------------------------------------------------------------------------------------------------------ */

/* The files that B alone found, by the last parts of their paths. */
struct ending {
    const struct diff_line *lines[CANDIDATES];
    size_t count;
    UT_hash_handle hh;
};

/* Votes of files for a pair of prefixes: from, NUL, to. */
struct vote {
    char *key;
    size_t size, count;
    UT_hash_handle hh;
};

static const char *last_parts(const char *path, int parts)
{
    const char *p = path + strlen(path);

    while (p > path && parts > 0)
        parts -= *--p == '/';
    return p + 1;
}

static void add_ending(struct ending **endings, const struct diff_line *l, const char *key)
{
    struct ending *e;

    HASH_FIND(hh, *endings, key, strlen(key), e);
    if (!e) {
        e = memory_new(1, sizeof *e);
        HASH_ADD_KEYPTR(hh, *endings, key, strlen(key), e);
    }
    if (e->count < CANDIDATES)
        e->lines[e->count++] = l;
}

/* How many bytes at their ends are the same: whole components, with the slash before them. */
static size_t common_end(const char *a, const char *b)
{
    const size_t n = strlen(a), k = strlen(b);
    size_t same = 0;

    for (size_t i = 1; i <= n && i <= k && a[n - i] == b[k - i]; i++)
        if (a[n - i] == '/')
            same = i;
    return same;
}

static void vote(struct vote **votes, const char *a, const char *b, size_t end)
{
    const size_t n = strlen(a) - end, k = strlen(b) - end;
    char *key = memory_new(n + k + 2, 1);
    struct vote *v;

    memcpy(key, a, n);
    memcpy(key + n + 1, b, k);
    HASH_FIND(hh, *votes, key, n + k + 2, v);
    if (!v) {
        v = memory_new(1, sizeof *v);
        v->key = key;
        v->size = n + k + 2;
        HASH_ADD_KEYPTR(hh, *votes, v->key, v->size, v);
    } else {
        free(key);
    }
    v->count++;
}

static void vote_for(struct vote **votes, struct ending *endings, const struct diff_line *l)
{
    const char *best = NULL;
    size_t most = 0;

    for (int parts = 2; parts > 0 && !best; parts--) {
        struct ending *e;
        const char *key = last_parts(l->a->path, parts);
        HASH_FIND(hh, endings, key, strlen(key), e);
        for (size_t i = 0; e && i < e->count; i++) {
            const size_t end = common_end(l->a->path, e->lines[i]->b->path);
            if (end > most) {
                most = end;
                best = e->lines[i]->b->path;
            }
        }
    }
    if (best)
        vote(votes, l->a->path, best, most);
}

static struct vote *count_votes(const struct diff *d)
{
    struct ending *endings = NULL, *e, *next;
    struct vote *votes = NULL;

    for (size_t i = 0; i < d->line_count; i++) {
        const struct diff_line *l = &d->lines[i];
        if (!is_gained(l) || !manifest_has_contents(l->b->kind))
            continue;
        add_ending(&endings, l, last_parts(l->b->path, 1));
        add_ending(&endings, l, last_parts(l->b->path, 2));
    }
    for (size_t i = 0; endings && i < d->line_count; i++)
        if (is_lost(&d->lines[i]) && manifest_has_contents(d->lines[i].a->kind))
            vote_for(&votes, endings, &d->lines[i]);
    HASH_ITER(hh, endings, e, next) {
        HASH_DEL(endings, e);
        free(e);
    }
    return votes;
}

static int by_votes(struct vote *a, struct vote *b)
{
    return a->count != b->count ? (a->count < b->count ? 1 : -1) : strcmp(a->key, b->key);
}

/* B's line about that path. */
static struct diff_line *line_at(struct diff *d, const char *path)
{
    size_t low = 0, high = d->line_count;

    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        const struct diff_line *l = &d->lines[middle];
        const int c = strcmp((l->a ? l->a : l->b)->path, path);
        if (c == 0)
            return &d->lines[middle];
        if (c < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

/* Symlinks that lead to the same place of the tree. */
static bool same_target(const struct manifest_entry *a, const struct manifest_entry *b, const char *from,
                        const char *to)
{
    const size_t n = strlen(from), k = strlen(to);

    return a->kind == MANIFEST_SYMLINK && b->kind == MANIFEST_SYMLINK && a->target && b->target &&
           strncmp(a->target, from, n) == 0 && strncmp(b->target, to, k) == 0 &&
           strcmp(a->target + n, b->target + k) == 0;
}

static void pair(struct diff_move *m, struct diff_line *l, struct diff_line *other)
{
    const enum diff_cause cause = diff_entries(l->a, other->b);

    if (cause == DIFF_NONE || cause == DIFF_TIME || same_target(l->a, other->b, m->from, m->to)) {
        take_out(l);
        m->same++;
    } else {
        *l = (struct diff_line){cause, l->a, other->b};
        m->changed++;
    }
    take_out(other);
}

/* Finds the pairs of one move; only counts them, or pairs them as well. */
static size_t pairs(struct diff *d, struct diff_move *m, bool apply)
{
    const size_t n = strlen(m->from);
    size_t count = 0;

    for (size_t i = 0; i < d->line_count; i++) {
        struct diff_line *l = &d->lines[i];
        const bool vain = l->cause == DIFF_ONLY_A && l->a->kind == MANIFEST_ABSENT;
        if ((!is_lost(l) && !(apply && vain)) || !is_of(l->a->path, m->from))
            continue;
        char *path;
        if (asprintf(&path, "%s%s", m->to, l->a->path + n) < 0)
            memory_check(NULL);
        struct diff_line *other = line_at(d, path);
        free(path);
        if (!other || !(vain ? other->cause == DIFF_ONLY_B && other->b->kind == MANIFEST_ABSENT : is_gained(other)))
            continue;
        count += manifest_has_contents(l->a->kind);
        if (apply)
            pair(m, l, other);
    }
    return count;
}

static int by_size(const void *x, const void *y)
{
    const struct diff_move *a = x, *b = y;
    const size_t n = a->same + a->changed, k = b->same + b->changed;

    return n != k ? (n < k ? 1 : -1) : strcmp(a->from, b->from);
}

static void find_moves(struct diff *d)
{
    struct vote *votes = count_votes(d), *v, *next;
    unsigned tries = 0;

    HASH_SORT(votes, by_votes);
    HASH_ITER(hh, votes, v, next) {
        struct diff_move m = {.from = v->key, .to = v->key + strlen(v->key) + 1};
        if (v->count >= LEAST && tries++ < MOST_TRIES && pairs(d, &m, false) >= LEAST) {
            pairs(d, &m, true);
            m.from = memory_text(m.from);
            m.to = memory_text(m.to);
            d->moves = memory_grow(d->moves, &d->move_capacity, d->move_count + 1, sizeof *d->moves);
            d->moves[d->move_count++] = m;
        }
        HASH_DEL(votes, v);
        free(v->key);
        free(v);
    }
    if (d->move_count)
        qsort(d->moves, d->move_count, sizeof *d->moves, by_size);
    compact(d);
}

void diff_relate(struct diff *d, const struct manifest *b)
{
    find_shadows(d, b);
    find_moves(d);
}
