#include "entries.h"

#include <elf.h>
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "contents.h"
#include "facts/memory.h"
#include "manifests/bytecode.h"

static int64_t in_ns(struct timespec t)
{
    return (int64_t)((uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec);
}

static bool ends_with(const char *text, const char *end)
{
    const size_t n = strlen(text), m = strlen(end);
    return n > m && strcmp(text + n - m, end) == 0;
}

/* libx.so, libx.so.1.2 */
static bool has_so(const char *name)
{
    return ends_with(name, ".so") || strstr(name, ".so.");
}

static bool any(const struct place *p, enum spool_result result)
{
    for (int op = 0; op < SPOOL_OPS; op++)
        if (p->counts[op][result])
            return true;
    return false;
}

bool place_was_found(const struct place *p)
{
    return any(p, SPOOL_FOUND);
}

bool place_was_made(const struct place *p, uint64_t started_ns)
{
    if (!p->exists || p->opaque || place_was_found(p) || !any(p, SPOOL_ABSENT) || p->programs)
        return false;
    /* An old file can be "absent" too: as the directory that it is not. Files' clocks tick more slowly than ours. */
    return in_ns(p->ctime) + 20000000 >= (int64_t)started_ns;
}

bool place_is_python(const struct place *p)
{
    const char *name = place_name(p);
    return ends_with(name, ".py") || ends_with(name, ".pyc") || ends_with(name, ".egg") || ends_with(name, ".zip");
}

bool place_is_data(const struct place *p)
{
    return p->exists && !p->opaque && S_ISREG(p->mode) && !p->programs && !p->counts[SPOOL_EXEC][SPOOL_FOUND] &&
           !p->counts[SPOOL_LOAD][SPOOL_FOUND] && !place_is_python(p) && !has_so(place_name(p));
}

/* Written by the pilot, but only read by every later run. */
static bool is_cached_bytecode(const struct place *p)
{
    return S_ISREG(p->mode) && ends_with(p->path, ".pyc") && strcmp(place_name(p->parent), "__pycache__") == 0;
}

enum place_fate_kind place_fate(const struct place *p, uint64_t started_ns)
{
    if (!p->exists) {
        if (place_was_found(p))
            return FATE_GONE;
        return any(p, SPOOL_ABSENT) ? FATE_KEEP : FATE_NOTHING;
    }
    if (!place_was_found(p) && !any(p, SPOOL_ABSENT) && !p->programs && !p->passed && !p->is_volatile)
        return FATE_NOTHING;
    if (S_ISDIR(p->mode))
        return FATE_KEEP;
    if (!S_ISREG(p->mode) && !S_ISLNK(p->mode))
        return FATE_SPECIAL;
    const bool changed = p->counts[SPOOL_WRITE][SPOOL_FOUND] || p->is_changed || place_was_made(p, started_ns);
    if (changed && !is_cached_bytecode(p))
        return FATE_WRITTEN;
    return FATE_KEEP;
}

static void count_left(const struct place *p, uint64_t started_ns, struct collect_report *report)
{
    if (!p->touched)
        return; /* only a directory in which something was written */
    const enum place_fate_kind fate = place_fate(p, started_ns);
    const char *why = NULL;
    if (p->verdict != POLICY_KEEP) {
        report->left[p->verdict]++;
        why = policy_verdict_names[p->verdict];
    } else if (fate == FATE_WRITTEN) {
        report->written++;
        why = "written";
    } else if (fate == FATE_GONE) {
        report->gone++;
        why = "gone";
    } else if (fate == FATE_SPECIAL) {
        report->special++;
        why = "special";
    }
    if (why && report->left_out)
        report->left_out(p->path, why);
}

static void fill_counts(struct manifest_entry *e, const struct place *p)
{
    const enum spool_result result = p->exists ? SPOOL_FOUND : SPOOL_ABSENT;

    e->counts = (struct manifest_counts){
        .stat = p->counts[SPOOL_STAT][result],
        .open = p->counts[SPOOL_OPEN][result],
        .list = p->counts[SPOOL_LIST][result],
        .load = p->counts[SPOOL_LOAD][result],
        .exec = p->counts[SPOOL_EXEC][result],
        .write = p->counts[SPOOL_WRITE][result],
    };
    /* An exec may be noted by who asks for it, and by what comes of it, under each name: processes are sure. */
    if (p->programs)
        e->counts.exec = p->programs;
}

static void fill_stat(struct manifest_entry *e, mode_t mode, uint64_t size, struct timespec mtime)
{
    e->has_stat = true;
    e->mode = mode;
    e->size = size;
    e->mtime_ns = in_ns(mtime);
}

static enum manifest_kind kind_of(const struct place *p, const struct manifest_entry *e, const struct contents *c)
{
    const char *name = place_name(p);

    if (e->counts.exec)
        return MANIFEST_EXECUTABLE;
    if (c->is_elf && c->elf.type == ET_DYN && (e->counts.load || has_so(name)))
        return MANIFEST_SHARED_OBJECT;
    if (ends_with(name, ".pyc"))
        return MANIFEST_BYTECODE;
    return place_is_python(p) ? MANIFEST_MODULE : MANIFEST_DATA;
}

/* Python goes by the time and the size of the source, through a symlink where it is one. */
static bool is_stale(const char *path, const struct contents *c)
{
    char *source = bytecode_source(path);
    struct stat st;
    const bool stale = source && stat(source, &st) == 0 &&
                       bytecode_is_stale(c->head, c->head_len, st.st_mtim.tv_sec, (uint64_t)st.st_size);

    free(source);
    return stale;
}

static void fill_file(struct manifest_entry *e, const struct place *p, void *buffer, struct collect_report *report)
{
    const bool used = e->counts.open || e->counts.load || e->counts.exec || e->counts.write;
    struct contents c = {0};

    /* What was only looked at is not read, however large; but a library is known for one by its contents. */
    int rc = used || has_so(place_name(p)) ? contents_read(p->path, used, buffer, &c) : 0;
    if (rc) {
        report->unreadable++;
        if (!report->unreadable_example &&
            asprintf(&report->unreadable_example, "%s: %s", p->path, strerror(-rc)) < 0)
            report->unreadable_example = NULL;
    } else if (c.st.st_mode) {
        fill_stat(e, c.st.st_mode, (uint64_t)c.st.st_size, c.st.st_mtim);
    }
    e->kind = kind_of(p, e, &c);
    if (c.has_digest) {
        e->has_digest = true;
        memcpy(e->digest, c.digest, sizeof e->digest);
        report->bytes += e->size;
        e->is_stale = e->kind == MANIFEST_BYTECODE && is_stale(p->path, &c);
    }
    if (e->kind == MANIFEST_SHARED_OBJECT) {
        e->soname = c.elf.soname;
        e->needed = c.elf.needed;
        e->needed_count = c.elf.needed_count;
        c.elf = (struct elf_facts){0};
    }
    elf_facts_free(&c.elf);
    report->files++;
}

static void make_entry(struct manifest *m, const struct place *p, void *buffer, struct collect_report *report)
{
    char target[PATH_MAX];
    ssize_t n = -1;

    if (p->exists && S_ISLNK(p->mode)) {
        n = readlink(p->path, target, sizeof target);
        if (n < 0 || (size_t)n == sizeof target) {
            report->gone++;
            return;
        }
    }
    struct manifest_entry *e = manifest_add(m, p->path, MANIFEST_ABSENT);
    fill_counts(e, p);
    e->first_ns = p->first_ns; /* for the order */
    e->processes = p->processes;
    e->ranks = p->ranks;
    if (!p->exists) {
        report->absent++;
        return;
    }
    fill_stat(e, p->mode, p->size, p->mtime);
    if (S_ISDIR(p->mode)) {
        e->kind = MANIFEST_DIRECTORY;
        e->is_volatile = p->is_volatile;
        report->directories++;
        report->volatiles += p->is_volatile;
    } else if (n >= 0) {
        e->kind = MANIFEST_SYMLINK;
        e->target = memory_bytes(target, (size_t)n);
        report->links++;
    } else {
        fill_file(e, p, buffer, report);
    }
}

static int by_first(const void *a, const void *b)
{
    const struct manifest_entry *x = *(struct manifest_entry *const *)a, *y = *(struct manifest_entry *const *)b;

    if (x->first_ns != y->first_ns)
        return x->first_ns < y->first_ns ? -1 : 1;
    return strcmp(x->path, y->path);
}

static void number_entries(struct manifest *m, uint64_t zero_ns)
{
    struct manifest_entry **sorted = memory_new(m->entry_count, sizeof *sorted);

    for (size_t i = 0; i < m->entry_count; i++)
        sorted[i] = &m->entries[i];
    qsort(sorted, m->entry_count, sizeof *sorted, by_first);
    for (size_t i = 0; i < m->entry_count; i++) {
        sorted[i]->order = i;
        sorted[i]->first_ns = sorted[i]->first_ns > zero_ns ? sorted[i]->first_ns - zero_ns : 0;
    }
    free(sorted);
}

void entries_make(struct manifest *m, const struct places *ps, uint64_t started_ns, uint64_t zero_ns,
                  struct collect_report *report)
{
    void *buffer = memory_check(malloc(CONTENTS_BUFFER));
    const struct place *p;

    for (p = ps->root; p; p = p->next) {
        if (p->kept)
            make_entry(m, p, buffer, report);
        else if (p->touched || p->is_volatile)
            count_left(p, started_ns, report);
    }
    free(buffer);
    number_entries(m, zero_ns);
    manifest_sort(m);
}

void entries_add_text(char ***list, size_t *count, const char *text)
{
    *list = memory_check(realloc(*list, (*count + 1) * sizeof **list));
    (*list)[(*count)++] = memory_text(text);
}
