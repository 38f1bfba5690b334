/* What is loaded, so that nothing is loaded twice. Rules: audit.h.
 *
 * ld.so knows what it has by device and inode number. What came from the mirror has other ones than its original: here
 * both are known to be the same. */
#include <sys/mman.h>

#include "audit.h"
#include "libdlcache/sys.h"

/* A name that an object got when it was found once more. ld.so, which was answered something else, has not got it. */
struct alias {
    struct alias *next;
    struct object *object;
    const char *name; /* of the arena */
    size_t len;
};

struct word {
    struct word *next;
    size_t len;
    char text[];
};

static struct object *objects, *free_objects;
static struct alias *aliases, *free_aliases;
static struct word *words;

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

const char *arena_text(const char *text, size_t len)
{
    for (const struct word *w = words; w; w = w->next)
        if (w->len == len && dlc_same(w->text, text, len))
            return w->text;
    struct word *w = arena_take(sizeof *w + len + 1);
    if (!w)
        return NULL;
    w->len = len;
    __builtin_memcpy(w->text, text, len);
    w->text[len] = '\0';
    w->next = words;
    words = w;
    return w->text;
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
    for (struct alias **a = &aliases; *a;) {
        struct alias *gone = *a;
        if (gone->object != o) {
            a = &gone->next;
            continue;
        }
        *a = gone->next;
        gone->next = free_aliases;
        free_aliases = gone;
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
    struct alias *a = free_aliases;

    if (object_by_name(name, len))
        return;
    if (a)
        free_aliases = a->next;
    else if (!(a = arena_take(sizeof *a)))
        return;
    *a = (struct alias){aliases, o, arena_text(name, len), len};
    aliases = a;
}

struct object *object_by_name(const char *name, size_t len)
{
    for (const struct alias *a = aliases; a; a = a->next)
        if (a->len == len && a->name && dlc_same(a->name, name, len))
            return a->object;
    return NULL;
}
