/* The rules: the manifests are taken in the order in which they were recorded, so that it does not matter how they are
 * given; and one of which all pilots are known already adds nothing, so that merging again changes nothing. */
#include "manifests/merge.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "facts/memory.h"

/* --- pilots ----------------------------------------------------------------------------------------------------- */

static int by_id(const void *x, const void *y)
{
    const struct manifest_pilot *a = x, *b = y;

    return strcmp(a->id, b->id);
}

/* The one pilot of a manifest that no merge has made: told by what would be saved of it. */
static void add_itself(struct manifest *m)
{
    char *text = NULL;
    size_t size;
    FILE *f = memory_check(open_memstream(&text, &size));

    manifest_sort(m);
    manifest_put(m, f);
    fclose(f);
    const XXH128_hash_t hash = XXH3_128bits(text, size);
    free(text);
    m->pilots = memory_new(1, sizeof *m->pilots);
    struct manifest_pilot *p = &m->pilots[m->pilot_count++];
    if (asprintf(&p->id, "%016llx%016llx", (unsigned long long)hash.high64, (unsigned long long)hash.low64) < 0)
        memory_check(NULL);
    p->command = memory_new(m->command_count, sizeof *p->command);
    for (size_t i = 0; i < m->command_count; i++)
        p->command[p->command_count++] = memory_text(m->command[i]);
    p->host = m->host ? memory_text(m->host) : NULL;
    p->recorded = m->recorded ? memory_text(m->recorded) : NULL;
    p->processes = m->processes;
    p->ranks = m->ranks;
    p->exit_status = m->exit_status;
}

static bool has_pilot(const struct manifest *m, const char *id)
{
    for (size_t i = 0; i < m->pilot_count; i++)
        if (strcmp(m->pilots[i].id, id) == 0)
            return true;
    return false;
}

/* How many of b's pilots are in a. */
static size_t common_pilots(const struct manifest *a, const struct manifest *b)
{
    size_t n = 0;

    for (size_t i = 0; i < b->pilot_count; i++)
        n += has_pilot(a, b->pilots[i].id);
    return n;
}

static void take_pilots(struct manifest *to, struct manifest *from)
{
    for (size_t i = 0; i < from->pilot_count; i++) {
        if (has_pilot(to, from->pilots[i].id))
            continue;
        to->pilots = memory_check(realloc(to->pilots, (to->pilot_count + 1) * sizeof *to->pilots));
        to->pilots[to->pilot_count++] = from->pilots[i];
        from->pilots[i] = (struct manifest_pilot){0};
    }
    uint64_t processes = 0, ranks = 0;
    for (size_t i = 0; i < to->pilot_count; i++) {
        processes += to->pilots[i].processes;
        ranks += to->pilots[i].ranks;
    }
    to->processes = processes > UINT32_MAX ? UINT32_MAX : (uint32_t)processes;
    to->ranks = ranks > UINT32_MAX ? UINT32_MAX : (uint32_t)ranks;
    qsort(to->pilots, to->pilot_count, sizeof *to->pilots, by_id);
}

/* --- heads ------------------------------------------------------------------------------------------------------ */

static int by_text(const void *x, const void *y)
{
    return strcmp(*(char *const *)x, *(char *const *)y);
}

/* The union of two lists, sorted; those of `from` move. */
static void join_lists(char ***to, size_t *count, char **from, size_t from_count)
{
    char **all = memory_new(*count + from_count, sizeof *all);
    size_t n = 0, k = 0;

    for (size_t i = 0; i < *count; i++)
        all[n++] = (*to)[i];
    for (size_t i = 0; i < from_count; i++)
        all[n++] = from[i];
    if (n)
        qsort(all, n, sizeof *all, by_text);
    for (size_t i = 0; i < n; i++) {
        if (k && strcmp(all[k - 1], all[i]) == 0)
            free(all[i]);
        else
            all[k++] = all[i];
    }
    free(*to);
    *to = all;
    *count = k;
}

static void join_policies(struct manifest *to, struct manifest *from)
{
    to->policy.all |= from->policy.all;
    join_lists(&to->policy.include, &to->policy.include_count, from->policy.include, from->policy.include_count);
    join_lists(&to->policy.exclude, &to->policy.exclude_count, from->policy.exclude, from->policy.exclude_count);
    join_lists(&to->policy.prefixes, &to->policy.prefix_count, from->policy.prefixes, from->policy.prefix_count);
    from->policy.include_count = from->policy.exclude_count = from->policy.prefix_count = 0;
}

