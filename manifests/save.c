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

static void set_list(json_t *o, const char *key, char *const *list, size_t count)
{
    json_t *array = memory_check(json_array());

    for (size_t i = 0; i < count; i++)
        json_array_append_new(array, text_element(list[i]));
    json_object_set_new(o, key, array);
}

static void set_text(json_t *o, const char *key, const char *text)
{
    if (text)
        text_set(o, key, text);
}

static json_t *counts(const struct manifest_counts *c)
{
    const struct {
        const char *name;
        uint64_t n;
    } all[] = {{"stat", c->stat}, {"open", c->open}, {"list", c->list},
               {"load", c->load}, {"exec", c->exec}, {"write", c->write}};
    json_t *o = memory_check(json_object());

    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (all[i].n)
            set_number(o, all[i].name, all[i].n);
    return o;
}

static json_t *entry(const struct manifest_entry *e)
{
    json_t *o = memory_check(json_object());

    text_set(o, "path", e->path);
    json_object_set_new(o, "kind", json_string(manifest_kind_names[e->kind]));
    if (e->is_volatile)
        json_object_set_new(o, "volatile", json_true());
    if (e->has_stat) {
        set_number(o, "size", e->size);
        json_object_set_new(o, "mtime_ns", json_integer(e->mtime_ns));
        set_number(o, "mode", e->mode);
    }
    if (e->has_digest) {
        char hex[33];
        for (int i = 0; i < 32; i++)
            hex[i] = "0123456789abcdef"[e->digest[i / 2] >> (i % 2 ? 0 : 4) & 15];
        hex[32] = '\0';
        json_object_set_new(o, "xxh3_128", json_string(hex));
    }
    set_text(o, "target", e->target);
    set_text(o, "soname", e->soname);
    if (e->needed_count)
        set_list(o, "needed", e->needed, e->needed_count);
    json_t *c = counts(&e->counts);
    if (json_object_size(c))
        json_object_set_new(o, "counts", c);
    else
        json_decref(c);
    set_number(o, "order", e->order);
    if (e->first_ns)
        set_number(o, "first_ns", e->first_ns);
    if (e->processes)
        set_number(o, "processes", e->processes);
    return o;
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
    return o;
}

static int write_all(const void *what, FILE *f)
{
    const struct manifest *m = what;
    json_t *h = head(m);
    char *text = memory_check(json_dumps(h, JSON_INDENT(1) | JSON_PRESERVE_ORDER));
    const size_t n = strlen(text);

    /* The head's closing brace goes behind the entries. */
    fwrite(text, 1, n - 2, f);
    fputs(",\n \"entries\": [", f);
    free(text);
    json_decref(h);
    for (size_t i = 0; i < m->entry_count && !ferror(f); i++) {
        json_t *e = entry(&m->entries[i]);
        fputs(i ? ",\n" : "\n", f);
        json_dumpf(e, f, JSON_COMPACT | JSON_PRESERVE_ORDER);
        json_decref(e);
    }
    if (ferror(f))
        return -1; /* errno is still that of the write */
    fputs("\n]}\n", f);
    return fflush(f) == 0 && !ferror(f) ? 0 : -1;
}

int manifest_save(struct manifest *m, const char *file, char **error)
{
    manifest_sort(m);
    return output_write(file, write_all, m, error);
}

int manifest_may_save(const char *file, char **error)
{
    return output_may_write(file, error);
}
