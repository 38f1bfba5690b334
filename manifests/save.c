/* Writing a manifest: the head, pretty; then one entry a line. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "facts/memory.h"
#include "facts/output.h"
#include "manifests/manifest.h"
#include "manifests/text.h"

static void set_number(json_t *o, const char *key, uint64_t n)
{
    json_object_set_new(o, key, memory_check(json_integer((json_int_t)n)));
}

static json_t *list_of(char *const *list, size_t count)
{
    json_t *array = memory_check(json_array());

    for (size_t i = 0; i < count; i++)
        json_array_append_new(array, text_element(list[i]));
    return array;
}

static void set_list(json_t *o, const char *key, char *const *list, size_t count)
{
    json_object_set_new(o, key, list_of(list, count));
}

static void set_text(json_t *o, const char *key, const char *text)
{
    if (text)
        text_set(o, key, text);
}

static json_t *pilots(const struct manifest *m)
{
    json_t *array = memory_check(json_array());

    for (size_t i = 0; i < m->pilot_count; i++) {
        const struct manifest_pilot *p = &m->pilots[i];
        json_t *o = memory_check(json_object());
        set_text(o, "id", p->id);
        set_list(o, "command", p->command, p->command_count);
        set_text(o, "host", p->host);
        set_text(o, "recorded", p->recorded);
        set_number(o, "processes", p->processes);
        if (p->ranks)
            set_number(o, "ranks", p->ranks);
        set_number(o, "exit_status", (uint64_t)p->exit_status);
        json_array_append_new(array, o);
    }
    return array;
}

static json_t *head(const struct manifest *m)
{
    json_t *o = memory_check(json_object());

    json_object_set_new(o, "format", json_string(MANIFEST_FORMAT));
    set_number(o, "version", MANIFEST_VERSION);
    set_list(o, "command", m->command, m->command_count);
    set_text(o, "cwd", m->cwd);
    set_text(o, "host", m->host);
    set_text(o, "recorded", m->recorded);
    set_text(o, "interpreter", m->interpreter);
    set_number(o, "processes", m->processes);
    if (m->ranks)
        set_number(o, "ranks", m->ranks);
    if (m->host_count)
        set_list(o, "hosts", m->hosts, m->host_count);
    json_object_set_new(o, "exit_status", json_integer(m->exit_status));

    json_t *search = memory_check(json_array());
    for (size_t i = 0; i < m->search_count; i++) {
        json_t *v = memory_check(json_object());
        text_set(v, "name", m->search[i].name);
        text_set(v, "value", m->search[i].value);
        json_array_append_new(search, v);
    }
    json_object_set_new(o, "search", search);

    json_t *mounts = memory_check(json_array());
    for (size_t i = 0; i < m->mount_count; i++) {
        json_t *v = memory_check(json_object());
        text_set(v, "point", m->mounts[i].point);
        text_set(v, "type", m->mounts[i].type);
        text_set(v, "source", m->mounts[i].source);
        text_set(v, "root", m->mounts[i].root);
        json_array_append_new(mounts, v);
    }
    json_object_set_new(o, "mounts", mounts);

    json_t *policy = memory_check(json_object());
    json_object_set_new(policy, "all", json_boolean(m->policy.all));
    set_list(policy, "include", m->policy.include, m->policy.include_count);
    set_list(policy, "exclude", m->policy.exclude, m->policy.exclude_count);
    set_list(policy, "prefixes", m->policy.prefixes, m->policy.prefix_count);
    json_object_set_new(o, "policy", policy);
    if (m->pilot_count)
        json_object_set_new(o, "pilots", pilots(m));
    return o;
}

/* --- entries: what jansson would write of them, without building it first ---------------------------------------- */

static void put_number(FILE *f, const char *before, uint64_t n)
{
    char digits[24], *p = digits + sizeof digits;

    do
        *--p = (char)('0' + n % 10);
    while (n /= 10);
    fputs_unlocked(before, f);
    fwrite_unlocked(p, 1, (size_t)(digits + sizeof digits - p), f);
}

/* "key":"bytes", or the form for what cannot stand like that. */
static void put_text(FILE *f, const char *before, const char *key, const char *bytes)
{
    fputs_unlocked(before, f);
    if (text_is_plain(bytes)) {
        putc_unlocked('"', f);
        fputs_unlocked(key, f);
        fputs_unlocked("\":\"", f);
        fputs_unlocked(bytes, f);
        putc_unlocked('"', f);
        return;
    }
    json_t *o = memory_check(json_object());
    text_set(o, key, bytes);
    char *text = memory_check(json_dumps(o, JSON_COMPACT));
    fwrite_unlocked(text + 1, 1, strlen(text) - 2, f); /* without the braces */
    free(text);
    json_decref(o);
}

