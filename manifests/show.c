/* A summary for people. */
#include "manifests/show.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "facts/memory.h"
#include "manifests/findings.h"
#include "manifests/text.h"
#include "manifests/totals.h"

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

static void put_sums(struct sum **sums, sum_order *order, const char *title, bool bytes, FILE *f, size_t top)
{
    struct sum *s, *next;
    size_t n = 0;

    if (!*sums || top == 0)
        return;
    fprintf(f, "\n%s\n", title);
    HASH_SORT(*sums, order);
    HASH_ITER(hh, *sums, s, next) {
        if (n++ == top || (bytes && s->bytes == 0 && order == sums_by_bytes))
            break;
        char calls_text[80];
        if (bytes)
            put_size(f, s->bytes);
        else
            fprintf(f, "%9" PRIu64, s->entries);
        const int used = bytes ? snprintf(calls_text, sizeof calls_text, "%7" PRIu64 " files %9" PRIu64 " calls  ",
                                          s->files, s->calls)
                               : snprintf(calls_text, sizeof calls_text, "%9" PRIu64 " calls  ", s->calls);
        fputs(calls_text, f);
        put_text(f, s->name, (size_t)(WIDTH - 11 - used)); /* a size, or a long number, before it */
        putc('\n', f);
    }
}

static void put_paths(const struct findings *found, FILE *f)
{
    bool title = false;

    for (size_t i = 0; i < found->path_count; i++) {
        const struct finding_path *p = &found->paths[i];
        if (p->elements == 0)
            continue;
        if (!title)
            fputs("\nsearch paths (elements; and how many of them never answered)\n", f);
        title = true;
        fprintf(f, "%9zu %6zu  ", p->elements, p->idle);
        size_t used = text_put(f, p->variable->name, 24, TEXT_CUT_END);
        for (; used < 16; used++)
            putc(' ', f);
        putc(' ', f);
        put_text(f, p->variable->value, WIDTH - 19 - used);
        putc('\n', f);
    }
}

static void put_searches(const struct findings *found, FILE *f, size_t top)
{
    if (found->search_count && top)
        fputs("\nlongest searches (directories tried in vain; and where it was found)\n", f);
    for (size_t i = 0; i < found->search_count && i < top; i++) {
        const struct finding_search *s = &found->searches[i];
        fprintf(f, "%9zu  ", s->tried);
        size_t used = text_put(f, s->name, 34, TEXT_CUT_END);
        for (; used < 24; used++)
            putc(' ', f);
        fputs("  ", f);
        put_text(f, s->found ? s->found->path : "(nowhere)", WIDTH - 13 - used);
        putc('\n', f);
    }
}

static void put_twice(const struct findings *found, FILE *f, size_t top)
{
    if (found->twice_count && top)
        fputs("\nthere more than once: what is found depends on the search path\n", f);
    for (size_t i = 0; i < found->twice_count && i < top; i++) {
        fputs("  ", f);
        text_put(f, found->twice[i].name, WIDTH - 2, TEXT_CUT_END);
        putc('\n', f);
        for (size_t k = 0; k < found->twice[i].count; k++) {
            fputs("    ", f);
            put_text(f, found->twice[i].places[k], WIDTH - 4);
            putc('\n', f);
        }
    }
}

/* Commands are to be copied: never cut. */
static void put_bytecode(const struct manifest *m, const struct bytecode *b, FILE *f, size_t top)
{
    if (b->count && top)
        fputs("\nPython modules without bytecode: every process compiles them; this makes it\n", f);
    if (b->stale && top)
        fprintf(f, "(of %zu there is some, but not of the source as it is now)\n", b->stale);
    for (size_t i = 0; i < b->count && i < top; i++) {
        char *command = bytecode_command(m, &b->places[i]);
        fprintf(f, "%9zu  ", b->places[i].absent + b->places[i].stale);
        put_text(f, command, SIZE_MAX);
        putc('\n', f);
        free(command);
    }
}

static void put_biggest(const struct totals *t, FILE *f, size_t top)
{
    if (t->file_count && top)
        fputs("\nbiggest files\n", f);
    for (size_t i = 0; i < top && i < t->file_count; i++) {
        put_size(f, t->biggest[i]->size);
        fputs("  ", f);
        put_text(f, t->biggest[i]->path, 68);
        putc('\n', f);
    }
}

void manifest_show(const struct manifest *m, FILE *f, size_t top)
{
    struct totals t;
    struct findings found;

    totals_of(m, &t);
    findings_of(m, &found);
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
    put_sums(&t.packages, sums_by_bytes, "packages, by bytes", true, f, top);
    put_sums(&t.packages, sums_by_calls, "packages, by calls", true, f, top);
    put_sums(&t.directories, sums_by_bytes, "directories, by bytes", true, f, top);
    put_biggest(&t, f, top);
    put_sums(&t.missed, sums_by_calls, "directories in which something was looked for in vain", false, f, top);
    put_searches(&found, f, top);
    put_paths(&found, f);
    put_twice(&found, f, top);
    put_bytecode(m, &found.bytecode, f, top);
    findings_free(&found);
    totals_free(&t);
}
