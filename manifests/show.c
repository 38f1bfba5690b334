#include "manifests/show.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>

#include "facts/memory.h"
#include "manifests/package.h"
#include "manifests/text.h"

#define TOP 10

/* --- adding up -------------------------------------------------------------------------------------------------- */

/* A named sum: a package, a directory. */
struct sum {
    char *name;
    uint64_t bytes, calls, entries;
    UT_hash_handle hh;
};

struct totals {
    uint64_t entries[MANIFEST_KINDS], bytes[MANIFEST_KINDS];
    struct manifest_counts counts;
    struct sum *packages;  /* uthash */
    struct sum *missed;    /* directories, by absent entries */
    const struct manifest_entry *biggest[TOP];
};

static void add_counts(struct manifest_counts *sum, const struct manifest_counts *c)
{
    sum->stat = manifest_sum(sum->stat, c->stat);
    sum->open = manifest_sum(sum->open, c->open);
    sum->list = manifest_sum(sum->list, c->list);
    sum->load = manifest_sum(sum->load, c->load);
    sum->exec = manifest_sum(sum->exec, c->exec);
    sum->write = manifest_sum(sum->write, c->write);
}

static struct sum *sum_of(struct sum **sums, const char *name, size_t len)
{
    struct sum *s;

    HASH_FIND(hh, *sums, name, len, s);
    if (!s) {
        s = memory_new(1, sizeof *s);
        s->name = memory_bytes(name, len);
        HASH_ADD_KEYPTR(hh, *sums, s->name, len, s);
    }
    return s;
}

static void keep_biggest(struct totals *t, const struct manifest_entry *e)
{
    for (size_t i = 0; i < TOP; i++) {
        if (t->biggest[i] && t->biggest[i]->size >= e->size)
            continue;
        const struct manifest_entry *next = t->biggest[i];
        t->biggest[i] = e;
        e = next;
        if (!e)
            return;
    }
}

static void add_up(struct totals *t, const struct manifest *m)
{
    *t = (struct totals){0};
    for (size_t i = 0; i < m->entry_count; i++) {
        const struct manifest_entry *e = &m->entries[i];
        size_t len;
        t->entries[e->kind]++;
        add_counts(&t->counts, &e->counts);
        if (e->kind == MANIFEST_ABSENT) {
            const char *slash = strrchr(e->path, '/');
            struct sum *s = sum_of(&t->missed, e->path, slash == e->path ? 1 : (size_t)(slash - e->path));
            s->entries++;
            s->calls = manifest_sum(s->calls, manifest_calls(&e->counts));
        }
        const char *name = manifest_package(e->path, &len);
        struct sum *package = sum_of(&t->packages, name, len);
        package->entries++;
        package->calls = manifest_sum(package->calls, manifest_calls(&e->counts));
        if (manifest_has_contents(e->kind)) {
            t->bytes[e->kind] = manifest_sum(t->bytes[e->kind], e->size);
            package->bytes = manifest_sum(package->bytes, e->size);
            keep_biggest(t, e);
        }
    }
}

static void free_sums(struct sum **sums)
{
    struct sum *s, *next;

    HASH_ITER(hh, *sums, s, next) {
        HASH_DEL(*sums, s);
        free(s->name);
        free(s);
    }
}

static void free_totals(struct totals *t)
{
    free_sums(&t->packages);
    free_sums(&t->missed);
}

static int by_bytes(struct sum *a, struct sum *b)
{
    return a->bytes != b->bytes ? (a->bytes < b->bytes ? 1 : -1) : strcmp(a->name, b->name);
}

static int by_calls(struct sum *a, struct sum *b)
{
    return a->calls != b->calls ? (a->calls < b->calls ? 1 : -1) : strcmp(a->name, b->name);
}

/* --- for people ------------------------------------------------------------------------------------------------- */

static void put_size(FILE *f, uint64_t bytes)
{
    static const char units[] = "kMGTPE";
    double n = (double)bytes;
    int unit = -1;

    for (; n >= 999.95 && unit < 5; unit++)
        n /= 1000;
    if (unit < 0)
        fprintf(f, "%6" PRIu64 " B ", bytes);
    else
        fprintf(f, "%6.1f %cB", n, units[unit]);
}

