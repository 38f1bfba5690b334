#include "places.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "facts/memory.h"

#define MOST_SYMLINKS 40 /* as in the kernel */

struct walk {
    struct places *places;
    place_visit *visit;
    void *context;
    int symlinks;
};

static struct place *add(struct places *ps, struct place *parent, char *path)
{
    struct place *p = memory_new(1, sizeof *p);
    struct stat st;

    p->path = path;
    p->parent = parent ? parent : p;
    p->last_process = UINT32_MAX;
    if (parent && (parent->opaque || strcmp(path, "/proc") == 0)) {
        p->opaque = p->exists = true;
        p->mode = S_IFREG;
    } else if ((!parent || (parent->exists && S_ISDIR(parent->mode))) && lstat(path, &st) == 0) {
        p->exists = true;
        p->mode = st.st_mode;
        p->dev = st.st_dev;
        p->size = (uint64_t)st.st_size;
        p->mtime = st.st_mtim;
        p->ctime = st.st_ctim;
    }
    HASH_ADD_KEYPTR(hh, ps->by_path, p->path, strlen(p->path), p);
    return p;
}

static struct place *find(struct places *ps, const char *path)
{
    struct place *p;
    HASH_FIND(hh, ps->by_path, path, strlen(path), p);
    return p;
}

static struct place *child(struct places *ps, struct place *parent, const char *name, size_t len)
{
    char *path = memory_join(parent->path, name, len);
    struct place *p = find(ps, path);

    if (!p)
        return add(ps, parent, path);
    free(path);
    return p;
}

void places_init(struct places *ps)
{
    *ps = (struct places){0};
    ps->root = add(ps, NULL, memory_text("/"));
}

void places_free(struct places *ps)
{
    struct place *p, *next;

    HASH_ITER(hh, ps->by_path, p, next) {
        HASH_DEL(ps->by_path, p);
        free(p->path);
        free(p);
    }
    ps->root = NULL;
}

/* The next component of *path that is not ".", or NULL; *path moves behind it. */
static const char *next_component(const char **path, size_t *len)
{
    for (const char *p = *path;; p += *len) {
        p += strspn(p, "/");
        *len = strcspn(p, "/");
        if (*len == 0)
            return NULL;
        if (*len != 1 || p[0] != '.') {
            *path = p + *len;
            return p;
        }
    }
}

/* The target of a symlink, whatever its length. NULL and errno. Heap. */
static char *read_target(const char *path)
{
    char buf[PATH_MAX];
    ssize_t n = readlink(path, buf, sizeof buf);

    if (n >= 0 && (size_t)n == sizeof buf) {
        errno = ENAMETOOLONG;
        return NULL;
    }
    return n < 0 ? NULL : memory_bytes(buf, (size_t)n);
}

/* From the directory `at` along `path`. NULL, and *error, when that leads nowhere that has a name. */
static struct place *follow(struct walk *w, struct place *at, const char *path, bool middle, int *error)
{
    const char *name, *rest = path;
    size_t len;

    if (path[0] == '/')
        at = w->places->root;
    while ((name = next_component(&rest, &len))) {
        if (len == 2 && name[0] == '.' && name[1] == '.') {
            if (!at->exists || at->opaque || !S_ISDIR(at->mode)) {
                *error = ENOENT;
                return NULL;
            }
            at = at->parent;
            continue;
        }
        struct place *p = child(w->places, at, name, len);
        if (!p->exists || p->opaque || !S_ISLNK(p->mode)) {
            at = p;
            continue;
        }
        const char *ahead = rest;
        size_t ahead_len;
        const bool last = !next_component(&ahead, &ahead_len);
        char *target;
        w->visit(w->context, p, middle || !last ? PLACE_PASSED : PLACE_NAMED);
        if (++w->symlinks > MOST_SYMLINKS || !(target = read_target(p->path))) {
            *error = ELOOP;
            return NULL;
        }
        at = follow(w, at, target, middle || !last, error);
        free(target);
        if (!at)
            return NULL;
    }
    return at;
}

char *places_collapse(const char *path)
{
    char *out = memory_new(strlen(path) + 2, 1);
    const char *name, *rest = path;
    size_t len, n = 0;

    while ((name = next_component(&rest, &len))) {
        out[n++] = '/';
        memcpy(out + n, name, len);
        n += len;
    }
    if (n == 0)
        out[0] = '/';
    return out;
}

void places_walk(struct places *ps, const char *path, place_visit *visit, void *context)
{
    struct walk w = {.places = ps, .visit = visit, .context = context};
    int error = 0;
    struct place *end = follow(&w, ps->root, path, false, &error);

    if (!end && error == ENOENT) {
        char *text = places_collapse(path);
        end = find(ps, text);
        if (!end) {
            /* It has no directory of its own: the root stands in, and nothing is looked at. */
            struct place nowhere = {.exists = false};
            end = add(ps, &nowhere, text);
            end->parent = ps->root;
        } else {
            free(text);
        }
    }
    if (end)
        visit(context, end, PLACE_FINAL);
}

struct place *places_existing(struct place *p)
{
    while (!p->exists || p->opaque || !S_ISDIR(p->mode)) {
        if (p->parent == p)
            break;
        p = p->parent;
    }
    return p;
}

const char *place_name(const struct place *p)
{
    return strrchr(p->path, '/') + 1;
}
