/* Bytes and calls by package: those that have most of either, and the sum of all others. */
#include <stdlib.h>
#include <string.h>
#include <uthash.h>

#include "facts/memory.h"
#include "manifests/package.h"
#include "manifests/report/parts.h"

#define MOST 250 /* by bytes, and as many by calls */

struct package {
    const char *name; /* in the manifest's first path of it */
    size_t len;
    uint64_t entries[REPORT_CLASSES], bytes[REPORT_CLASSES], calls[REPORT_CLASSES];
    uint64_t all_bytes, all_calls;
    bool shown;
    UT_hash_handle hh;
};

static void add_entry(struct package *p, const struct manifest_entry *e)
{
    const enum report_class class = report_class_of(e);
    const uint64_t calls = manifest_calls(&e->counts);

    p->entries[class]++;
    p->calls[class] = manifest_sum(p->calls[class], calls);
    p->all_calls = manifest_sum(p->all_calls, calls);
    if (manifest_has_contents(e->kind)) {
        p->bytes[class] = manifest_sum(p->bytes[class], e->size);
        p->all_bytes = manifest_sum(p->all_bytes, e->size);
    }
}

static void add_package(struct package *sum, const struct package *p)
{
    for (size_t i = 0; i < REPORT_CLASSES; i++) {
        sum->entries[i] += p->entries[i];
        sum->bytes[i] = manifest_sum(sum->bytes[i], p->bytes[i]);
        sum->calls[i] = manifest_sum(sum->calls[i], p->calls[i]);
    }
}

static int by_name(const struct package *a, const struct package *b)
{
    const int c = memcmp(a->name, b->name, a->len < b->len ? a->len : b->len);

    return c ? c : (a->len > b->len) - (a->len < b->len);
}

static int by_bytes(struct package *a, struct package *b)
{
    return a->all_bytes != b->all_bytes ? (a->all_bytes < b->all_bytes ? 1 : -1) : by_name(a, b);
}

static int by_calls(struct package *a, struct package *b)
{
    return a->all_calls != b->all_calls ? (a->all_calls < b->all_calls ? 1 : -1) : by_name(a, b);
}

static void choose(struct package *packages)
{
    size_t n = 0;

    for (struct package *p = packages; p && n < MOST; p = p->hh.next, n++)
        p->shown = true;
}

static json_t *package_json(const struct package *p, json_t *name)
{
    return memory_check(json_pack("[oooo]", name, report_numbers(p->entries, REPORT_CLASSES),
                                  report_numbers(p->bytes, REPORT_CLASSES), report_numbers(p->calls, REPORT_CLASSES)));
}

static struct package *group(const struct manifest *m)
{
    struct package *packages = NULL, *p;

    for (size_t i = 0; i < m->entry_count; i++) {
        size_t len;
        const char *name = manifest_package(m->entries[i].path, &len);
        HASH_FIND(hh, packages, name, len, p);
        if (!p) {
            p = memory_new(1, sizeof *p);
            p->name = name;
            p->len = len;
            HASH_ADD_KEYPTR(hh, packages, name, len, p);
        }
        add_entry(p, &m->entries[i]);
    }
    return packages;
}

void report_packages(json_t *figures, const struct manifest *m)
{
    struct package *packages = group(m), *p, *next, others = {0};
    json_t *shown = memory_check(json_array());
    uint64_t other_count = 0;

    HASH_SORT(packages, by_calls);
    choose(packages);
    HASH_SORT(packages, by_bytes);
    choose(packages);
    HASH_ITER(hh, packages, p, next) {
        if (p->shown) {
            json_array_append_new(shown, package_json(p, report_text(p->name, p->len)));
        } else {
            add_package(&others, p);
            other_count++;
        }
        HASH_DEL(packages, p);
        free(p);
    }
    json_object_set_new(figures, "packages", shown);
    json_object_set_new(figures, "other_packages", package_json(&others, report_number(other_count)));
}
