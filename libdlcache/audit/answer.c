/* What ld.so is answered. Rules: audit.h. */
#include "libdlcache/sys.h"

#include "audit.h"

struct answer answer DLC_LARGE;

/* One at a time: ld.so holds its lock. */
static struct candidate candidate DLC_LARGE;

void answer_clear(void)
{
    answer.text[0] = '\0';
    answer.file = (struct identity){.node = DLC_NONE};
}

static bool put(const char *head, size_t head_len, const char *tail, size_t tail_len)
{
    if (head_len + tail_len >= sizeof answer.text || has_token(tail, tail_len))
        return false;
    __builtin_memcpy(answer.text, head, head_len);
    __builtin_memcpy(answer.text + head_len, tail, tail_len);
    answer.text[head_len + tail_len] = '\0';
    return true;
}

/* The mirror's path of the absolute path. False also where somebody has removed the stage: ld.so would complain, and
 * not look elsewhere. */
static bool put_mirror(const char *path, size_t len)
{
    const struct view *v = &audit.stage.view;
    const size_t below = lookup_prefix(v, path, len);

    return put(v->prefix, v->prefix_len, path + below, len - below) &&
           sys_call(__NR_faccessat, AT_FDCWD, answer.text, 4, 0) == 0;
}

static bool put_node(uint32_t node)
{
    static char path[PATH_SIZE] DLC_LARGE;
    const long n = image_path(&audit.stage.view.image, node, path, sizeof path);

    return n > 0 && put_mirror(path, (size_t)n);
}

/* A path that the index cannot resolve may lead to a file that is held, all the same. */
static uint32_t node_by_inode(const struct identity *file)
{
    const struct view *v = &audit.stage.view;
    static char path[PATH_SIZE] DLC_LARGE;
    struct found found;

    for (uint32_t m = 0; m < v->image.mount_count; m++) {
        if (v->mounts[m].dev != file->dev || !v->mounts[m].agrees)
            continue;
        const struct dlc_inode *inode = image_inode(&v->image, v->image.mounts[m].dev, file->ino);
        if (!inode || inode->mount != m)
            continue;
        const long n = image_path(&v->image, inode->node, path, sizeof path);
        if (n > 0 && lookup(v, path, (size_t)n, 0, &found) == VERDICT_FILE &&
            v->image.nodes[found.node].object != DLC_NONE)
            return found.node;
        return DLC_NONE;
    }
    return DLC_NONE;
}

/* The file of an object that is loaded, from where it was loaded. */
static bool put_loaded(const struct object *o)
{
    const char *name = o->map->l_name;
    struct candidate *c = &candidate;

    if (o->file.node != DLC_NONE)
        return put_node(o->file.node);
    c->len = dlc_strlen(name);
    if (c->len == 0 || c->len >= PATH_SIZE)
        return false;
    __builtin_memcpy(c->path, name, c->len + 1);
    return make_full(c) && verify_cached(c) == HERE && c->file.ino == o->file.ino && c->file.dev == o->file.dev &&
           put("", 0, c->full, c->full_len);
}

/* Into answer.text, what is to be opened for the file that ld.so would come to. */
static bool put_file(const struct candidate *c)
{
    struct identity *file = &answer.file;
    bool direct = true;

    *file = c->file;
    if (file->node == DLC_NONE) {
        file->node = node_by_inode(file);
        direct = false;
    }
    if (file->node != DLC_NONE && (direct ? put_mirror(c->full, c->full_len) : put_node(file->node)))
        return true;
    file->node = DLC_NONE;
    /* A name without a slash would be searched for. */
    return __builtin_memchr(c->path, '/', c->len) ? put("", 0, c->path, c->len) : put("", 0, c->full, c->full_len);
}

/* It is not there: a path that is not there either, so that ld.so does not look. What dlerror says of it is put right
 * by the preloaded library; before the program runs, ld.so itself has to say it. */
