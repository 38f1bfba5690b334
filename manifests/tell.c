/* Saying how manifests differ, to people and to programs. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "facts/memory.h"
#include "manifests/diff.h"
#include "manifests/package.h"
#include "manifests/search_path.h"
#include "manifests/text.h"

/* %a and %b are what the two are called. */
static const char *const texts[DIFF_CAUSES] = {
    "found in %a, absent in %b", "absent in %a, found in %b", "something else by the same name", "contents changed",
    "written in by one of the two", "only in %a", "only in %b", "names came or went",
    "modified at another time, contents the same", "other permissions",
};
const char *const diff_cause_names[DIFF_CAUSES] = {"found-a", "found-b", "kind",  "content", "volatile",
                                                   "only-a",  "only-b",  "names", "time",    "mode"};

/* Everything that printing needs at hand. */
struct teller {
    FILE *f;
    const char *a, *b;
    const char *bold, *red, *green, *off;
    size_t top;
};

static const struct manifest_entry *either(const struct diff_line *l)
{
    return l->a ? l->a : l->b;
}

static int by_cause(const void *x, const void *y)
{
    const struct diff_line *a = *(const struct diff_line *const *)x, *b = *(const struct diff_line *const *)y;
    size_t n, k;

    if (a->cause != b->cause)
        return a->cause < b->cause ? -1 : 1;
    const char *p = manifest_package(either(a)->path, &n), *q = manifest_package(either(b)->path, &k);
    const int c = memcmp(p, q, n < k ? n : k);
    if (c || n != k)
        return c ? c : n < k ? -1 : 1;
    return strcmp(either(a)->path, either(b)->path);
}

static void put_plain(FILE *f, const char *before, const char *text)
{
    char *plain = text_plain(text);

    fprintf(f, "%s%s", before, plain);
    free(plain);
}

static void put_kind(FILE *f, const struct manifest_entry *e)
{
    fputs(manifest_kind_names[e->kind], f);
    if (e->target)
        put_plain(f, " to ", e->target);
}

static void put_what(const struct teller *t, const struct diff_line *l)
{
    FILE *f = t->f;

    if (l->cause == DIFF_KIND) {
        fputs(" (", f);
        put_kind(f, l->a);
        fputs("; ", f);
        put_kind(f, l->b);
        putc(')', f);
    } else if (l->cause == DIFF_CONTENT && l->a->has_stat && l->b->has_stat && l->a->size != l->b->size) {
        fprintf(f, " (%" PRIu64 ", %" PRIu64 " bytes)", l->a->size, l->b->size);
    } else if (l->cause == DIFF_MODE) {
        fprintf(f, " (%04o, %04o)", l->a->mode & 07777, l->b->mode & 07777);
    } else if (l->cause == DIFF_VOLATILE) {
        fprintf(f, " (%s)", l->a->is_volatile ? t->a : t->b);
    } else if ((l->cause == DIFF_ONLY_A || l->cause == DIFF_ONLY_B) && either(l)->kind == MANIFEST_ABSENT) {
        fputs(" (looked for in vain)", f);
    }
}

/* --- the heads -------------------------------------------------------------------------------------------------- */

static void put_side(const struct teller *t, const char *colour, const char *side, const char *text)
{
    fprintf(t->f, "  %s%s", colour, side);
    put_plain(t->f, ": ", text ? text : "(not set)");
    fprintf(t->f, "%s\n", t->off);
}

/* "~ 2 /sw/lib (was 1)"; false where only what stands there again makes the difference. */
static bool put_path(const struct teller *t, const struct diff_head *h)
{
    const char *const colours[] = {t->red, t->green, ""};
    struct search_path_changes changes;

    search_path_compare(h->a, h->b, &changes);
    for (size_t i = 0; i < changes.count; i++) {
        const struct search_path_change *c = &changes.list[i];
        fprintf(t->f, "  %s%c %zu", colours[c->what], "-+~"[c->what], c->place);
        put_plain(t->f, " ", *c->element ? c->element : "(empty: the current directory)");
        if (c->what == SEARCH_PATH_MOVED)
            fprintf(t->f, " (was %zu)\n", c->was);
        else
            fprintf(t->f, "%s\n", t->off);
    }
    const bool any = changes.count > 0;
    search_path_free(&changes);
    return any;
}

static void put_heads(const struct diff *d, const struct teller *t)
{
    for (size_t i = 0; i < d->head_count; i++) {
        const struct diff_head *h = &d->heads[i];
        fputs(t->bold, t->f);
        put_plain(t->f, "", h->name);
        fprintf(t->f, "%s\n", t->off);
        if (h->is_path && h->a && h->b && *h->a && *h->b && put_path(t, h))
            continue;
        put_side(t, t->red, t->a, h->a);
        put_side(t, t->green, t->b, h->b);
    }
}

