#include "manifests/diff.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "facts/memory.h"
#include "manifests/package.h"
#include "manifests/text.h"

const char *const diff_cause_texts[DIFF_CAUSES] = {
    "contents changed", "something else by the same name", "modified at another time, contents the same",
    "other permissions", "written in by one of the two", "found in A, absent in B", "absent in A, found in B",
    "only in A", "only in B",
};
const char *const diff_cause_names[DIFF_CAUSES] = {"content", "kind",    "time",   "mode",  "volatile",
                                                   "found-a", "found-b", "only-a", "only-b"};

/* --- comparing -------------------------------------------------------------------------------------------------- */

static bool same_text(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}

/* What is the same file to the one run may have been looked at and not read by the other. */
static bool is_file(enum manifest_kind kind)
{
    return kind != MANIFEST_DIRECTORY && kind != MANIFEST_SYMLINK && kind != MANIFEST_ABSENT;
}

static void add_line(struct diff *d, enum diff_cause cause, const struct manifest_entry *a,
                     const struct manifest_entry *b)
{
    d->lines = memory_grow(d->lines, &d->line_capacity, d->line_count + 1, sizeof *d->lines);
    d->lines[d->line_count++] = (struct diff_line){cause, a, b};
}

static void compare(struct diff *d, const struct manifest_entry *a, const struct manifest_entry *b)
{
    if (a->kind == MANIFEST_ABSENT || b->kind == MANIFEST_ABSENT) {
        if (a->kind != b->kind)
            add_line(d, b->kind == MANIFEST_ABSENT ? DIFF_FOUND_A : DIFF_FOUND_B, a, b);
        return;
    }
    if (is_file(a->kind) != is_file(b->kind) || (!is_file(a->kind) && a->kind != b->kind) ||
        (a->kind == MANIFEST_SYMLINK && !same_text(a->target, b->target))) {
        add_line(d, DIFF_KIND, a, b);
        return;
    }
    if (a->kind == MANIFEST_SYMLINK)
        return;
    if (!is_file(a->kind)) {
        if (a->has_stat && b->has_stat && (a->mode & 07777) != (b->mode & 07777))
            add_line(d, DIFF_MODE, a, b);
        else if (a->is_volatile != b->is_volatile)
            add_line(d, DIFF_VOLATILE, a, b);
        return;
    }
    const bool digests = a->has_digest && b->has_digest;
    const bool stats = a->has_stat && b->has_stat;
    if ((digests && memcmp(a->digest, b->digest, sizeof a->digest) != 0) || (stats && a->size != b->size) ||
        (!digests && stats && a->mtime_ns != b->mtime_ns))
        add_line(d, DIFF_CONTENT, a, b);
    else if (stats && a->mtime_ns != b->mtime_ns)
        add_line(d, DIFF_TIME, a, b);
    else if (stats && (a->mode & 07777) != (b->mode & 07777))
        add_line(d, DIFF_MODE, a, b);
}

static void add_head(struct diff *d, const char *name, const char *a, const char *b)
{
    if (same_text(a, b))
        return;
    d->heads = memory_grow(d->heads, &d->head_capacity, d->head_count + 1, sizeof *d->heads);
    d->heads[d->head_count++] =
        (struct diff_head){memory_text(name), a ? memory_text(a) : NULL, b ? memory_text(b) : NULL};
}

static const char *variable(const struct manifest *m, const char *name)
{
    for (size_t i = 0; i < m->search_count; i++)
        if (strcmp(m->search[i].name, name) == 0)
            return m->search[i].value;
    return NULL;
}

/* A list as one text, each element in quotes: ("a b") is not ("a", "b"). NULL for an empty one. Heap. */
static char *quoted(char *const *list, size_t count)
{
    char *text = NULL;
    size_t size;

    if (count == 0)
        return NULL;
    FILE *f = memory_check(open_memstream(&text, &size));
    for (size_t i = 0; i < count; i++) {
        fputs(i ? " '" : "'", f);
        for (const char *p = list[i]; *p; p++)
            *p == '\'' ? fputs("'\\''", f) : putc(*p, f);
        putc('\'', f);
    }
    fclose(f);
    return memory_check(text);
}

static void compare_lists(struct diff *d, const char *name, char *const *a, size_t a_count, char *const *b,
                          size_t b_count)
{
    char *x = quoted(a, a_count), *y = quoted(b, b_count);

    add_head(d, name, x, y);
    free(x);
    free(y);
}

static void compare_heads(struct diff *d, const struct manifest *a, const struct manifest *b)
{
    add_head(d, "interpreter", a->interpreter, b->interpreter);
    for (size_t i = 0; i < a->search_count; i++)
        add_head(d, a->search[i].name, a->search[i].value, variable(b, a->search[i].name));
    for (size_t i = 0; i < b->search_count; i++)
        if (!variable(a, b->search[i].name))
            add_head(d, b->search[i].name, NULL, b->search[i].value);
    add_head(d, "policy: all", a->policy.all ? "true" : "false", b->policy.all ? "true" : "false");
    compare_lists(d, "policy: include", a->policy.include, a->policy.include_count, b->policy.include,
                  b->policy.include_count);
    compare_lists(d, "policy: exclude", a->policy.exclude, a->policy.exclude_count, b->policy.exclude,
                  b->policy.exclude_count);
    compare_lists(d, "policy: prefixes", a->policy.prefixes, a->policy.prefix_count, b->policy.prefixes,
                  b->policy.prefix_count);
}