static char *absent(const char *name, size_t len)
{
    static const char below[] = "/" STAGE_ABSENT "/";
    const struct stage *s = &audit.stage;

    if (!audit.running || !audit.preloaded)
        return NULL;
    char dir[sizeof s->dir + sizeof below];
    __builtin_memcpy(dir, s->dir, s->dir_len);
    __builtin_memcpy(dir + s->dir_len, below, sizeof below);
    return put(dir, s->dir_len + sizeof below - 1, name, len) ? answer.text : NULL;
}

/* The file of candidate: the answer. */
static char *answer_file(const char *name, size_t len)
{
    struct candidate *c = &candidate;
    struct object *loaded = object_of(&c->file);

    answer.asked = c->path;
    if (loaded) {
        object_called(loaded, name, len);
        if (loaded->file.node != DLC_NONE ? put_node(loaded->file.node) : put("", 0, c->full, c->full_len))
            return answer.text;
    }
    return put_file(c) ? answer.text : NULL;
}

static char *answer_library(const char *name, size_t len, const struct object *loader)
{
    struct candidate *c = &candidate;

    switch (search_library(name, loader, c)) {
    case HERE: return answer_file(name, len);
    case NOT_HERE: return c->other_class ? NULL : absent(name, len);
    default: return NULL;
    }
}

/* A name with a slash: no search. What is not there, or is no object, is for ld.so to say. */
static char *answer_path(const char *name, size_t len, const struct object *loader)
{
    const struct view *v = &audit.stage.view;
    struct candidate *c = &candidate;
    struct found found;
    const long n = expand(name, len, loader, c->path);

    if (n <= 0)
        return NULL;
    const size_t below = lookup_prefix(v, c->path, (size_t)n);
    c->len = (size_t)n - below;
    if (c->len == 0)
        return NULL;
    __builtin_memmove(c->path, c->path + below, c->len + 1);
    if (!make_full(c))
        return NULL;
    if (lookup(v, c->full, c->full_len, 0, &found) == VERDICT_ABSENT)
        return below ? absent(c->path, c->len) : absent(name, len);
    if (verify_cached(c) == HERE)
        return answer_file(name, len);
    /* A path that was made of the mirror's: the original's. */
    return below && put("", 0, c->path, c->len) ? answer.text : NULL;
}

char *answer_name(const char *name, const struct object *loader)
{
    const size_t len = dlc_strlen(name);

    if (len == 0 || len >= PATH_SIZE)
        return NULL;
    candidate.other_class = false;
    const struct object *known = object_by_name(name, len);
    if (known && put_loaded(known))
        return answer.text;
    answer_clear();
    char *path = __builtin_memchr(name, '/', len) ? answer_path(name, len, loader) : answer_library(name, len, loader);
    if (!path)
        answer_clear();
    return path;
}

/* An absence is answered by a path that is not there either: NULL would end the whole search. */
char *answer_candidate(const char *path)
{
    const struct view *v = &audit.stage.view;
    struct candidate *c = &candidate;
    struct found found;

    c->len = dlc_strlen(path);
    if (c->len == 0 || c->len >= PATH_SIZE)
        return NULL;
    __builtin_memcpy(c->path, path, c->len + 1);
    if (!make_full(c))
        return NULL;
    const size_t below = lookup_prefix(v, c->full, c->full_len);
    /* Made of the mirror's $ORIGIN, it is answered by itself. */
    answer.asked = c->path + below;
    switch (lookup(v, c->full, c->full_len, 0, &found)) {
    case VERDICT_ABSENT:
    case VERDICT_NOTDIR:
        return put(v->prefix, v->prefix_len, c->full + below, c->full_len - below) ? answer.text : NULL;
    default: break;
    }
    if (verify_cached(c) == HERE) {
        const struct object *loaded = object_of(&c->file);
        if (loaded ? loaded->file.node != DLC_NONE && put_node(loaded->file.node)
                   : put_file(c) && answer.file.node != DLC_NONE)
            return answer.text;
        answer.text[0] = '\0'; /* the original: which file it is, is known */
    }
    return below && put("", 0, path + below, c->len - below) ? answer.text : NULL;
}
