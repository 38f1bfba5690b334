/* The notes are laid over the file system as it is now (places.h); then the policy says which places are kept, and
 * each becomes an entry (entries.h). */
#include "collect.h"

#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>

#include "entries.h"
#include "head.h"
#include "facts/memory.h"
#include "facts/mounts.h"
#include "places.h"
#include "prefixes.h"
#include "silent.h"

/* A noted path, and the places that it leads over. */
struct trail {
    struct {
        struct place *place;
        enum place_reach how;
    } *steps;
    size_t count, capacity;
};

struct collector {
    const struct collect_request *request;
    struct collect_report *report;
    struct places places;
    struct mounts mounts;
    struct trail *trails; /* one a noted path */
    struct fs_type {
        uint64_t dev;
        uint32_t magic;
    } *fs_types;
    size_t fs_count, fs_capacity;
};

static void add_step(void *context, struct place *p, enum place_reach how)
{
    struct trail *t = context;

    t->steps = memory_grow(t->steps, &t->capacity, t->count + 1, sizeof *t->steps);
    t->steps[t->count].place = p;
    t->steps[t->count++].how = how;
}

static void touch(struct place *p, uint64_t when)
{
    if (!p->touched || when < p->first_ns)
        p->first_ns = when;
    p->touched = true;
}

static void lay_out_note(struct collector *c, const struct noted *n)
{
    struct trail *t = &c->trails[n->index];

    places_walk(&c->places, n->path, add_step, t);
    for (size_t i = 0; i < t->count; i++) {
        struct place *p = t->steps[i].place;
        touch(p, n->first_ns);
        if (t->steps[i].how == PLACE_PASSED) {
            p->passed = true;
            continue;
        }
        /* Of a symlink that leads to nothing it was the symlink that was found. */
        const bool dangles = !p->exists && i > 0 && t->steps[i - 1].how == PLACE_NAMED;
        for (int op = 0; op < SPOOL_OPS; op++)
            for (int result = 0; result < SPOOL_RESULTS; result++)
                if (!(dangles && op == SPOOL_STAT && result == SPOOL_FOUND))
                    p->counts[op][result] += n->counts[op][result];
    }
}

/* A touch, by what it counts for: its process, or its rank. */
struct touch {
    int64_t who;
    uint32_t path;
};

static int by_who(const void *a, const void *b)
{
    const struct touch *x = a, *y = b;
    return (x->who > y->who) - (x->who < y->who);
}

static void count_process(struct place *p, int64_t process)
{
    if (p->last_process != (uint32_t)process)
        p->processes++;
    p->last_process = (uint32_t)process;
}

static void count_rank(struct place *p, int64_t rank)
{
    if (rank >= 0 && p->last_rank != rank + 1)
        p->ranks++;
    p->last_rank = rank + 1;
}

/* The touches one process, or rank, after the other, each counted once a place. */
static void count_once(struct collector *c, struct touch *touches, void (*count)(struct place *p, int64_t who))
{
    const size_t n = c->request->notes->touch_count;

    qsort(touches, n, sizeof *touches, by_who);
    for (size_t i = 0; i < n; i++) {
        const struct trail *t = &c->trails[touches[i].path];
        for (size_t k = 0; k < t->count; k++)
            count(t->steps[k].place, touches[i].who);
    }
}

/* How many processes, and how many ranks, touched each place. */
static void count_touches(struct collector *c)
{
    const struct notes *notes = c->request->notes;
    struct touch *touches = memory_new(notes->touch_count, sizeof *touches);

    for (size_t i = 0; i < notes->touch_count; i++)
        touches[i] = (struct touch){notes->files[notes->touches[i].file].process, notes->touches[i].path};
    count_once(c, touches, count_process);
    for (size_t i = 0; i < notes->touch_count; i++)
        touches[i] = (struct touch){notes->files[notes->touches[i].file].rank, notes->touches[i].path};
    count_once(c, touches, count_rank);
    free(touches);
}

/* A program that ran: its file was executed, whether or not anybody noted that. */
struct program {
    uint64_t when;
    struct place *end;
};

static void add_program(void *context, struct place *p, enum place_reach how)
{
    struct program *program = context;

    if (!p->exists)
        return;
    touch(p, program->when);
    if (how == PLACE_FINAL)
        program->end = p;
    else
        p->passed = true;
}

static struct place *lay_out_program(struct collector *c, const char *path, uint64_t when, uint64_t runs)
{
    struct program program = {when, NULL};

    if (path[0] != '/')
        return NULL;
    places_walk(&c->places, path, add_program, &program);
    if (program.end)
        program.end->programs += runs;
    return program.end;
}

static void lay_out(struct collector *c)
{
    const struct notes *notes = c->request->notes;
    uint8_t *seen = memory_new(notes->process_count, 1);

    c->trails = memory_new(notes->path_count, sizeof *c->trails);
    for (size_t i = 0; i < notes->path_count; i++)
        lay_out_note(c, notes->paths[i]);
    count_touches(c);
    if (c->request->program) {
        struct place *p = lay_out_program(c, c->request->program, c->request->started_ns, 0);
        if (p)
            p->started = true;
    }
    for (size_t i = 0; i < notes->file_count; i++) {
        const struct noted_file *f = &notes->files[i];
        lay_out_program(c, f->exe, f->start_ns, !seen[f->process]);
        seen[f->process] = 1;
    }
    free(seen);
}