/* --- what belongs together -------------------------------------------------------------------------------------- */

static void put_shadows(const struct diff *d, const struct teller *t)
{
    if (d->shadow_count)
        fprintf(t->f, "%sthe same name, found elsewhere: %zu%s\n", t->bold, d->shadow_count, t->off);
    for (size_t i = 0; i < d->shadow_count; i++) {
        const struct diff_shadow *s = &d->shadows[i];
        put_plain(t->f, "  ", s->name);
        fprintf(t->f, " (%zu entries)\n    %s%s", s->entries, t->red, t->a);
        put_plain(t->f, ": ", s->a);
        if (s->gone)
            fprintf(t->f, " (%s looked there in vain)", t->b);
        fprintf(t->f, "%s\n    %s%s", t->off, t->green, t->b);
        put_plain(t->f, ": ", s->b);
        if (s->fresh)
            fprintf(t->f, " (%s looked there in vain)", t->a);
        fprintf(t->f, "%s\n", t->off);
    }
}

static void put_moves(const struct diff *d, const struct teller *t)
{
    if (d->move_count)
        fprintf(t->f, "%smoved: %zu%s\n", t->bold, d->move_count, t->off);
    for (size_t i = 0; i < d->move_count; i++) {
        const struct diff_move *m = &d->moves[i];
        put_plain(t->f, "  ", *m->from ? m->from : "/");
        put_plain(t->f, " -> ", *m->to ? m->to : "/");
        fprintf(t->f, ": %zu the same", m->same);
        if (m->changed)
            fprintf(t->f, ", %zu changed", m->changed);
        putc('\n', t->f);
    }
}

/* --- the lines -------------------------------------------------------------------------------------------------- */

static void put_cause(const struct teller *t, enum diff_cause cause, size_t count)
{
    fputs(t->bold, t->f);
    for (const char *p = texts[cause]; *p; p++) {
        if (*p == '%')
            fputs(*++p == 'a' ? t->a : t->b, t->f);
        else
            putc(*p, t->f);
    }
    fprintf(t->f, ": %zu%s\n", count, t->off);
}

static void put_line(const struct teller *t, const struct diff_line *l)
{
    const bool only_a = l->cause == DIFF_ONLY_A || l->cause == DIFF_FOUND_A;
    const bool only_b = l->cause == DIFF_ONLY_B || l->cause == DIFF_FOUND_B;

    fprintf(t->f, "    %s", only_a ? t->red : only_b ? t->green : "");
    put_plain(t->f, "", either(l)->path);
    if (l->a && l->b && strcmp(l->a->path, l->b->path) != 0)
        put_plain(t->f, " -> ", l->b->path);
    put_what(t, l);
    fprintf(t->f, "%s\n", only_a || only_b ? t->off : "");
}

static bool same_package(const struct diff_line *x, const struct diff_line *y)
{
    size_t n, k;
    const char *p = manifest_package(either(x)->path, &n), *q = manifest_package(either(y)->path, &k);

    return n == k && memcmp(p, q, n) == 0;
}

/* The lines of one package and cause, from the first on; how many. */
static size_t put_package(const struct teller *t, const struct diff_line *const *line, size_t count)
{
    size_t n, k = 1;
    const char *package = manifest_package(either(line[0])->path, &n);
    char *name = memory_bytes(package, n);

    while (k < count && line[k]->cause == line[0]->cause && same_package(line[0], line[k]))
        k++;
    put_plain(t->f, "  ", name);
    putc('\n', t->f);
    free(name);
    for (size_t i = 0; i < k && i < t->top; i++)
        put_line(t, line[i]);
    if (k > t->top)
        fprintf(t->f, "    and %zu more (--all)\n", k - t->top);
    return k;
}

static void put_lines(const struct diff *d, const struct teller *t)
{
    const struct diff_line **order = memory_new(d->line_count, sizeof *order);

    for (size_t i = 0; i < d->line_count; i++)
        order[i] = &d->lines[i];
    if (d->line_count)
        qsort(order, d->line_count, sizeof *order, by_cause);
    for (size_t i = 0; i < d->line_count;) {
        size_t end = i;
        while (end < d->line_count && order[end]->cause == order[i]->cause)
            end++;
        put_cause(t, order[i]->cause, end - i);
        while (i < end)
            i += put_package(t, order + i, end - i);
    }
    free(order);
}