static void put_list(FILE *f, const char *before, char *const *list, size_t count)
{
    json_t *array = list_of(list, count);

    fputs_unlocked(before, f);
    json_dumpf(array, f, JSON_COMPACT | JSON_PRESERVE_ORDER);
    json_decref(array);
}

static void put_counts(FILE *f, const struct manifest_counts *c)
{
    const struct {
        const char *name;
        uint64_t n;
    } all[] = {{"\"stat\":", c->stat}, {"\"open\":", c->open}, {"\"list\":", c->list},
               {"\"load\":", c->load}, {"\"exec\":", c->exec}, {"\"write\":", c->write}};
    const char *before = ",\"counts\":{";

    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        if (all[i].n == 0)
            continue;
        fputs_unlocked(before, f);
        put_number(f, all[i].name, all[i].n);
        before = ",";
    }
    if (before[1] == '\0')
        putc_unlocked('}', f);
}

static void put_stat(FILE *f, const struct manifest_entry *e)
{
    const bool negative = e->mtime_ns < 0;

    put_number(f, ",\"size\":", e->size);
    put_number(f, negative ? ",\"mtime_ns\":-" : ",\"mtime_ns\":",
               negative ? -(uint64_t)e->mtime_ns : (uint64_t)e->mtime_ns);
    put_number(f, ",\"mode\":", e->mode);
}

static void put_digest(FILE *f, const uint8_t digest[16])
{
    char hex[33];

    for (int i = 0; i < 32; i++)
        hex[i] = "0123456789abcdef"[digest[i / 2] >> (i % 2 ? 0 : 4) & 15];
    hex[32] = '\0';
    put_text(f, ",", "xxh3_128", hex);
}

static void put_entry(FILE *f, const struct manifest_entry *e)
{
    put_text(f, "{", "path", e->path);
    put_text(f, ",", "kind", manifest_kind_names[e->kind]);
    if (e->is_volatile)
        fputs_unlocked(",\"volatile\":true", f);
    if (e->is_stale)
        fputs_unlocked(",\"stale\":true", f);
    if (e->has_stat)
        put_stat(f, e);
    if (e->has_digest)
        put_digest(f, e->digest);
    if (e->target)
        put_text(f, ",", "target", e->target);
    if (e->soname)
        put_text(f, ",", "soname", e->soname);
    if (e->needed_count)
        put_list(f, ",\"needed\":", e->needed, e->needed_count);
    put_counts(f, &e->counts);
    put_number(f, ",\"order\":", e->order);
    if (e->first_ns)
        put_number(f, ",\"first_ns\":", e->first_ns);
    if (e->processes)
        put_number(f, ",\"processes\":", e->processes);
    if (e->ranks)
        put_number(f, ",\"ranks\":", e->ranks);
    if (e->pilots)
        put_number(f, ",\"pilots\":", e->pilots);
    putc_unlocked('}', f);
}

/* --- the whole -------------------------------------------------------------------------------------------------- */

int manifest_put(const struct manifest *m, FILE *f)
{
    json_t *h = head(m);
    char *text = memory_check(json_dumps(h, JSON_INDENT(1) | JSON_PRESERVE_ORDER));
    const size_t n = strlen(text);

    /* The head's closing brace goes behind the entries. */
    fwrite(text, 1, n - 2, f);
    fputs(",\n \"entries\": [", f);
    free(text);
    json_decref(h);
    for (size_t i = 0; i < m->entry_count && !ferror(f); i++) {
        fputs_unlocked(i ? ",\n" : "\n", f);
        put_entry(f, &m->entries[i]);
    }
    if (ferror(f))
        return -1; /* errno is still that of the write */
    fputs("\n]}\n", f);
    return fflush(f) == 0 && !ferror(f) ? 0 : -1;
}

static int put(const void *what, FILE *f)
{
    return manifest_put(what, f);
}

int manifest_save(struct manifest *m, const char *file, char **error)
{
    manifest_sort(m);
    return output_write(file, put, m, error);
}

int manifest_may_save(const char *file, char **error)
{
    return output_may_write(file, error);
}
