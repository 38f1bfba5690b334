/* The door into the dynamic loader: what its parts share.
 *
 * RULES OF THE ROOM. This library is loaded by ld.so into a name space of its own, before the program's libraries and
 * before there is a C library: it has none (-nostdlib), no DT_NEEDED, no TLS, and shares nothing with libdlcache.so
 * but the stage. ld.so calls it with its own lock held, so that its data need none. No heap: records come from
 * anonymous mappings. Any doubt leaves the answer to ld.so. */
#ifndef DLCACHE_AUDIT_H
#define DLCACHE_AUDIT_H

#include <link.h>
#include <stdbool.h>

#include "libdlcache/attach.h"
#include "recorder/note.h"

#define PATH_SIZE 4096
#define MIRROR_SIZE (PATH_SIZE + 512)

/* An object of the base name space: what its cookie points to. */
struct object {
    struct link_map *map;
    struct object *loader; /* who asked for it first, or NULL: ld.so's l_loader */
    struct object *next;   /* in the list of all, or of the free ones */
};

struct audit {
    bool serving;
    bool recording;
    bool running;             /* the program's own code may have run */
    unsigned euid;            /* when it attached */
    struct stage stage;
    struct recorder recorder;
    const char *library_path; /* LD_LIBRARY_PATH, or NULL */
    struct object *main;      /* the program itself */
};

extern struct audit audit;

/* The whole search of ld.so for a name without a slash, asked for by `loader`, from the index: the path (as found, not
 * resolved) of the object that ld.so would load, into `path`. False where only ld.so can tell. */
bool search_library(const char *name, const struct object *loader, char path[PATH_SIZE]);

/* What ld.so.cache says of that name: the path, or NULL (nothing, no cache, or an entry for some kind of hardware only,
 * which is left to ld.so: then *doubt). */
const char *cache_lookup(const char *name, bool *doubt);
/* Before it, and when a batch of loading is over. */
bool cache_open(void);
void cache_close(void);

#endif
