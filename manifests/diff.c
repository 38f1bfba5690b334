#include "manifests/diff.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "facts/memory.h"
#include "manifests/show.h"
#include "manifests/text.h"

const char *const diff_cause_texts[DIFF_CAUSES] = {
    "contents changed", "something else by the same name", "modified at another time, contents the same",
    "other permissions", "found in A, absent in B", "absent in A, found in B", "only in A", "only in B",
};
const char *const diff_cause_names[DIFF_CAUSES] = {"content", "kind",    "time",   "mode",
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
    if (!is_file(a->kind)) {
        if (a->has_stat && b->has_stat && (a->mode & 07777) != (b->mode & 07777))
            add_line(d, DIFF_MODE, a, b);
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

/* A list as one text; heap. */
static char *joined(char *const *list, size_t count)
{
    size_t size = 1;

    for (size_t i = 0; i < count; i++)
        size += strlen(list[i]) + 1;
    char *text = memory_new(1, size), *p = text;
    for (size_t i = 0; i < count; i++)
        p += sprintf(p, "%s%s", i ? " " : "", list[i]);
    return text;
}

static void compare_lists(struct diff *d, const char *name, char *const *a, size_t a_count, char *const *b,
                          size_t b_count)
{
    char *x = joined(a, a_count), *y = joined(b, b_count);

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

/* Control characters would do things to the terminal. */
static void put_path(FILE *f, const char *path)
{
    for (const unsigned char *p = (const unsigned char *)path; *p; p++) {
        if (*p < ' ' || *p == 0x7f)
            fprintf(f, "\\x%02x", *p);
        else
            putc(*p, f);
    }
}

static void put_what(FILE *f, const struct diff_line *l)
{
    if (l->cause == DIFF_KIND) {
        fprintf(f, " (%s", manifest_kind_names[l->a->kind]);
        if (l->a->target)
            fprintf(f, " to %s", l->a->target);
        fprintf(f, "; %s", manifest_kind_names[l->b->kind]);
        if (l->b->target)
            fprintf(f, " to %s", l->b->target);
        putc(')', f);
    } else if (l->cause == DIFF_CONTENT && l->a->size != l->b->size) {
        fprintf(f, " (%" PRIu64 ", %" PRIu64 " bytes)", l->a->size, l->b->size);
    } else if (l->cause == DIFF_MODE) {
        fprintf(f, " (%04o, %04o)", l->a->mode & 07777, l->b->mode & 07777);
    } else if ((l->cause == DIFF_ONLY_A || l->cause == DIFF_ONLY_B) && either(l)->kind == MANIFEST_ABSENT) {
        fputs(" (looked for in vain)", f);
    }
}

void diff_print(const struct diff *d, FILE *f, bool colours)
{
    const char *bold = colours ? "\033[1m" : "", *red = colours ? "\033[31m" : "", *green = colours ? "\033[32m" : "",
               *off = colours ? "\033[0m" : "";
    const struct diff_line **order = memory_new(d->line_count, sizeof *order);

    for (size_t i = 0; i < d->head_count; i++) {
        fprintf(f, "%s%s%s\n", bold, d->heads[i].name, off);
        fprintf(f, "  %sA: %s%s\n", red, d->heads[i].a ? d->heads[i].a : "(not set)", off);
        fprintf(f, "  %sB: %s%s\n", green, d->heads[i].b ? d->heads[i].b : "(not set)", off);
    }
    for (size_t i = 0; i < d->line_count; i++)
        order[i] = &d->lines[i];
    qsort(order, d->line_count, sizeof *order, by_cause);
    for (size_t i = 0; i < d->line_count; i++) {
        const struct diff_line *l = order[i];
        size_t n, k = 0;
        const char *package = manifest_package(either(l)->path, &n), *last = NULL;
        const bool fresh = i == 0 || order[i - 1]->cause != l->cause;
        if (!fresh)
            last = manifest_package(either(order[i - 1])->path, &k);
        if (fresh) {
            size_t count = 1;
            while (i + count < d->line_count && order[i + count]->cause == l->cause)
                count++;
            fprintf(f, "%s%s: %zu%s\n", bold, diff_cause_texts[l->cause], count, off);
        }
        if (fresh || n != k || memcmp(package, last, n) != 0) {
            fputs("  ", f);
            char *name = memory_bytes(package, n);
            put_path(f, name);
            free(name);
            putc('\n', f);
        }
        fputs("    ", f);
        fputs(l->cause == DIFF_ONLY_A || l->cause == DIFF_FOUND_A   ? red
              : l->cause == DIFF_ONLY_B || l->cause == DIFF_FOUND_B ? green
                                                                    : "", f);
        put_path(f, either(l)->path);
        put_what(f, l);
        fprintf(f, "%s\n", off);
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
