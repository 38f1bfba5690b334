/* Which places are kept: the policy (policy.h) is asked with what it has to know of the file system. */
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>

#include "collector.h"
#include "entries.h"
#include "facts/memory.h"
#include "prefixes.h"

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

struct mount_point *mount_of(const struct collector *c, struct place *p)
{
    if (!p->mount && (p->nowhere || p == p->parent)) {
        p->mount = mounts_of(&c->mounts, p->path);
    } else if (!p->mount) {
        HASH_FIND(hh, c->mounts.by_point, p->path, strlen(p->path), p->mount);
        if (!p->mount)
            p->mount = mount_of(c, p->parent);
    }
    return p->mount;
}

/* Where the place lies; *at is one that statfs can be asked about. */
static struct policy_facts facts_of(struct collector *c, struct place *p)
{
    const bool asks_itself = p->exists && !p->opaque && (S_ISREG(p->mode) || S_ISDIR(p->mode));
    struct place *at = asks_itself ? p : places_existing(p->parent);
    const struct mount_point *mount = mount_of(c, at);

    return (struct policy_facts){
        .fs_magic = fs_magic(c, at),
        .fs_type = mount ? mount->type : NULL,
        .on_root = at->dev == c->places.root->dev,
        .is_data = place_is_data(p),
    };
}

void decide_prefixes(struct collector *c)
{
    struct policy *policy = c->request->policy;

    prefixes_from_environment(policy, c->request->environment);
    for (struct place *p = c->places.root; p; p = p->next) {
        if (!p->touched || p->opaque)
            continue;
        if (!p->exists && p->counts[SPOOL_LOAD][SPOOL_ABSENT] && (p->nowhere || !p->parent->searched)) {
            p->parent->searched |= !p->nowhere;
            prefixes_from_search(policy, p->path);
        }
        if (!p->exists)
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
    const struct step *steps = c->steps + t->first;
    struct place *end = steps[t->count - 1].place;

    if (!may_follow(c, end))
        return;
    const struct policy_facts facts = facts_of(c, end);
    for (size_t k = 0; k + 1 < t->count; k++)
        if (policy_decide(c->request->policy, steps[k].place->path, &facts) == POLICY_KEEP)
            end->kept = true;
}

void decide_places(struct collector *c)
{
    const struct notes *notes = c->request->notes;

    for (struct place *p = c->places.root; p; p = p->next) {
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
        const struct step *steps = c->steps + t->first;
        if (t->count == 0 || !steps[t->count - 1].place->kept)
            continue;
        for (size_t k = 0; k + 1 < t->count; k++)
            if (may_follow(c, steps[k].place))
                steps[k].place->kept = true;
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
    const struct mount_point *mount = mount_of(c, p);
    const char *path = mount && policy_below(mount->point, prefix->path) ? mount->point : prefix->path;
    if (used->prefix_count == 0 || strcmp(used->prefixes[used->prefix_count - 1].path, path) != 0)
        policy_add_prefix(used, path, false);
}

/* The directories below which something was kept: "/" for --all; those included by name; and of the program's own
 * prefixes those that something was kept for. */
void decide_effective(struct collector *c, struct manifest *m)
{
    const struct policy *policy = c->request->policy;
    struct policy used = {0};

    if (policy->all) {
        entries_add_text(&m->policy.prefixes, &m->policy.prefix_count, "/");
        return;
    }
    for (size_t i = 0; i < policy->include.canonical_count; i++)
        entries_add_text(&m->policy.prefixes, &m->policy.prefix_count, policy->include.canonical[i]);
    for (struct place *p = c->places.root; p; p = p->next) {
        if (p->kept && !is_included(policy, p->path))
            add_effective(c, &used, p);
    }
    policy_ready(&used);
    for (size_t i = 0; i < used.prefix_count; i++)
        if (!is_covered(c, m, used.prefixes[i].path))
            entries_add_text(&m->policy.prefixes, &m->policy.prefix_count, used.prefixes[i].path);
    policy_free(&used);
}
