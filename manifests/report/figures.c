#include <stdlib.h>
#include <string.h>

#include "facts/memory.h"
#include "manifests/bytecode.h"
#include "manifests/report/parts.h"
#include "manifests/text.h"

enum report_class report_class_of(const struct manifest_entry *e)
{
    static const enum report_class classes[MANIFEST_KINDS] = {
        [MANIFEST_MODULE] = REPORT_PYTHON,         [MANIFEST_BYTECODE] = REPORT_PYTHON,
        [MANIFEST_SHARED_OBJECT] = REPORT_OBJECTS, [MANIFEST_EXECUTABLE] = REPORT_PROGRAMS,
        [MANIFEST_DATA] = REPORT_DATA,             [MANIFEST_DIRECTORY] = REPORT_DIRECTORIES,
        [MANIFEST_SYMLINK] = REPORT_DIRECTORIES,   [MANIFEST_ABSENT] = REPORT_ABSENT,
    };

    return classes[e->kind];
}

/* --- values ----------------------------------------------------------------------------------------------------- */

#define TEXT_MOST 400 /* bytes; what tells most is at the end */
#define TEXT_HEAD 100

static bool continues(char c)
{
    return ((unsigned char)c & 0xc0) == 0x80;
}

json_t *report_text(const char *bytes, size_t len)
{
    char *given = memory_bytes(bytes, len), *text = text_plain(given);
    const size_t n = strlen(text);
    json_t *value;

    free(given);
    if (n <= TEXT_MOST) {
        value = memory_check(json_string(text));
    } else {
        size_t head = TEXT_HEAD, tail = n - (TEXT_MOST - TEXT_HEAD);
        while (continues(text[head]))
            head--;
        while (continues(text[tail]))
            tail++;
        value = memory_check(json_pack("s#++", text, (int)head, "…", text + tail));
    }
    free(text);
    return value;
}

json_t *report_path(const struct manifest_entry *e)
{
    return report_text(e->path, strlen(e->path));
}

json_t *report_number(uint64_t n)
{
    return memory_check(json_integer(n > INT64_MAX ? INT64_MAX : (json_int_t)n));
}

json_t *report_numbers(const uint64_t *n, size_t count)
{
    json_t *array = memory_check(json_array());

    for (size_t i = 0; i < count; i++)
        json_array_append_new(array, report_number(n[i]));
    return array;
}

/* --- the head --------------------------------------------------------------------------------------------------- */

static void set_text(json_t *o, const char *key, const char *bytes)
{
    if (bytes)
        json_object_set_new(o, key, report_text(bytes, strlen(bytes)));
}

static void put_head(json_t *o, const struct manifest *m)
{
    json_t *command = memory_check(json_array()), *prefixes = memory_check(json_array());
    const size_t words = m->command_count < 64 ? m->command_count : 64;

    for (size_t i = 0; i < words; i++)
        json_array_append_new(command, report_text(m->command[i], strlen(m->command[i])));
    for (size_t i = 0; i < m->policy.prefix_count && i < 64; i++)
        json_array_append_new(prefixes, report_text(m->policy.prefixes[i], strlen(m->policy.prefixes[i])));
    json_object_set_new(o, "version", json_string(DLCACHE_VERSION));
    json_object_set_new(o, "command", command);
    json_object_set_new(o, "words", report_number(m->command_count));
    json_object_set_new(o, "prefixes", prefixes);
    set_text(o, "cwd", m->cwd);
    set_text(o, "host", m->host);
    set_text(o, "recorded", m->recorded);
    set_text(o, "interpreter", m->interpreter);
    json_object_set_new(o, "processes", report_number(m->processes));
    json_object_set_new(o, "exit_status", json_integer(m->exit_status));
}

/* By class: entries, bytes, and what was done with them. */
static void put_totals(json_t *o, const struct manifest *m)
{
    uint64_t sums[REPORT_CLASSES][8] = {0};
    json_t *classes = memory_check(json_array());

    for (size_t i = 0; i < m->entry_count; i++) {
        const struct manifest_entry *e = &m->entries[i];
        const struct manifest_counts *c = &e->counts;
        const uint64_t size = manifest_has_contents(e->kind) ? e->size : 0;
        const uint64_t row[8] = {1, size, c->stat, c->open, c->list, c->load, c->exec, c->write};
        for (size_t k = 0; k < 8; k++)
            sums[report_class_of(e)][k] = manifest_sum(sums[report_class_of(e)][k], row[k]);
    }
    for (size_t i = 0; i < REPORT_CLASSES; i++)
        json_array_append_new(classes, report_numbers(sums[i], 8));
    json_object_set_new(o, "entries", report_number(m->entry_count));
    json_object_set_new(o, "bytes", report_number(manifest_bytes(m)));
    json_object_set_new(o, "classes", classes);
}

/* --- the entries that stand out --------------------------------------------------------------------------------- */

#define TOP 30

/* Keeps those with the largest figures, in order; equal ones in that of the manifest. */
static void keep_top(const struct manifest_entry **top, uint64_t *figures, const struct manifest_entry *e, uint64_t n)
{
    size_t at = TOP;

    while (at > 0 && (!top[at - 1] || figures[at - 1] < n))
        at--;
    if (at == TOP)
        return;
    memmove(top + at + 1, top + at, (TOP - 1 - at) * sizeof *top);
    memmove(figures + at + 1, figures + at, (TOP - 1 - at) * sizeof *figures);
    top[at] = e;
    figures[at] = n;
}

static uint64_t bytes_of(const struct manifest_entry *e)
{
    return manifest_has_contents(e->kind) ? e->size : 0;
}

static uint64_t calls_of(const struct manifest_entry *e)
{
    return manifest_calls(&e->counts);
}

static json_t *top_entries(const struct manifest *m, uint64_t (*figure)(const struct manifest_entry *))
{
    const struct manifest_entry *top[TOP] = {0};
    uint64_t figures[TOP];
    json_t *array = memory_check(json_array());

    for (size_t i = 0; i < m->entry_count; i++)
        if (figure(&m->entries[i]))
            keep_top(top, figures, &m->entries[i], figure(&m->entries[i]));
    for (size_t i = 0; i < TOP && top[i]; i++)
        json_array_append_new(array, memory_check(json_pack("[oIi]", report_path(top[i]), (json_int_t)figures[i],
                                                            (int)report_class_of(top[i]))));
    return array;
}

/* How many modules, of how many the bytecode is stale, and the command that makes it. */
static json_t *bytecode(const struct manifest *m)
{
    json_t *array = memory_check(json_array());
    struct bytecode b;

    bytecode_of(m, &b);
    for (size_t i = 0; i < b.count && i < TOP; i++) {
        char *command = bytecode_command(m, &b.places[i]);
        json_array_append_new(array, memory_check(json_pack("[IIo]", (json_int_t)(b.places[i].absent + b.places[i].stale),
            (json_int_t)b.places[i].stale, report_text(command, strlen(command)))));
        free(command);
    }
    bytecode_free(&b);
    return array;
}

json_t *report_figures(const struct manifest *m)
{
    json_t *o = memory_check(json_object());

    put_head(o, m);
    put_totals(o, m);
    report_packages(o, m);
    report_times(o, m);
    report_searches(o, m);
    json_object_set_new(o, "bytecode", bytecode(m));
    json_object_set_new(o, "biggest", top_entries(m, bytes_of));
    json_object_set_new(o, "busiest", top_entries(m, calls_of));
    return o;
}
