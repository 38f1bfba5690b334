#include "places.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "facts/memory.h"
#include "libdlcache/hash.h"

#define MOST_SYMLINKS 40 /* as in the kernel */

#define LIST_AFTER 16u   /* names that are not there, before the list is read */
#define LIST_MOST 65536u /* names: longer lists are not read to the end */

struct walk {
    struct places *places;
    place_visit *visit;
    void *context;
    bool seen;
    int symlinks;
};

/* The names in a directory, by their hashes. */
struct listing {
    bool complete;
    size_t count, capacity;
    uint64_t *hashes; /* sorted */
};

static uint64_t hash_name(const char *name)
{
    return dlc_hash64(0, name, strlen(name));
}

static int by_hash(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

static struct listing *read_list(const char *path)
{
    struct listing *list = memory_new(1, sizeof *list);
    DIR *d = opendir(path);
    struct dirent *e;

    if (!d)
        return list;
    while (errno = 0, (e = readdir(d)) && list->count < LIST_MOST) {
        list->hashes = memory_grow(list->hashes, &list->capacity, list->count + 1, sizeof *list->hashes);
        list->hashes[list->count++] = hash_name(e->d_name);
    }
    list->complete = !e && errno == 0;
    closedir(d);
    if (list->count)
        qsort(list->hashes, list->count, sizeof *list->hashes, by_hash);
    return list;
}

/* The list of the directory says that the name is not there. */
static bool is_unlisted(struct place *dir, const char *name)
{
    if (dir->misses < LIST_AFTER)
        return false;
    if (!dir->list)
        dir->list = read_list(dir->path);
    const struct listing *list = dir->list;
    const uint64_t hash = hash_name(name);
    return list->complete && !(list->count && bsearch(&hash, list->hashes, list->count, sizeof hash, by_hash));
}

static void look_at(struct place *p)
{
    struct stat st;

    p->unlisted = false;
    if (lstat(p->path, &st) != 0) {
        p->parent->misses++;
        return;
    }
    p->exists = true;
    p->mode = st.st_mode;
    p->dev = st.st_dev;
    p->size = (uint64_t)st.st_size;
    p->mtime = st.st_mtim;
    p->ctime = st.st_ctim;
}

static struct place *add(struct places *ps, struct place *parent, char *path, bool seen)
{
    struct place *p = memory_new(1, sizeof *p);

    p->path = path;
    p->parent = parent ? parent : p;
    p->last_process = UINT32_MAX;
    if (parent && (parent->opaque || strcmp(path, "/proc") == 0)) {
        p->opaque = p->exists = true;
        p->mode = S_IFREG;
    } else if (!parent || (parent->exists && S_ISDIR(parent->mode))) {
        if (!seen && is_unlisted(p->parent, place_name(p)))
            p->unlisted = true;
        else
            look_at(p);
    }
    table_add(&ps->by_path, p->path, p);
    if (ps->last)
        ps->last->next = p;
    ps->last = p;
    return p;
}

static struct place *child(struct places *ps, struct place *parent, const char *name, size_t len, bool seen)
{
    char *path = memory_join(parent->path, name, len);
    struct place *p = table_find(&ps->by_path, path, strlen(path));

    if (!p)
        return add(ps, parent, path, seen);
    free(path);
    if (p->unlisted && seen)
        look_at(p);
    return p;
}

void places_init(struct places *ps)
{
    *ps = (struct places){0};
    ps->root = add(ps, NULL, memory_text("/"), true);
}

void places_free(struct places *ps)
{
    for (struct place *p = ps->root, *next; p; p = next) {
        next = p->next;
        if (p->list)
            free(p->list->hashes);
        free(p->list);
        free(p->path);
        free(p);
    }
    table_free(&ps->by_path);
    *ps = (struct places){0};
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
        const char *ahead = rest;
        size_t ahead_len;
        const bool last = !next_component(&ahead, &ahead_len);
        struct place *p = child(w->places, at, name, len, w->seen || middle || !last);
        if (!p->exists || p->opaque || !S_ISLNK(p->mode)) {
            at = p;
            continue;
        }
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

/* Most paths begin with a directory that others have led to already. Where that is written as its canonical path, no
 * symlink is on the way: on from there, by *rest. */
static struct place *start_of(const struct places *ps, const char *path, const char **rest)
{
    const size_t len = (size_t)(strrchr(path, '/') - path);
    struct place *dir = table_find(&ps->by_path, path, len);

    if (!dir || !dir->exists || dir->opaque || !S_ISDIR(dir->mode)) {
        *rest = path;
        return ps->root;
    }
    *rest = path + len + strspn(path + len, "/");
    return dir;
}

void places_walk(struct places *ps, const char *path, bool seen, place_visit *visit, void *context)
{
    struct walk w = {.places = ps, .visit = visit, .context = context, .seen = seen};
    const char *rest;
    int error = 0;
    struct place *start = start_of(ps, path, &rest);
    struct place *end = follow(&w, start, rest, false, &error);

    if (!end && error == ENOENT) {
        char *text = places_collapse(path);
        end = table_find(&ps->by_path, text, strlen(text));
        if (!end) {
            /* It has no directory of its own: the root stands in, and nothing is looked at. */
            struct place nowhere = {.exists = false};
            end = add(ps, &nowhere, text, false);
            end->parent = ps->root;
            end->nowhere = true;
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