#define WIDTH 80

/* What is at the end of a path tells most. */
static void put_text(FILE *f, const char *text, size_t width)
{
    text_put(f, text, width, TEXT_CUT_BEGIN);
}

static void put_command(const struct manifest *m, FILE *f)
{
    size_t size = 1, column = 12;

    for (size_t i = 0; i < m->command_count; i++)
        size += strlen(m->command[i]) + 1;
    char *text = memory_new(size, 1), *p = text;
    for (size_t i = 0; i < m->command_count; i++)
        p += sprintf(p, "%s%s", i ? " " : "", m->command[i]);
    fputs("command     ", f);
    text_put(f, text, WIDTH - column, TEXT_CUT_END);
    putc('\n', f);
    free(text);
}

static void put_head(const struct manifest *m, FILE *f)
{
    put_command(m, f);
    if (m->recorded || m->host) {
        fputs("recorded    ", f);
        text_put(f, m->recorded ? m->recorded : "?", 24, TEXT_CUT_END);
        fputs(" on ", f);
        text_put(f, m->host ? m->host : "?", 40, TEXT_CUT_END);
        putc('\n', f);
    }
    if (m->interpreter) {
        fputs("program     ", f);
        put_text(f, m->interpreter, WIDTH - 12);
        putc('\n', f);
    }
    fprintf(f, "processes   %" PRIu32 ", exit status %d\n", m->processes, m->exit_status);
    for (size_t i = 0; i < m->policy.prefix_count; i++) {
        fputs(i ? "            " : "kept below  ", f);
        put_text(f, m->policy.prefixes[i], WIDTH - 12);
        putc('\n', f);
    }
}

static void put_calls(const struct manifest_counts *c, FILE *f)
{
    const struct {
        const char *name;
        uint64_t n;
    } all[] = {{"stat", c->stat}, {"open", c->open}, {"list", c->list},
               {"load", c->load}, {"exec", c->exec}, {"write", c->write}};
    const char *between = "\ncalls       ";
    int column = 11;

    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        char text[40];
        const int n = snprintf(text, sizeof text, "%s %" PRIu64, all[i].name, all[i].n);
        const bool wraps = column + 2 + n > WIDTH - 1; /* a comma may follow */
        fprintf(f, "%s%s", wraps ? ",\n            " : between, text);
        column = (wraps ? 12 : column + 2) + n;
        between = ", ";
    }
    putc('\n', f);
}

static void put_sums(struct sum **sums, int (*order)(struct sum *, struct sum *), const char *title, bool bytes,
                     FILE *f)
{
    struct sum *s, *next;
    size_t n = 0;

    if (!*sums)
        return;
    fprintf(f, "\n%s\n", title);
    HASH_SORT(*sums, order);
    HASH_ITER(hh, *sums, s, next) {
        if (n++ == TOP)
            break;
        char calls_text[32];
        if (bytes)
            put_size(f, s->bytes);
        else
            fprintf(f, "%9" PRIu64, s->entries);
        const int used = snprintf(calls_text, sizeof calls_text, "%9" PRIu64 " calls  ", s->calls);
        fputs(calls_text, f);
        put_text(f, s->name, (size_t)(WIDTH - 11 - used)); /* a size, or a long number, before it */
        putc('\n', f);
    }
}

static void put_search(const struct manifest *m, FILE *f)
{
    bool title = false;

    for (size_t i = 0; i < m->search_count; i++) {
        size_t parts = m->search[i].value[0] != '\0';
        for (const char *p = m->search[i].value; *p; p++)
            parts += *p == ':';
        if (parts == 0)
            continue;
        if (!title)
            fputs("\nsearch paths\n", f);
        title = true;
        fprintf(f, "%9zu ", parts);
        size_t used = text_put(f, m->search[i].name, 24, TEXT_CUT_END);
        for (; used < 16; used++)
            putc(' ', f);
        putc(' ', f);
        put_text(f, m->search[i].value, WIDTH - 11 - used);
        putc('\n', f);
    }
}