void diff_manifests(const struct manifest *a, const struct manifest *b, struct diff *d)
{
    size_t i = 0, j = 0;

    *d = (struct diff){0};
    compare_heads(d, a, b);
    while (i < a->entry_count || j < b->entry_count) {
        const int c = i == a->entry_count   ? 1
                      : j == b->entry_count ? -1
                                            : strcmp(a->entries[i].path, b->entries[j].path);
        if (c < 0)
            add_line(d, DIFF_ONLY_A, &a->entries[i++], NULL);
        else if (c > 0)
            add_line(d, DIFF_ONLY_B, NULL, &b->entries[j++]);
        else
            compare(d, &a->entries[i++], &b->entries[j++]);
    }
}

void diff_free(struct diff *d)
{
    for (size_t i = 0; i < d->head_count; i++) {
        free(d->heads[i].name);
        free(d->heads[i].a);
        free(d->heads[i].b);
    }
    free(d->heads);
    free(d->lines);
    *d = (struct diff){0};
}

/* --- saying ----------------------------------------------------------------------------------------------------- */

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

static void put_what(FILE *f, const struct diff_line *l)
{
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
        fprintf(f, " (%s)", l->a->is_volatile ? "A" : "B");
    } else if ((l->cause == DIFF_ONLY_A || l->cause == DIFF_ONLY_B) && either(l)->kind == MANIFEST_ABSENT) {
        fputs(" (looked for in vain)", f);
    }
}

struct colours {
    const char *bold, *red, *green, *off;
};

static void put_side(FILE *f, const char *colour, const char *side, const char *text, const char *off)
{
    fprintf(f, "  %s%s", colour, side);
    put_plain(f, ": ", text ? text : "(not set)");
    fprintf(f, "%s\n", off);
}

static void put_heads(const struct diff *d, FILE *f, const struct colours *c)
{
    for (size_t i = 0; i < d->head_count; i++) {
        fputs(c->bold, f);
        put_plain(f, "", d->heads[i].name);
        fprintf(f, "%s\n", c->off);
        put_side(f, c->red, "A", d->heads[i].a, c->off);
        put_side(f, c->green, "B", d->heads[i].b, c->off);
    }
}

/* The titles over a line: its cause where that is another than the last one's, its package likewise. */
static void put_titles(FILE *f, const struct diff_line *const *line, size_t before, size_t after,
                       const struct colours *c)
{
    const bool fresh = before == 0 || line[-1]->cause != line[0]->cause;
    size_t n, k = 0;
    const char *package = manifest_package(either(line[0])->path, &n);
    const char *last = fresh ? NULL : manifest_package(either(line[-1])->path, &k);

    if (fresh) {
        size_t count = 1;
        while (count < after && line[count]->cause == line[0]->cause)
            count++;
        fprintf(f, "%s%s: %zu%s\n", c->bold, diff_cause_texts[line[0]->cause], count, c->off);
    }
    if (fresh || n != k || memcmp(package, last, n) != 0) {
        char *name = memory_bytes(package, n);
        put_plain(f, "  ", name);
        free(name);
        putc('\n', f);
    }
}

static void put_line(FILE *f, const struct diff_line *l, const struct colours *c)
{
    const bool only_a = l->cause == DIFF_ONLY_A || l->cause == DIFF_FOUND_A;
    const bool only_b = l->cause == DIFF_ONLY_B || l->cause == DIFF_FOUND_B;

    fprintf(f, "    %s", only_a ? c->red : only_b ? c->green : "");
    put_plain(f, "", either(l)->path);
    put_what(f, l);
    fprintf(f, "%s\n", only_a || only_b ? c->off : "");
}

void diff_print(const struct diff *d, FILE *f, bool colours)
{
    static const struct colours none = {"", "", "", ""}, some = {"\033[1m", "\033[31m", "\033[32m", "\033[0m"};
    const struct colours *c = colours ? &some : &none;
    const struct diff_line **order = memory_new(d->line_count, sizeof *order);

    put_heads(d, f, c);
    for (size_t i = 0; i < d->line_count; i++)
        order[i] = &d->lines[i];
    if (d->line_count)
        qsort(order, d->line_count, sizeof *order, by_cause);
    for (size_t i = 0; i < d->line_count; i++) {
        put_titles(f, order + i, i, d->line_count - i, c);
        put_line(f, order[i], c);
    }
    free(order);
}

json_t *diff_json(const struct diff *d)
{
    json_t *root = memory_check(json_object()), *heads = memory_check(json_array()),
           *lines = memory_check(json_array());

    for (size_t i = 0; i < d->head_count; i++) {
        json_t *o = memory_check(json_object());
        text_set(o, "name", d->heads[i].name);
        if (d->heads[i].a)
            text_set(o, "a", d->heads[i].a);
        if (d->heads[i].b)
            text_set(o, "b", d->heads[i].b);
        json_array_append_new(heads, o);
    }
    for (size_t i = 0; i < d->line_count; i++) {
        json_t *o = memory_check(json_object());
        size_t n;
        const char *package = manifest_package(either(&d->lines[i])->path, &n);
        char *name = memory_bytes(package, n);
        json_object_set_new(o, "cause", json_string(diff_cause_names[d->lines[i].cause]));
        text_set(o, "path", either(&d->lines[i])->path);
        text_set(o, "package", name);
        free(name);
        json_array_append_new(lines, o);
    }
    json_object_set_new(root, "same", json_boolean(d->head_count == 0 && d->line_count == 0));
    json_object_set_new(root, "head", heads);
    json_object_set_new(root, "entries", lines);
    return root;
}
