/* When paths were first touched: how many in each interval, by class and by package; and the longest times in which
 * nothing was touched for the first time. Where the manifest has no times, the order stands for them. */
#include <stdlib.h>
#include <string.h>
#include <uthash.h>

#include "facts/memory.h"
#include "manifests/package.h"
#include "manifests/report/parts.h"

#define BINS 240  /* at most */
#define LANES 16  /* packages that have their own line */
#define GAPS 30

struct touch {
    uint64_t when;
    const struct manifest_entry *entry;
};

struct lane {
    const char *name;
    size_t len;
    uint64_t touches, first;
    uint64_t *bins; /* of those that are shown */
    UT_hash_handle hh;
};

struct times {
    struct touch *touches; /* in their order */
    size_t count, shown;   /* shown: in the intervals; later ones are only counted */
    bool timed;
    uint64_t width;        /* of an interval */
    size_t bins;
};

static int by_time(const void *a, const void *b)
{
    const struct touch *x = a, *y = b;

    if (x->when != y->when)
        return x->when < y->when ? -1 : 1;
    if (x->entry->order != y->entry->order)
        return x->entry->order < y->entry->order ? -1 : 1;
    return x->entry < y->entry ? -1 : x->entry > y->entry;
}

/* 1, 2, 5, 10, …: intervals that a person reads easily, and not more of them than BINS. */
static uint64_t nice_width(uint64_t end)
{
    uint64_t power = 1;

    for (;;) {
        for (uint64_t step = 1; step <= 5; step += step == 1 ? 1 : 3)
            if (end / (step * power) < BINS)
                return step * power;
        power *= 10;
    }
}

/* A program that touches something new an hour after its start: the start is to be seen nevertheless. */
static size_t shown_of(const struct times *t)
{
    const size_t most = t->count - t->count / 50; /* 98 % */
    const uint64_t last = t->touches[t->count - 1].when, usual = t->touches[most - 1].when;
    size_t n = most;

    if (last / 3 <= usual)
        return t->count;
    while (n < t->count && t->touches[n].when <= usual + usual / 10)
        n++;
    return n;
}

static void find_times(struct times *t, const struct manifest *m)
{
    *t = (struct times){.touches = memory_new(m->entry_count, sizeof *t->touches), .count = m->entry_count};
    for (size_t i = 0; i < m->entry_count; i++)
        t->timed = t->timed || m->entries[i].first_ns;
    for (size_t i = 0; i < m->entry_count; i++)
        t->touches[i] = (struct touch){t->timed ? m->entries[i].first_ns : m->entries[i].order, &m->entries[i]};
    if (t->count == 0)
        return;
    qsort(t->touches, t->count, sizeof *t->touches, by_time);
    t->shown = shown_of(t);
    const uint64_t end = t->touches[t->shown - 1].when;
    t->width = nice_width(end);
    t->bins = (size_t)(end / t->width) + 1;
}

/* --- packages --------------------------------------------------------------------------------------------------- */

static struct lane *lane_of(struct lane **lanes, const struct manifest_entry *e, bool make)
{
    struct lane *l;
    size_t len;
    const char *name = manifest_package(e->path, &len);

    HASH_FIND(hh, *lanes, name, len, l);
    if (!l && make) {
        l = memory_new(1, sizeof *l);
        l->name = name;
        l->len = len;
        HASH_ADD_KEYPTR(hh, *lanes, name, len, l);
    }
    return l;
}

static int by_touches(struct lane *a, struct lane *b)
{
    if (a->touches != b->touches)
        return a->touches < b->touches ? 1 : -1;
    return (a->first > b->first) - (a->first < b->first);
}

static int by_first(struct lane *a, struct lane *b)
{
    return (a->first > b->first) - (a->first < b->first); /* ranks: never equal */
}

static struct lane *busiest_lanes(const struct times *t)
{
    struct lane *lanes = NULL, *l, *next;
    size_t n = 0;

