#include "replayer/image/build.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "facts/memory.h"
#include "libdlcache/format.h"
#include "replayer/image/bundle.h"
#include "replayer/image/freeze.h"
#include "replayer/image/objects.h"
#include "replayer/image/tree.h"
#include "replayer/image/write.h"

/* Of each kind of warning so many are printed; then their number. */
#define WARNINGS 10

struct builder {
    const struct manifest *m;
    struct tree tree;
    struct image_plan plan; /* contents and objects, in order */
    struct objects objects; /* that are not looked into yet */
    struct build_report report;
    bool strict;
    char *first_error;
};

/* A file system that makes up its names. */
static bool never(const char *path)
{
    static const char *const roots[] = {"/proc", "/sys", "/dev", "/run"};

    for (size_t i = 0; i < sizeof roots / sizeof *roots; i++) {
        const size_t n = strlen(roots[i]);
        if (strncmp(path, roots[i], n) == 0 && (path[n] == '/' || path[n] == '\0'))
            return true;
    }
    return false;
}

static bool is_below(const char *path, const char *prefix)
{
    size_t n = strlen(prefix);

    while (n > 1 && prefix[n - 1] == '/')
        n--;
    if (n == 1 && prefix[0] == '/')
        return true;
    return strncmp(path, prefix, n) == 0 && (path[n] == '/' || path[n] == '\0');
}

static bool may_freeze(const struct builder *b, const struct tree_node *dir)
{
    if (dir->kind != DT_DIR || !(dir->flags & DLC_N_STAT) || dir->flags & (DLC_N_FROZEN | DLC_N_VOLATILE))
        return false;
    char *path = tree_path(dir);
    bool may = false;
    for (size_t i = 0; i < b->m->policy.prefix_count && !may; i++)
        may = is_below(path, b->m->policy.prefixes[i]);
    if (never(path))
        may = false;
    free(path);
    return may;
}

static void warn(struct builder *b, uint64_t *counter, const char *path, const char *what)
{
    if (++*counter <= WARNINGS && !b->strict)
        fprintf(stderr, "dlcache: warning: %s: %s\n", path, what);
    if (b->strict && !b->first_error &&
        asprintf(&b->first_error, "%s: %s", path, what) < 0)
        memory_check(NULL);
}

static void warn_rest(uint64_t count, const char *what)
{
    if (count > WARNINGS)
        fprintf(stderr, "dlcache: warning: … and %" PRIu64 " more %s\n", count - WARNINGS, what);
}

static bool may_be_object(const struct manifest_entry *e)
{
    const char *name = strrchr(e->path, '/') + 1;

    return e->kind == MANIFEST_SHARED_OBJECT || e->kind == MANIFEST_EXECUTABLE || strstr(name, ".so");
}

/* What it may do does not hang on its place: no set-id bits, which a tmpfs of the user's would not honour for another
 * owner, and no capabilities. */
static bool may_run(const struct tree_node *n, const char *path)
{
    return n->flags & DLC_N_EXEC && !(n->st.stx_mode & 06000) &&
           lgetxattr(path, "security.capability", NULL, 0) < 0;
}

/* --- entries ---------------------------------------------------------------------------------------------------- */

/* What was only looked at needs no contents in production either. */
static bool wants_data(const struct manifest_entry *e)
{
    const struct manifest_counts *c = &e->counts;

    if (e->kind == MANIFEST_ABSENT || e->kind == MANIFEST_DIRECTORY || e->kind == MANIFEST_SYMLINK)
        return false;
    return e->has_digest || c->open + c->load + c->exec > 0 || c->stat + c->list + c->write == 0;
}

static void add_file(struct builder *b, const struct manifest_entry *e, struct tree_node *n)
{
    if (e->has_stat && e->mode && (e->size != n->st.stx_size ||
                        e->mtime_ns != n->st.stx_mtime.tv_sec * INT64_C(1000000000) + n->st.stx_mtime.tv_nsec))
        b->report.drifted++;
    if (!wants_data(e) || n->flags & DLC_N_DATA)
        return;
    char *path = tree_path(n);
    if (!(n->flags & DLC_N_READ)) {
        warn(b, &b->report.unreadable, path, "cannot be read; it is left to the file system");
    } else if (!never(path)) {
        plan_data(&b->plan, n, path);
        if (e->kind == MANIFEST_EXECUTABLE && may_run(n, path))
            n->flags |= DLC_N_RUN;
        if (may_be_object(e))
            objects_want(&b->objects, n, path, e->path, &b->plan);
    }
    free(path);
}

/* The list of the directory that the path names something in is wanted; or of the one in which that is missing. */
static void want_directory(struct builder *b, const char *path)
{
    char *dirname = memory_bytes(path, (size_t)(strrchr(path, '/') - path));
    struct tree_node *missing, *dir = *dirname ? tree_walk(&b->tree, dirname, true, &missing) : NULL;

    if (dir)
        dir->wanted = true;
    else if (*dirname && missing)
        missing->wanted = true;
    free(dirname);
}

