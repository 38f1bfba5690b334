/* Comparing. */
#include "manifests/diff.h"

#include <stdlib.h>
#include <string.h>

#include "facts/memory.h"

static bool same_text(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}

void diff_add(struct diff *d, enum diff_cause cause, const struct manifest_entry *a, const struct manifest_entry *b)
{
    d->lines = memory_grow(d->lines, &d->line_capacity, d->line_count + 1, sizeof *d->lines);
    d->lines[d->line_count++] = (struct diff_line){cause, a, b};
}

static bool other_permissions(const struct manifest_entry *a, const struct manifest_entry *b)
{
    return a->has_stat && b->has_stat && (a->mode & 07777) != (b->mode & 07777);
}

static enum diff_cause files(const struct manifest_entry *a, const struct manifest_entry *b)
{
    const bool digests = a->has_digest && b->has_digest, stats = a->has_stat && b->has_stat;

    if ((digests && memcmp(a->digest, b->digest, sizeof a->digest) != 0) || (stats && a->size != b->size) ||
        (!digests && stats && a->mtime_ns != b->mtime_ns))
        return DIFF_CONTENT;
    if (stats && a->mtime_ns != b->mtime_ns)
        return DIFF_TIME;
    return other_permissions(a, b) ? DIFF_MODE : DIFF_NONE;
}

enum diff_cause diff_entries(const struct manifest_entry *a, const struct manifest_entry *b)
{
    if (a->kind == MANIFEST_ABSENT || b->kind == MANIFEST_ABSENT)
        return a->kind == b->kind ? DIFF_NONE : b->kind == MANIFEST_ABSENT ? DIFF_FOUND_A : DIFF_FOUND_B;
    /* What is the same file to the one run may have been looked at and not read by the other. */
    const bool is_file = manifest_has_contents(a->kind);
    if (is_file != manifest_has_contents(b->kind) || (!is_file && a->kind != b->kind) ||
        (a->kind == MANIFEST_SYMLINK && !same_text(a->target, b->target)))
        return DIFF_KIND;
    if (a->kind == MANIFEST_SYMLINK)
        return DIFF_NONE;
    if (is_file)
        return files(a, b);
    return other_permissions(a, b) ? DIFF_MODE : a->is_volatile != b->is_volatile ? DIFF_VOLATILE : DIFF_NONE;
}

static void add_head(struct diff *d, const char *name, const char *a, const char *b, bool is_path)
{
    if (same_text(a, b))
        return;
    d->heads = memory_grow(d->heads, &d->head_capacity, d->head_count + 1, sizeof *d->heads);
    d->heads[d->head_count++] =
        (struct diff_head){memory_text(name), a ? memory_text(a) : NULL, b ? memory_text(b) : NULL, is_path};
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

    add_head(d, name, x, y, false);
    free(x);
    free(y);
}

static const struct manifest_mount *mount_at(const struct manifest *m, const char *point)
{
    for (size_t i = 0; i < m->mount_count; i++)
        if (strcmp(m->mounts[i].point, point) == 0)
            return &m->mounts[i];
    return NULL;
}

static void compare_mount(struct diff *d, const struct manifest_mount *a, const struct manifest_mount *b)
{
    char *name = NULL, *x = NULL, *y = NULL;

    if (asprintf(&name, "mount: %s", a ? a->point : b->point) < 0 ||
        (a && asprintf(&x, "%s %s %s", a->type, a->source, a->root) < 0) ||
        (b && asprintf(&y, "%s %s %s", b->type, b->source, b->root) < 0))
        memory_check(NULL);
    add_head(d, name, x, y, false);
    free(name);
    free(x);
    free(y);
}

/* A mount that only one of them used makes no difference of its own. */
static void compare_mounts(struct diff *d, const struct manifest *a, const struct manifest *b)
{
    for (size_t i = 0; i < a->mount_count; i++) {
        const struct manifest_mount *other = mount_at(b, a->mounts[i].point);
        if (other)
            compare_mount(d, &a->mounts[i], other);
    }
}

static void compare_heads(struct diff *d, const struct manifest *a, const struct manifest *b)
{
    add_head(d, "interpreter", a->interpreter, b->interpreter, false);
    for (size_t i = 0; i < a->search_count; i++)
        add_head(d, a->search[i].name, a->search[i].value, variable(b, a->search[i].name), true);
    for (size_t i = 0; i < b->search_count; i++)
        if (!variable(a, b->search[i].name))
            add_head(d, b->search[i].name, NULL, b->search[i].value, true);
    add_head(d, "policy: all", a->policy.all ? "true" : "false", b->policy.all ? "true" : "false",
             false);
    compare_lists(d, "policy: include", a->policy.include, a->policy.include_count, b->policy.include,
                  b->policy.include_count);
    compare_lists(d, "policy: exclude", a->policy.exclude, a->policy.exclude_count, b->policy.exclude,
                  b->policy.exclude_count);
    compare_lists(d, "policy: prefixes", a->policy.prefixes, a->policy.prefix_count, b->policy.prefixes,
                  b->policy.prefix_count);
    compare_mounts(d, a, b);
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
        const struct manifest_entry *x = c <= 0 ? &a->entries[i++] : NULL, *y = c >= 0 ? &b->entries[j++] : NULL;
        const enum diff_cause cause = !y ? DIFF_ONLY_A : !x ? DIFF_ONLY_B : diff_entries(x, y);
        if (cause != DIFF_NONE)
            diff_add(d, cause, x, y);
    }
    diff_relate(d, b);
}

void diff_keep_new(struct diff *d)
{
    size_t n = 0;

    for (size_t i = 0; i < d->line_count; i++)
        if (d->lines[i].cause != DIFF_ONLY_A)
            d->lines[n++] = d->lines[i];
    d->line_count = n;
}

bool diff_is_same(const struct diff *d)
{
    return d->head_count == 0 && d->line_count == 0 && d->move_count == 0 && d->shadow_count == 0;
}

void diff_free(struct diff *d)
{
    for (size_t i = 0; i < d->head_count; i++) {
        free(d->heads[i].name);
        free(d->heads[i].a);
        free(d->heads[i].b);
    }
    for (size_t i = 0; i < d->move_count; i++) {
        free(d->moves[i].from);
        free(d->moves[i].to);
    }
    for (size_t i = 0; i < d->shadow_count; i++) {
        free(d->shadows[i].name);
        free(d->shadows[i].a);
        free(d->shadows[i].b);
    }
    free(d->heads);
    free(d->lines);
    free(d->moves);
    free(d->shadows);
    *d = (struct diff){0};
}