/* ----------------------------------------------------------------------------------------- what the pilot changed */

static bool is_pycache(const struct place *p)
{
    return strcmp(place_name(p), "__pycache__") == 0;
}

/* Bytecode is written once, by whichever run is the first; from then on it is only read. */
static void mark_parent(struct place *p)
{
    if (p->opaque || is_pycache(p) || is_pycache(p->parent))
        return;
    struct place *dir = places_existing(p->parent);
    dir->is_volatile = true;
    if (!dir->touched && (!dir->first_ns || p->first_ns < dir->first_ns))
        dir->first_ns = p->first_ns;
}

static void mark_changed(struct collector *c)
{
    struct place *p, *next;

    HASH_ITER(hh, c->places.by_path, p, next) {
        if (!p->touched)
            continue;
        if (p->counts[SPOOL_WRITE][SPOOL_FOUND]) {
            mark_parent(p);
            if (p->exists && S_ISDIR(p->mode) && !is_pycache(p))
                p->is_volatile = true;
        }
        if (place_was_made(p, c->request->started_ns) || (!p->exists && place_was_found(p)))
            mark_parent(p);
    }
}

/* ----------------------------------------------------------------------------------------------------- the policy */

static uint32_t fs_magic(struct collector *c, const struct place *at)
{
    struct statfs fs;

    for (size_t i = 0; i < c->fs_count; i++)
        if (c->fs_types[i].dev == at->dev)
            return c->fs_types[i].magic;
    const uint32_t magic = statfs(at->path, &fs) == 0 ? (uint32_t)fs.f_type : 0;
    c->fs_types = memory_grow(c->fs_types, &c->fs_capacity, c->fs_count + 1, sizeof *c->fs_types);
    c->fs_types[c->fs_count++] = (struct fs_type){at->dev, magic};
    return magic;
}

/* Where the place lies; *at is one that statfs can be asked about. */
static struct policy_facts facts_of(struct collector *c, struct place *p)
{
    const bool asks_itself = p->exists && !p->opaque && (S_ISREG(p->mode) || S_ISDIR(p->mode));
    const struct place *at = asks_itself ? p : places_existing(p->parent);
    const struct mount_point *mount = mounts_of(&c->mounts, at->path);

    return (struct policy_facts){
        .fs_magic = fs_magic(c, at),
        .fs_type = mount ? mount->type : NULL,
        .on_root = at->dev == c->places.root->dev,
        .is_data = place_is_data(p),
    };
}

static void find_prefixes(struct collector *c)
{
    struct policy *policy = c->request->policy;
    struct place *p, *next;

    prefixes_from_environment(policy, c->request->environment);
    HASH_ITER(hh, c->places.by_path, p, next) {
        if (!p->touched || !p->exists || p->opaque)
            continue;
        if (p->programs || p->counts[SPOOL_EXEC][SPOOL_FOUND])
            prefixes_from_program(policy, p->path);
        if (!S_ISREG(p->mode))
            continue;
        if (p->counts[SPOOL_LOAD][SPOOL_FOUND])
            prefixes_from_object(policy, p->path);
        else if (p->counts[SPOOL_OPEN][SPOOL_FOUND] && place_is_python(p))
            prefixes_from_module(policy, p->path);
    }
    policy_ready(policy);
}

static bool may_follow(const struct collector *c, const struct place *p)
{
    return !p->kept && (p->verdict == POLICY_LOCAL || p->verdict == POLICY_OUTSIDE) &&
           place_fate(p, c->request->started_ns) == FATE_KEEP;
}

/* What a path leads to goes by the names of the symlinks on the way as well: every process would otherwise ask the
 * kernel about a file that lies elsewhere, but is asked for below an included directory. */
static void follow_in(struct collector *c, const struct trail *t)
{
    struct place *end = t->steps[t->count - 1].place;

    if (!may_follow(c, end))
        return;
    const struct policy_facts facts = facts_of(c, end);
    for (size_t k = 0; k + 1 < t->count; k++)
        if (policy_decide(c->request->policy, t->steps[k].place->path, &facts) == POLICY_KEEP)
            end->kept = true;
}

static void decide(struct collector *c)
{
    const struct notes *notes = c->request->notes;
    struct place *p, *next;

    HASH_ITER(hh, c->places.by_path, p, next) {
        if (!p->touched && !p->is_volatile)
            continue;
        const struct policy_facts facts = facts_of(c, p);
        p->verdict = policy_decide(c->request->policy, p->path, &facts);
        p->kept = p->verdict == POLICY_KEEP && place_fate(p, c->request->started_ns) == FATE_KEEP;
    }
    for (size_t i = 0; i < notes->path_count; i++)
        if (c->trails[i].count)
            follow_in(c, &c->trails[i]);
    /* A symlink that leads to what is kept is needed to find it, wherever it lies itself. */
    for (size_t i = 0; i < notes->path_count; i++) {
        const struct trail *t = &c->trails[i];
        if (t->count == 0 || !t->steps[t->count - 1].place->kept)
            continue;
        for (size_t k = 0; k + 1 < t->count; k++)
            if (may_follow(c, t->steps[k].place))
                t->steps[k].place->kept = true;
    }
}

