/* A summary for programs. */
#include <stdlib.h>

#include "facts/memory.h"
#include "manifests/findings.h"
#include "manifests/show.h"
#include "manifests/text.h"
#include "manifests/totals.h"

static json_t *number(uint64_t n)
{
    return memory_check(json_integer((json_int_t)n));
}

static json_t *sums_json(struct sum **sums, sum_order *order)
{
    json_t *array = memory_check(json_array());
    struct sum *s, *next;

    HASH_SORT(*sums, order);
    HASH_ITER(hh, *sums, s, next) {
        json_t *o = memory_check(json_object());
        text_set(o, "name", s->name);
        json_object_set_new(o, "entries", number(s->entries));
        json_object_set_new(o, "files", number(s->files));
        json_object_set_new(o, "bytes", number(s->bytes));
        json_object_set_new(o, "calls", number(s->calls));
        json_array_append_new(array, o);
    }
    return array;
}

static json_t *searches_json(const struct findings *f)
{
    json_t *array = memory_check(json_array());

    for (size_t i = 0; i < f->search_count; i++) {
        json_t *o = memory_check(json_object());
        text_set(o, "name", f->searches[i].name);
        json_object_set_new(o, "tried", number(f->searches[i].tried));
        if (f->searches[i].found)
            text_set(o, "found", f->searches[i].found->path);
        json_array_append_new(array, o);
    }
    return array;
}

static json_t *paths_json(const struct findings *f)
{
    json_t *array = memory_check(json_array());

    for (size_t i = 0; i < f->path_count; i++) {
        json_t *o = memory_check(json_object());
        text_set(o, "name", f->paths[i].variable->name);
        json_object_set_new(o, "elements", number(f->paths[i].elements));
        json_object_set_new(o, "idle", number(f->paths[i].idle));
        json_array_append_new(array, o);
    }
    return array;
}

static json_t *twice_json(const struct findings *f)
{
    json_t *array = memory_check(json_array());

    for (size_t i = 0; i < f->twice_count; i++) {
        json_t *o = memory_check(json_object()), *places = memory_check(json_array());
        for (size_t k = 0; k < f->twice[i].count; k++)
            json_array_append_new(places, text_element(f->twice[i].places[k]));
        text_set(o, "name", f->twice[i].name);
        json_object_set_new(o, "places", places);
        json_array_append_new(array, o);
    }
    return array;
}

static json_t *bytecode_json(const struct manifest *m, const struct bytecode *b)
{
    json_t *array = memory_check(json_array());

    for (size_t i = 0; i < b->count; i++) {
        json_t *o = memory_check(json_object());
        char *command = bytecode_command(m, &b->places[i]);
        text_set(o, "directory", b->places[i].directory);
        json_object_set_new(o, "files", number(b->places[i].absent + b->places[i].stale));
        json_object_set_new(o, "stale", number(b->places[i].stale));
        text_set(o, "command", command);
        free(command);
        json_array_append_new(array, o);
    }
    return array;
}

json_t *manifest_show_json(const struct manifest *m)
{
    struct totals t;
    struct findings found;
    json_t *root = memory_check(json_object()), *kinds = memory_check(json_object());

    totals_of(m, &t);
    findings_of(m, &found);
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
    json_object_set_new(root, "packages", sums_json(&t.packages, sums_by_bytes));
    json_object_set_new(root, "directories", sums_json(&t.directories, sums_by_bytes));
    json_object_set_new(root, "missed", sums_json(&t.missed, sums_by_calls));
    json_t *biggest = memory_check(json_array());
    for (size_t i = 0; i < t.file_count; i++) {
        json_t *o = memory_check(json_object());
        text_set(o, "path", t.biggest[i]->path);
        json_object_set_new(o, "size", number(t.biggest[i]->size));
        json_array_append_new(biggest, o);
    }
    json_object_set_new(root, "biggest", biggest);
    json_object_set_new(root, "searches", searches_json(&found));
    json_object_set_new(root, "search_paths", paths_json(&found));
    json_object_set_new(root, "twice", twice_json(&found));
    json_object_set_new(root, "uncompiled", bytecode_json(m, &found.bytecode));
    findings_free(&found);
    totals_free(&t);
    return root;
}