    for (size_t i = 0; i < t->shown; i++) {
        l = lane_of(&lanes, t->touches[i].entry, true);
        if (l->touches++ == 0)
            l->first = i;
    }
    HASH_SORT(lanes, by_touches);
    HASH_ITER(hh, lanes, l, next) {
        if (n++ < LANES) {
            l->bins = memory_new(t->bins, sizeof *l->bins);
            continue;
        }
        HASH_DEL(lanes, l);
        free(l);
    }
    HASH_SORT(lanes, by_first);
    return lanes;
}

static void put_lanes(json_t *o, const struct times *t)
{
    struct lane *lanes = busiest_lanes(t), *l, *next;
    json_t *array = memory_check(json_array());

    for (size_t i = 0; i < t->shown; i++)
        if ((l = lane_of(&lanes, t->touches[i].entry, false)))
            l->bins[t->touches[i].when / t->width]++;
    HASH_ITER(hh, lanes, l, next) {
        json_array_append_new(array, memory_check(json_pack("[oo]", report_text(l->name, l->len),
                                                            report_numbers(l->bins, t->bins))));
        HASH_DEL(lanes, l);
        free(l->bins);
        free(l);
    }
    json_object_set_new(o, "lanes", array);
}

/* --- all -------------------------------------------------------------------------------------------------------- */

static void put_bins(json_t *o, const struct times *t)
{
    json_t *classes = memory_check(json_array());
    uint64_t *bins = memory_new(REPORT_CLASSES * t->bins, sizeof *bins);
    uint64_t *calls = memory_new(t->bins, sizeof *calls);

    for (size_t i = 0; i < t->shown; i++) {
        const struct manifest_entry *e = t->touches[i].entry;
        const size_t bin = (size_t)(t->touches[i].when / t->width);
        bins[report_class_of(e) * t->bins + bin]++;
        calls[bin] = manifest_sum(calls[bin], manifest_calls(&e->counts));
    }
    for (size_t i = 0; i < REPORT_CLASSES; i++)
        json_array_append_new(classes, report_numbers(bins + i * t->bins, t->bins));
    json_object_set_new(o, "touches", classes);
    json_object_set_new(o, "calls", report_numbers(calls, t->bins));
    free(bins);
    free(calls);
}

static void put_gaps(json_t *o, const struct times *t)
{
    size_t top[GAPS], n = 0;
    json_t *array = memory_check(json_array());

#define GAP(i) (t->touches[i].when - t->touches[(i) - 1].when)
    for (size_t i = 1; t->timed && i < t->count; i++) {
        size_t at = n;
        while (at > 0 && GAP(top[at - 1]) < GAP(i))
            at--;
        if (at == GAPS || GAP(i) == 0)
            continue;
        n += n < GAPS;
        memmove(top + at + 1, top + at, (n - 1 - at) * sizeof *top);
        top[at] = i;
    }
    for (size_t i = 0; i < n; i++) {
        const struct touch *after = &t->touches[top[i]];
        json_array_append_new(array, memory_check(json_pack("[IIoo]", (json_int_t)GAP(top[i]),
            (json_int_t)after[-1].when, report_path(after[-1].entry), report_path(after->entry))));
    }
#undef GAP
    json_object_set_new(o, "gaps", array);
}

void report_times(json_t *figures, const struct manifest *m)
{
    json_t *o = memory_check(json_object());
    struct times t;

    find_times(&t, m);
    json_object_set_new(o, "timed", json_boolean(t.timed));
    json_object_set_new(o, "width", report_number(t.width));
    json_object_set_new(o, "bins", report_number(t.bins));
    json_object_set_new(o, "later", report_number(t.count - t.shown));
    json_object_set_new(o, "last", report_number(t.count ? t.touches[t.count - 1].when : 0));
    put_bins(o, &t);
    put_lanes(o, &t);
    put_gaps(o, &t);
    json_object_set_new(figures, "times", o);
    free(t.touches);
}