void manifest_show(const struct manifest *m, FILE *f)
{
    struct totals t;

    add_up(&t, m);
    put_head(m, f);
    fputs("\nentries\n", f);
    for (int kind = 0; kind < MANIFEST_KINDS; kind++) {
        if (!t.entries[kind])
            continue;
        fprintf(f, "%9" PRIu64 " %-14s", t.entries[kind], manifest_kind_names[kind]);
        if (manifest_has_contents((enum manifest_kind)kind))
            put_size(f, t.bytes[kind]);
        putc('\n', f);
    }
    fprintf(f, "%9zu in all        ", m->entry_count);
    put_size(f, manifest_bytes(m));
    putc('\n', f);
    put_calls(&t.counts, f);
    put_sums(&t.packages, by_bytes, "packages, by bytes", true, f);
    put_sums(&t.packages, by_calls, "packages, by calls", true, f);
    if (t.biggest[0])
        fputs("\nbiggest files\n", f);
    for (size_t i = 0; i < TOP && t.biggest[i]; i++) {
        put_size(f, t.biggest[i]->size);
        fputs("  ", f);
        put_text(f, t.biggest[i]->path, 68);
        putc('\n', f);
    }
    put_sums(&t.missed, by_calls, "directories in which something was looked for in vain", false, f);
    put_search(m, f);
    free_totals(&t);
}

/* --- for programs ----------------------------------------------------------------------------------------------- */

static json_t *number(uint64_t n)
{
    return memory_check(json_integer((json_int_t)n));
}

static json_t *sums_json(struct sum **sums, int (*order)(struct sum *, struct sum *))
{
    json_t *array = memory_check(json_array());
    struct sum *s, *next;

    HASH_SORT(*sums, order);
    HASH_ITER(hh, *sums, s, next) {
        json_t *o = memory_check(json_object());
        text_set(o, "name", s->name);
        json_object_set_new(o, "entries", number(s->entries));
        json_object_set_new(o, "bytes", number(s->bytes));
        json_object_set_new(o, "calls", number(s->calls));
        json_array_append_new(array, o);
    }
    return array;
}

json_t *manifest_show_json(const struct manifest *m)
{
    struct totals t;
    json_t *root = memory_check(json_object()), *kinds = memory_check(json_object());

    add_up(&t, m);
    json_object_set_new(root, "entries", number(m->entry_count));
    json_object_set_new(root, "bytes", number(manifest_bytes(m)));
    json_object_set_new(root, "processes", number(m->processes));
    for (int kind = 0; kind < MANIFEST_KINDS; kind++) {
        json_t *o = memory_check(json_object());
        json_object_set_new(o, "entries", number(t.entries[kind]));
        json_object_set_new(o, "bytes", number(t.bytes[kind]));
        json_object_set_new(kinds, manifest_kind_names[kind], o);
    }
    json_object_set_new(root, "kinds", kinds);
    json_object_set_new(root, "calls", memory_check(json_pack("{sIsIsIsIsIsI}", "stat", (json_int_t)t.counts.stat,
        "open", (json_int_t)t.counts.open, "list", (json_int_t)t.counts.list, "load", (json_int_t)t.counts.load,
        "exec", (json_int_t)t.counts.exec, "write", (json_int_t)t.counts.write)));
    json_object_set_new(root, "packages", sums_json(&t.packages, by_bytes));
    json_object_set_new(root, "missed", sums_json(&t.missed, by_calls));
    json_t *biggest = memory_check(json_array());
    for (size_t i = 0; i < TOP && t.biggest[i]; i++) {
        json_t *o = memory_check(json_object());
        text_set(o, "path", t.biggest[i]->path);
        json_object_set_new(o, "size", number(t.biggest[i]->size));
        json_array_append_new(biggest, o);
    }
    json_object_set_new(root, "biggest", biggest);
    free_totals(&t);
    return root;
}