/* What only the earlier one has of search paths and mounts. */
static void join_search(struct manifest *to, struct manifest *from)
{
    for (size_t i = 0; i < from->search_count; i++) {
        size_t k = 0;
        while (k < to->search_count && strcmp(to->search[k].name, from->search[i].name) != 0)
            k++;
        if (k < to->search_count)
            continue;
        to->search = memory_check(realloc(to->search, (to->search_count + 1) * sizeof *to->search));
        to->search[to->search_count++] = from->search[i];
        from->search[i] = (struct manifest_variable){0};
    }
}

static void join_mounts(struct manifest *to, struct manifest *from)
{
    for (size_t i = 0; i < from->mount_count; i++) {
        size_t k = 0;
        while (k < to->mount_count && strcmp(to->mounts[k].point, from->mounts[i].point) != 0)
            k++;
        if (k < to->mount_count)
            continue;
        to->mounts = memory_check(realloc(to->mounts, (to->mount_count + 1) * sizeof *to->mounts));
        to->mounts[to->mount_count++] = from->mounts[i];
        from->mounts[i] = (struct manifest_mount){0};
    }
}

/* --- entries ---------------------------------------------------------------------------------------------------- */

static uint64_t larger(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* How a count comes of two: sums, where no pilot is in both. */
static uint64_t joined(uint64_t a, uint64_t b, bool overlaps)
{
    return overlaps ? larger(a, b) : manifest_sum(a, b);
}

static uint32_t joined_small(uint32_t a, uint32_t b, bool overlaps)
{
    const uint64_t n = joined(a, b, overlaps);

    return n > UINT32_MAX ? UINT32_MAX : (uint32_t)n;
}

static void join_counts(struct manifest_entry *e, const struct manifest_entry *old, bool overlaps)
{
    e->counts.stat = joined(e->counts.stat, old->counts.stat, overlaps);
    e->counts.open = joined(e->counts.open, old->counts.open, overlaps);
    e->counts.list = joined(e->counts.list, old->counts.list, overlaps);
    e->counts.load = joined(e->counts.load, old->counts.load, overlaps);
    e->counts.exec = joined(e->counts.exec, old->counts.exec, overlaps);
    e->counts.write = joined(e->counts.write, old->counts.write, overlaps);
    e->processes = joined_small(e->processes, old->processes, overlaps);
    e->ranks = joined_small(e->ranks, old->ranks, overlaps);
    e->pilots = joined_small(e->pilots, old->pilots, overlaps);
    if (e->first_ns == 0 || (old->first_ns && old->first_ns < e->first_ns))
        e->first_ns = old->first_ns;
    if (old->order < e->order)
        e->order = old->order;
}

/* What the earlier one knows of the same file, and the later one did not ask. */
static void complete(struct manifest_entry *e, struct manifest_entry *old)
{
    if (!e->has_stat && old->has_stat) {
        e->has_stat = true;
        e->size = old->size;
        e->mtime_ns = old->mtime_ns;
        e->mode = old->mode;
    }
    if (!e->has_digest && old->has_digest) {
        e->has_digest = true;
        memcpy(e->digest, old->digest, sizeof e->digest);
        e->is_stale = old->is_stale; /* that takes reading it, too */
    }
    if (!e->soname) {
        e->soname = old->soname;
        old->soname = NULL;
    }
    if (e->needed_count == 0) {
        free(e->needed);
        e->needed = old->needed;
        e->needed_count = old->needed_count;
        old->needed = NULL;
        old->needed_count = 0;
    }
    if (old->kind == MANIFEST_EXECUTABLE) /* it was executed: the other only looked at it */
        e->kind = MANIFEST_EXECUTABLE;
}

static void join_entry(struct merge *out, struct manifest_entry *e, struct manifest_entry *old, bool overlaps)
{
    const enum diff_cause cause = diff_entries(old, e);

    if (cause == DIFF_CONTENT || cause == DIFF_KIND || cause == DIFF_FOUND_A || cause == DIFF_FOUND_B) {
        out->conflicts =
            memory_grow(out->conflicts, &out->conflict_capacity, out->conflict_count + 1, sizeof *out->conflicts);
        out->conflicts[out->conflict_count++] = (struct merge_conflict){cause, memory_text(e->path)};
    } else if (cause == DIFF_NONE && manifest_has_contents(e->kind)) {
        complete(e, old);
    }
    e->is_volatile |= old->is_volatile && e->kind == MANIFEST_DIRECTORY;
    join_counts(e, old, overlaps);
    manifest_entry_free(old);
}

/* As the recorder does it, so that it does not matter what was merged first. Where there are no times, by the ranks
 * that there were; of two that came first each, the path decides. */
static int by_order(const void *x, const void *y)
{
    const struct manifest_entry *a = *(struct manifest_entry *const *)x, *b = *(struct manifest_entry *const *)y;

    if (a->first_ns != b->first_ns)
        return a->first_ns < b->first_ns ? -1 : 1;
    if (a->first_ns)
        return strcmp(a->path, b->path);
    return a->order != b->order ? (a->order < b->order ? -1 : 1) : strcmp(a->path, b->path);
}

static void renumber(struct manifest *m)
{
    struct manifest_entry **order = memory_new(m->entry_count, sizeof *order);

    for (size_t i = 0; i < m->entry_count; i++)
        order[i] = &m->entries[i];
    if (m->entry_count)
        qsort(order, m->entry_count, sizeof *order, by_order);
    for (size_t i = 0; i < m->entry_count; i++)
        order[i]->order = i;
    free(order);
}

/* `old` goes into `m`, which was recorded later. */
static void join_entries(struct merge *out, struct manifest *m, struct manifest *old, bool overlaps)
{
    struct manifest all = {0};
    size_t i = 0, j = 0;

    while (i < old->entry_count || j < m->entry_count) {
        const int c = i == old->entry_count ? 1
                      : j == m->entry_count ? -1
                                            : strcmp(old->entries[i].path, m->entries[j].path);
        struct manifest_entry *e = manifest_append(&all, c < 0 ? &old->entries[i] : &m->entries[j]);
        if (c == 0)
            join_entry(out, e, &old->entries[i], overlaps);
        i += c <= 0;
        j += c >= 0;
    }
    free(m->entries);
    m->entries = all.entries;
    m->entry_count = all.entry_count;
    m->entry_capacity = all.entry_capacity;
    old->entry_count = 0; /* they have moved */
}

/* --- the whole -------------------------------------------------------------------------------------------------- */

static const char *text_or_nothing(const char *text)
{
    return text ? text : "";
}

/* The latest last; of two at once the pilots' names decide. */
static int by_time(const void *x, const void *y)
{
    const struct manifest *a = *(struct manifest *const *)x, *b = *(struct manifest *const *)y;
    const int c = strcmp(text_or_nothing(a->recorded), text_or_nothing(b->recorded));

    if (c || a->pilot_count == 0 || b->pilot_count == 0)
        return c;
    if (a->pilot_count != b->pilot_count) /* the one that may contain the other */
        return a->pilot_count < b->pilot_count ? -1 : 1;
    for (size_t i = 0; i < a->pilot_count; i++) {
        const int d = strcmp(a->pilots[i].id, b->pilots[i].id);
        if (d)
            return d;
    }
    return 0;
}

static bool is_single(const struct manifest *m)
{
    return m->pilot_count == 1;
}

static void begin_pilots(struct manifest *m)
{
    if (m->pilot_count == 0)
        add_itself(m);
    else
        qsort(m->pilots, m->pilot_count, sizeof *m->pilots, by_id);
    for (size_t i = 0; is_single(m) && i < m->entry_count; i++)
        m->entries[i].pilots = 1;
}

static void end_pilots(struct manifest *m)
{
    if (!is_single(m))
        return;
    /* Nothing was merged: it stays as it was. */
    manifest_pilots_free(m);
    for (size_t i = 0; i < m->entry_count; i++)
        m->entries[i].pilots = 0;
}

static void join(struct merge *out, struct manifest *m, struct manifest *old)
{
    const bool overlaps = common_pilots(m, old) > 0;

    out->overlaps |= overlaps;
    join_entries(out, m, old, overlaps);
    take_pilots(m, old);
    join_policies(m, old);
    join_lists(&m->hosts, &m->host_count, old->hosts, old->host_count);
    old->host_count = 0;
    join_search(m, old);
    join_mounts(m, old);
    renumber(m);
}

static int by_path(const void *x, const void *y)
{
    return strcmp(((const struct merge_conflict *)x)->path, ((const struct merge_conflict *)y)->path);
}

void merge_manifests(struct manifest **all, size_t count, struct merge *out)
{
    *out = (struct merge){0};
    for (size_t i = 0; i < count; i++)
        begin_pilots(all[i]);
    qsort(all, count, sizeof *all, by_time);
    struct manifest *m = all[0];
    for (size_t i = 1; i < count; i++) {
        struct manifest *next = all[i], *other = m;
        const size_t common = common_pilots(m, next);
        if (common == next->pilot_count) { /* all of it is known */
            manifest_free(next);
            continue;
        }
        m = next;
        if (common < other->pilot_count)
            join(out, m, other);
        manifest_free(other);
    }
    end_pilots(m);
    if (out->conflict_count)
        qsort(out->conflicts, out->conflict_count, sizeof *out->conflicts, by_path);
    out->m = m;
}

void merge_free(struct merge *out)
{
    for (size_t i = 0; i < out->conflict_count; i++)
        free(out->conflicts[i].path);
    free(out->conflicts);
    manifest_free(out->m);
}
