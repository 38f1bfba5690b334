/* The notes are laid over the file system as it is now (places.h); then the policy says which places are kept, and
 * each becomes an entry (entries.h). */
#include "collector.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "entries.h"
#include "head.h"
#include "facts/memory.h"
#include "silent.h"

static void add_step(void *context, struct place *p, enum place_reach how)
{
    struct collector *c = context;

    c->steps = memory_grow(c->steps, &c->step_capacity, c->step_count + 1, sizeof *c->steps);
    c->steps[c->step_count++] = (struct step){p, how};
}

static void touch(struct place *p, uint64_t when)
{
    if (!p->touched || when < p->first_ns)
        p->first_ns = when;
    p->touched = true;
}

static bool was_seen(const struct noted *n)
{
    for (int op = 0; op < SPOOL_OPS; op++)
        if (n->counts[op][SPOOL_FOUND] || n->counts[op][SPOOL_FAILED])
            return true;
    return false;
}

static void lay_out_note(struct collector *c, const struct noted *n)
{
    struct trail *t = &c->trails[n->index];

    t->first = c->step_count;
    places_walk(&c->places, n->path, was_seen(n), add_step, c);
    t->count = c->step_count - t->first;
    const struct step *steps = c->steps + t->first;
    for (size_t i = 0; i < t->count; i++) {
        struct place *p = steps[i].place;
        touch(p, n->first_ns);
        if (steps[i].how == PLACE_PASSED) {
            p->passed = true;
            continue;
        }
        /* Of a symlink that leads to nothing it was the symlink that was found. */
        const bool dangles = !p->exists && i > 0 && steps[i - 1].how == PLACE_NAMED;
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
            count(c->steps[t->first + k].place, touches[i].who);
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
    places_walk(&c->places, path, true, add_program, &program);
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

/* A search of the dynamic loader came to a file that is there. Nothing but that says that it was found where it was
 * not taken: it is for another machine, or was loaded already by another name. */
static void find_passed_over(struct collector *c)
{
    for (struct place *p = c->places.root; p; p = p->next) {
        uint64_t *load = p->counts[SPOOL_LOAD];
        if (!load[SPOOL_ABSENT] || !p->exists || !S_ISREG(p->mode) || place_was_made(p, c->request->started_ns))
            continue;
        if (load[SPOOL_FOUND] < load[SPOOL_ABSENT] && (load[SPOOL_FOUND] || access(p->path, R_OK) == 0))
            load[SPOOL_FOUND] = load[SPOOL_ABSENT];
    }
}

static void mark_changed(struct collector *c)
{
    for (struct place *p = c->places.root; p; p = p->next) {
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

/* ------------------------------------------------------------------------------------------------------ the whole */

static void fill_mounts(struct collector *c, struct manifest *m)
{
    struct mount_point *mount, *next_mount;
    size_t count = 0;

    for (struct place *p = c->places.root; p; p = p->next) {
        mount = p->kept ? mount_of(c, p) : NULL;
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
    find_passed_over(&c);
    mark_changed(&c);
    silent_programs(&c.places, request->started_ns, report);
    decide_prefixes(&c);
    decide_places(&c);
    entries_make(m, &c.places, request->started_ns, first ? first->start_ns : request->started_ns, report);
    head_fill(m, request);
    decide_effective(&c, m);
    fill_mounts(&c, m);
    free(c.steps);
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