static void add_entry(struct builder *b, const struct manifest_entry *e)
{
    struct tree_node *missing, *n = tree_walk(&b->tree, e->path, e->kind != MANIFEST_SYMLINK, &missing);

    if (!n) {
        if (missing)
            missing->wanted = true;
        if (e->kind != MANIFEST_ABSENT)
            warn(b, &b->report.gone, e->path, missing ? "is in the manifest, and is gone"
                                                      : "is in the manifest, and cannot be reached");
        return;
    }
    n->parent->wanted = true;
    if (e->kind == MANIFEST_DIRECTORY && n->kind == DT_DIR) {
        n->wanted = true;
        if (e->is_volatile)
            n->flags |= DLC_N_VOLATILE;
    }
    if (n->kind == DT_REG)
        add_file(b, e, n);
    /* A path through a symlink: the directory that the program named is searched as well. */
    want_directory(b, e->path);
}

struct directories {
    struct tree_node **list;
    size_t count, capacity;
};

static void find_wanted(const struct builder *b, struct tree_node *n, struct directories *all)
{
    struct tree_node *child, *next;

    if (n->wanted && may_freeze(b, n)) {
        all->list = memory_grow(all->list, &all->capacity, all->count + 1, sizeof(struct tree_node *));
        all->list[all->count++] = n;
    }
    HASH_ITER(hh, n->children, child, next)
        if (child->kind == DT_DIR)
            find_wanted(b, child, all);
}

static void freeze_wanted(struct builder *b)
{
    struct directories all = {0};

    find_wanted(b, b->tree.root, &all);
    b->report.frozen += freeze(&b->tree, all.list, all.count);
    free(all.list);
}

/* All that is there is looked at beforehand, with many requests in flight; and the directories of what is not there. */
static void glance(struct builder *b)
{
    for (size_t i = 0; i < b->m->entry_count; i++) {
        const struct manifest_entry *e = &b->m->entries[i];
        const size_t above = (size_t)(strrchr(e->path, '/') - e->path);
        char *dir = e->kind == MANIFEST_ABSENT ? memory_bytes(e->path, above) : NULL;
        /* Where nothing was, there may be no directory either. */
        if (!dir || manifest_find(b->m, dir))
            glances_want(&b->tree.glances, dir ? dir : e->path);
        free(dir);
    }
    glances_look(&b->tree.glances);
}

static int by_order(const void *a, const void *b)
{
    const struct manifest_entry *x = *(const struct manifest_entry *const *)a;
    const struct manifest_entry *y = *(const struct manifest_entry *const *)b;

    if (x->order != y->order)
        return x->order < y->order ? -1 : 1;
    return strcmp(x->path, y->path);
}

int build_image(const struct manifest *m, bool strict, struct built *out, char **error)
{
    struct builder b = {.m = m, .strict = strict};
    const struct manifest_entry **order = memory_new(m->entry_count, sizeof *order);

    *out = (struct built){0};
    tree_init(&b.tree);
    /* In the order of the first touch: contents come in the order in which the program will want them. */
    for (size_t i = 0; i < m->entry_count; i++)
        order[i] = &m->entries[i];
    qsort(order, m->entry_count, sizeof *order, by_order);
    glance(&b);
    for (size_t i = 0; i < m->entry_count; i++)
        order[i]->kind == MANIFEST_ABSENT ? want_directory(&b, order[i]->path) : add_entry(&b, order[i]);
    objects_look(&b.objects, &b.tree, &b.plan);
    freeze_wanted(&b);
    /* What is not there is proved by the lists that were just read: nearly all of it needs no question of its own. */
    for (size_t i = 0; i < m->entry_count; i++)
        if (order[i]->kind == MANIFEST_ABSENT)
            add_entry(&b, order[i]);
    free(order);
    freeze_wanted(&b);
    tree_forget_unfrozen(b.tree.root);
    if (!strict) {
        warn_rest(b.report.gone, "entries that are gone");
        warn_rest(b.report.unreadable, "files that cannot be read");
    }
    int rc = -1;
    if (b.first_error) {
        *error = b.first_error;
    } else {
        b.report.names = b.tree.count;
        rc = write_index(&b.tree, &b.plan, out, error);
        b.report.files = out->source_count;
        for (size_t i = 0; i < out->source_count; i++)
            b.report.bytes += out->sources[i].size;
        out->report = b.report;
    }
    plan_free(&b.plan);
    tree_free(&b.tree);
    return rc;
}

void built_free(struct built *b)
{
    free(b->index);
    for (size_t i = 0; i < b->source_count; i++) {
        if (b->sources[i].fd >= 0)
            close(b->sources[i].fd);
        free(b->sources[i].path);
    }
    free(b->sources);
    free(b->digests);
    bundle_free(b->bundle);
    *b = (struct built){0};
}
