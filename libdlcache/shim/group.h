/* Where the loader's other door is shut (no LD_AUDIT): objects of the mirror through dlopen. What its parts share; the
 * story is in dlopen.c. Rules: shim.h; but for group_open, everything is called with ld.so's own lock held. */
#ifndef DLCACHE_GROUP_H
#define DLCACHE_GROUP_H

#include <limits.h>
#include <link.h>

#include "shim.h"

/* --- a group: an object made for the moment ------------------------------------------------------------------------ */

/* An ELF object without symbols that needs others: ld.so maps these in the order in which they are named, and has one
 * scope for them. */
struct group {
    void (*began)(struct group *g); /* when all is mapped and bound, before the first constructor runs */
    struct link_map *map;           /* its own, from then on */
    int fd;
    char name[40];
};

/* Loads one: dlopen's handle, or NULL. `mode`: RTLD_… */
void *group_open(struct group *g, const char *const *needed, size_t count, int mode);

/* --- what an object is for ld.so ----------------------------------------------------------------------------------- */

/* False as long as no group was loaded, or where this ld.so keeps what it knows of an object in a way that is not known:
 * then nothing of the following may be called. */
bool group_knows_objects(void);

/* It has that file for the object's. */
bool group_is_file(const struct link_map *map, uint64_t dev, uint64_t ino);

/* One of the names under which ld.so knows it, which are not all: of its DT_SONAME it learns when it is asked for. */
bool group_has_name(const struct link_map *map, const char *name);

/* The object was loaded from the mirror, and from now on is what it would have been natively: its name, its origin, its
 * file. */
void group_make_original(struct link_map *map, uint32_t node);

/* An object that came with the group was loaded for `loader` (NULL: the program itself asked): whose DT_RPATH counts. */
void group_set_loader(const struct group *g, struct link_map *map, const struct link_map *loader);

/* Wherever the group's scope is looked into, root's is from now on, which is the same but for the group. Then the group
 * can be closed, while `other` is open. */
void group_leave_scopes(const struct group *g, const struct link_map *root, const struct group *other);

/* --- what comes in with an object ---------------------------------------------------------------------------------- */

struct member {
    struct link_map *map;        /* NULL as long as it is not loaded */
    const char *name;            /* for ld.so: as it is needed; to be loaded: its path, in the mirror if it is there */
    const char *path;            /* where ld.so would have found it; NULL: it was loaded already */
    const struct member *loader; /* who needs it first; NULL: the root, or it was loaded already */
    uint32_t node;               /* with a path; DLC_NONE where it is not of the stage */
    const void *file;            /* of the mirror, mapped while it is being planned */
    size_t file_size;
    const ElfW(Dyn) *dynamic;
    size_t dynamic_count;
    const char *strings;
    size_t strings_size;
};

#define CLOSURE_MAX 1024

struct loaded {
    struct link_map *map;
    const char *soname;
};

struct closure {
    struct member members[CLOSURE_MAX]; /* as ld.so would order them: breadth first, the root at 0 */
    size_t count;
    const char *names[CLOSURE_MAX];     /* the same: what ld.so has to be asked for */
    struct loaded loaded[CLOSURE_MAX];  /* as ld.so has them */
    size_t loaded_count;
    char dir[PATH_MAX], path[PATH_MAX]; /* while one is looked for: a thread's stack may be a small one */
    char *text, *end;                   /* room for paths that are found */
    char room[1 << 20];
};

/* Finds out what ld.so would load for the object at the absolute path `path`, which is `node`. False where only ld.so
 * can tell, or something of it is loaded already from its original. `library_path`: LD_LIBRARY_PATH as ld.so read it;
 * NULL: none. */
bool closure_plan(struct closure *c, const char *path, uint32_t node, const char *library_path);

#endif