static bool is_included(const struct policy *policy, const char *path)
{
    for (size_t i = 0; i < policy->include.path_count; i++)
        if (policy_below(path, policy->include.paths[i]))
            return true;
    return false;
}

static bool is_covered(const struct collector *c, const struct manifest *m, const char *path)
{
    const struct mount_point *mount = mounts_of(&c->mounts, path);

    for (size_t i = 0; i < m->policy.prefix_count; i++)
        if (policy_below(path, m->policy.prefixes[i]) && mount == mounts_of(&c->mounts, m->policy.prefixes[i]))
            return true;
    return false;
}

/* Below its prefix a file may lie on another file system than the prefix itself: then it is that which counts. */
static void add_effective(struct collector *c, struct policy *used, struct place *p)
{
    const struct policy *policy = c->request->policy;
    const struct policy_prefix *prefix = policy_prefix_of(policy, p->path, place_is_data(p));
    const struct policy_facts facts = facts_of(c, p);

    if (!prefix || facts.on_root || !policy_is_shared(facts.fs_magic, facts.fs_type))
        return;
    const struct mount_point *mount = mounts_of(&c->mounts, p->path);
    const char *path = mount && policy_below(mount->point, prefix->path) ? mount->point : prefix->path;
    if (used->prefix_count == 0 || strcmp(used->prefixes[used->prefix_count - 1].path, path) != 0)
        policy_add_prefix(used, path, false);
}

/* The directories below which something was kept: "/" for --all; those included by name; and of the program's own
 * prefixes those that something was kept for. */
static void effective_prefixes(struct collector *c, struct manifest *m)
{
    const struct policy *policy = c->request->policy;
    struct policy used = {0};
    struct place *p, *next;

    if (policy->all) {
        entries_add_text(&m->policy.prefixes, &m->policy.prefix_count, "/");
        return;
    }
    for (size_t i = 0; i < policy->include.canonical_count; i++)
        entries_add_text(&m->policy.prefixes, &m->policy.prefix_count, policy->include.canonical[i]);
    HASH_ITER(hh, c->places.by_path, p, next) {
        if (p->kept && !is_included(policy, p->path))
            add_effective(c, &used, p);
    }
    policy_ready(&used);
    for (size_t i = 0; i < used.prefix_count; i++)
        if (!is_covered(c, m, used.prefixes[i].path))
            entries_add_text(&m->policy.prefixes, &m->policy.prefix_count, used.prefixes[i].path);
    policy_free(&used);
}

/* ------------------------------------------------------------------------------------------------------ the whole */

static void fill_mounts(struct collector *c, struct manifest *m)
{
    struct place *p, *next;
    struct mount_point *mount, *next_mount;
    size_t count = 0;

    HASH_ITER(hh, c->places.by_path, p, next) {
        mount = p->kept ? mounts_of(&c->mounts, p->path) : NULL;
        if (mount && !mount->used)
            count++;
        if (mount)
            mount->used = true;
    }
    m->mounts = memory_new(count, sizeof *m->mounts);
    HASH_ITER(hh, c->mounts.by_point, mount, next_mount) {
        if (mount->used)
            m->mounts[m->mount_count++] = (struct manifest_mount){
                memory_text(mount->point),
                memory_text(mount->type),
                memory_text(mount->source),
                memory_text(mount->root),
            };
    }
}

struct manifest *collect(const struct collect_request *request, struct collect_report *report)
{
    struct collector c = {.request = request, .report = report};
    const struct noted_file *first = notes_first(request->notes);
    struct manifest *m = manifest_new();

    *report = (struct collect_report){.left_out = request->left_out};
    (void)mounts_read(&c.mounts, "/proc/self/mountinfo"); /* without it no entry has a mount */
    places_init(&c.places);
    lay_out(&c);
    mark_changed(&c);
    silent_programs(&c.places, request->started_ns, report);
    find_prefixes(&c);
    decide(&c);
    entries_make(m, &c.places, request->started_ns, first ? first->start_ns : request->started_ns, report);
    head_fill(m, request);
    effective_prefixes(&c, m);
    fill_mounts(&c, m);
    for (size_t i = 0; i < request->notes->path_count; i++)
        free(c.trails[i].steps);
    free(c.trails);
    free(c.fs_types);
    places_free(&c.places);
    mounts_free(&c.mounts);
    return m;
}

void collect_report_free(struct collect_report *report)
{
    free(report->unreadable_example);
    report->unreadable_example = NULL;
    free(report->silent_example);
    report->silent_example = NULL;
}