void diff_print(const struct diff *d, FILE *f, const struct diff_style *style)
{
    const bool c = style->colours;
    const struct teller t = {f, style->a ? style->a : "A", style->b ? style->b : "B", c ? "\033[1m" : "",
                             c ? "\033[31m" : "", c ? "\033[32m" : "", c ? "\033[0m" : "", style->top};

    put_heads(d, &t);
    put_shadows(d, &t);
    put_moves(d, &t);
    put_lines(d, &t);
}

/* --- for programs ----------------------------------------------------------------------------------------------- */

static json_t *elements_json(const struct search_path_changes *changes, enum search_path_what what)
{
    json_t *array = memory_check(json_array());

    for (size_t i = 0; i < changes->count; i++) {
        const struct search_path_change *c = &changes->list[i];
        if (c->what != what)
            continue;
        json_t *o = memory_check(json_object());
        text_set(o, "element", c->element);
        json_object_set_new(o, "place", json_integer((json_int_t)c->place));
        if (what == SEARCH_PATH_MOVED)
            json_object_set_new(o, "was", json_integer((json_int_t)c->was));
        json_array_append_new(array, o);
    }
    return array;
}

static void path_json(json_t *o, const struct diff_head *h)
{
    struct search_path_changes changes;

    search_path_compare(h->a, h->b, &changes);
    json_object_set_new(o, "removed", elements_json(&changes, SEARCH_PATH_REMOVED));
    json_object_set_new(o, "added", elements_json(&changes, SEARCH_PATH_ADDED));
    json_object_set_new(o, "moved", elements_json(&changes, SEARCH_PATH_MOVED));
    search_path_free(&changes);
}

static json_t *heads_json(const struct diff *d)
{
    json_t *array = memory_check(json_array());

    for (size_t i = 0; i < d->head_count; i++) {
        json_t *o = memory_check(json_object());
        text_set(o, "name", d->heads[i].name);
        if (d->heads[i].a)
            text_set(o, "a", d->heads[i].a);
        if (d->heads[i].b)
            text_set(o, "b", d->heads[i].b);
        if (d->heads[i].is_path)
            path_json(o, &d->heads[i]);
        json_array_append_new(array, o);
    }
    return array;
}

static json_t *shadows_json(const struct diff *d)
{
    json_t *array = memory_check(json_array());

    for (size_t i = 0; i < d->shadow_count; i++) {
        const struct diff_shadow *s = &d->shadows[i];
        json_t *o = memory_check(json_object());
        text_set(o, "name", s->name);
        text_set(o, "a", s->a);
        text_set(o, "b", s->b);
        json_object_set_new(o, "gone", json_boolean(s->gone));
        json_object_set_new(o, "fresh", json_boolean(s->fresh));
        json_object_set_new(o, "entries", json_integer((json_int_t)s->entries));
        json_array_append_new(array, o);
    }
    return array;
}

static json_t *moves_json(const struct diff *d)
{
    json_t *array = memory_check(json_array());

    for (size_t i = 0; i < d->move_count; i++) {
        json_t *o = memory_check(json_object());
        text_set(o, "from", d->moves[i].from);
        text_set(o, "to", d->moves[i].to);
        json_object_set_new(o, "same", json_integer((json_int_t)d->moves[i].same));
        json_object_set_new(o, "changed", json_integer((json_int_t)d->moves[i].changed));
        json_array_append_new(array, o);
    }
    return array;
}

static json_t *line_json(const struct diff_line *l)
{
    json_t *o = memory_check(json_object());
    size_t n;
    const char *package = manifest_package(either(l)->path, &n);
    char *name = memory_bytes(package, n);

    json_object_set_new(o, "cause", json_string(diff_cause_names[l->cause]));
    text_set(o, "path", either(l)->path);
    if (l->a && l->b && strcmp(l->a->path, l->b->path) != 0)
        text_set(o, "now", l->b->path);
    text_set(o, "package", name);
    free(name);
    return o;
}

json_t *diff_json(const struct diff *d)
{
    json_t *root = memory_check(json_object()), *lines = memory_check(json_array());

    for (size_t i = 0; i < d->line_count; i++)
        json_array_append_new(lines, line_json(&d->lines[i]));
    json_object_set_new(root, "same", json_boolean(diff_is_same(d)));
    json_object_set_new(root, "head", heads_json(d));
    json_object_set_new(root, "shadowed", shadows_json(d));
    json_object_set_new(root, "moved", moves_json(d));
    json_object_set_new(root, "entries", lines);
    return root;
}
