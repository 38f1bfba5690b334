/* What is loaded, so that nothing is loaded twice. Rules: audit.h.
 *
 * ld.so knows what it has by device and inode number. What came from the mirror has other ones than its original: here
 * both are known to be the same. */
#include <sys/mman.h>

#include "audit.h"
#include "libdlcache/hash.h"
#include "libdlcache/sys.h"

/* One text. All of them are a trie of their hashes: the lowest bit says which child of the first leads on, the next one
 * which child of that, and so on. */
struct word {
    struct word *child[2];
    /* It is a name that this object got when it was found once more. ld.so, which was answered something else, has not
     * got it. */
    struct object *object;
    struct word *next; /* of those that are names */
    uint32_t hash;
    uint32_t len;
    char text[];
};

static struct object *objects, *free_objects;
static struct word *words, *names;

void *arena_take(size_t bytes)
{
    enum { CHUNK = 16384 };
    static _Alignas(16) char first[CHUNK] DLC_LARGE; /* most programs need no more */
    static char *at = first;
    static size_t left = CHUNK;

    bytes = (bytes + 15) & ~(size_t)15;
    if (bytes > left) {
        const size_t take = bytes > CHUNK ? bytes : CHUNK;
        char *p = sys_mmap(take, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (!p)
            return NULL;
        at = p;
        left = take;
    }
    void *p = at;
    at += bytes;
    left -= bytes;
    return p;
}

/* Where that text is, or would be. */
static struct word **find_word(const char *text, size_t len, uint32_t hash)
{
    struct word **at = &words;

    for (uint32_t way = hash; *at; way >>= 1) {
        const struct word *w = *at;
        if (w->hash == hash && w->len == len && dlc_same(w->text, text, len))
            break;
        at = &(*at)->child[way & 1];
    }
    return at;
}

static uint32_t hash_word(const char *text, size_t len)
{
    return (uint32_t)dlc_hash64(0, text, len);
}

/* NULL where there is no memory. */
static struct word *add_word(const char *text, size_t len)
{
    const uint32_t hash = hash_word(text, len);
    struct word **at = find_word(text, len, hash);

    if (*at)
        return *at;
    struct word *w = arena_take(sizeof *w + len + 1);
    if (!w)
        return NULL;
    *w = (struct word){.hash = hash, .len = (uint32_t)len};
    __builtin_memcpy(w->text, text, len);
    w->text[len] = '\0';
    return *at = w;
}

const char *arena_text(const char *text, size_t len)
{
    const struct word *w = add_word(text, len);
    return w ? w->text : NULL;
}

struct object *object_new(void)
{
    struct object *o = free_objects;

    if (o)
        free_objects = o->next;
    else if (!(o = arena_take(sizeof *o)))
        return NULL;
    *o = (struct object){.next = objects, .file.node = DLC_NONE};
    objects = o;
    return o;
}

void object_free(struct object *o)
{
    for (struct word **at = &names; *at;) {
        struct word *w = *at;
        if (w->object != o) {
            at = &w->next;
            continue;
        }
        *at = w->next;
        w->object = NULL;
    }
    for (struct object **p = &objects; *p;) {
        /* As ld.so: what was loaded by an object that is gone has no loader. */
        if ((*p)->loader == o)
            (*p)->loader = NULL;
        if (*p == o)
            *p = o->next;
        else
            p = &(*p)->next;
    }
    o->next = free_objects;
    free_objects = o;
}

struct object *object_of(const struct identity *file)
{
    if (!file->ino)
        return NULL;
    for (struct object *o = objects; o; o = o->next) {
        if (o->file.ino != file->ino || o->file.dev != file->dev)
            continue;
        const bool born = o->file.btime && file->btime;
        if (!born || (o->file.btime == file->btime && o->file.btime_ns == file->btime_ns))
            return o;
    }
    return NULL;
}

void object_called(struct object *o, const char *name, size_t len)
{
    struct word *w = add_word(name, len);

    if (!w || w->object)
        return;
    w->object = o;
    w->next = names;
    names = w;
}

struct object *object_by_name(const char *name, size_t len)
{
    const struct word *w = names ? *find_word(name, len, hash_word(name, len)) : NULL;
    return w ? w->object : NULL;
}
