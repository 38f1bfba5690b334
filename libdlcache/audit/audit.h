/* The door into the dynamic loader: what its parts share.
 *
 * RULES OF THE ROOM. This library is loaded by ld.so into a name space of its own, before the program's libraries and
 * before there is a C library: it has none (-nostdlib), no DT_NEEDED, no TLS, and shares nothing with libdlcache.so
 * but the stage (handover.h). ld.so calls it with its own lock held, so that its data need none. No heap: records come from
 * anonymous mappings. Any doubt leaves the answer to ld.so. */
#ifndef DLCACHE_AUDIT_H
#define DLCACHE_AUDIT_H

#include <link.h>
#include <stdbool.h>

#include "libdlcache/attach.h"
#include "libdlcache/loader/cache.h"
#include "recorder/note.h"

#define PATH_SIZE 4096
#define MIRROR_SIZE (PATH_SIZE + 512)

/* Which file it is, for ld.so: what has the same device and inode number is loaded once. */
struct identity {
    uint64_t dev, ino; /* of the original; 0, 0: not known */
    int64_t btime;     /* where it is known: an inode number comes again when its file is gone */
    uint32_t btime_ns;
    uint32_t node;     /* what of the mirror it is; DLC_NONE: none, the original */
};

/* What ld.so is told of an object's dynamic section and GOT (bind.c), as long as the object is there. */
struct binding {
    ElfW(Dyn) entry;
    ElfW(Addr) got[3];
};

/* An object of the base name space: what its cookie points to. */
struct object {
    struct link_map *map;
    struct object *loader; /* who asked for it first, or NULL: ld.so's l_loader */
    struct object *next;   /* in the list of all, or of the free ones */
    struct identity file;
    const char *origin;    /* the directory of one whose name is relative, or NULL */
    struct binding binding;
};

struct audit {
    bool serving;
    bool recording;
    bool running;             /* the program's own code may have run */
    bool preloaded;           /* libdlcache.so is there: it puts right what dlerror says */
    unsigned euid;            /* when it attached */
    struct stage stage;
    struct recorder recorder;
    struct dlc_counts *counts; /* NULL: nobody asked for them */
    struct object *main;      /* the program itself */
};

extern struct audit audit;

/* Pages that are never given back: NULL where there are none. */
void *arena_take(size_t bytes);
/* One copy of each text. NULL where there is no memory. */
const char *arena_text(const char *text, size_t len);

/* --- objects.c: what is loaded --- */
struct object *object_new(void);
void object_free(struct object *o);
/* The loaded object that is that file, or NULL. */
struct object *object_of(const struct identity *file);
/* ld.so knows the object by this name from now on. */
void object_called(struct object *o, const char *name, size_t len);
struct object *object_by_name(const char *name, size_t len);

/* --- verify.c: one file --- */
enum outcome {
    NOT_HERE,
    HERE,
    DOUBT /* only ld.so can tell */
};

/* A file that ld.so comes to. */
struct candidate {
    size_t len, full_len;
    struct identity file;
    bool other_class;     /* some file was of another class: it is for ld.so to complain */
    char path[PATH_SIZE]; /* as ld.so would name it */
    char full[PATH_SIZE]; /* the same, absolute */
};

/* Would ld.so take the file at path? Sets `file` where it would. */
enum outcome verify(struct candidate *c);
/* The same for one that ld.so.cache lists: it was looked at by ldconfig. */
enum outcome verify_cached(struct candidate *c);
/* Makes a relative path absolute: into full. */
bool make_full(struct candidate *c);

/* --- directory.c: one directory --- */
struct directory;
/* The directory `dir`, as ld.so has it in its lists: `len` bytes with a slash at the end, or none for the current
 * directory. It is remembered for ever; NULL where there is no memory. */
struct directory *directory_of(const char *dir, size_t len);
/* Where ld.so would find `name` in it. */
enum outcome directory_search(struct directory *d, const char *name, struct candidate *c);

/* --- search.c: all of them --- */
/* The whole search of ld.so for a name without a slash, asked for by `loader`. */
enum outcome search_library(const char *name, const struct object *loader, struct candidate *c);
/* With tokens ($ORIGIN, …) expanded as for the object o, into `to`, with a NUL: its length; 0 for nothing, as ld.so
 * where a token has no meaning; -1: not known. */
long expand(const char *text, size_t len, const struct object *o, char to[PATH_SIZE]);
/* ld.so would expand it. */
bool has_token(const char *text, size_t len);

/* --- answer.c --- */
/* The last answer: la_objopen learns from it which file has come in, and under which name it would have. */
struct answer {
    struct identity file;
    char text[MIRROR_SIZE]; /* empty: the question itself */
    const char *asked;      /* the name that an object of that name has natively; of the last candidate */
};
extern struct answer answer;
void answer_clear(void);
/* What ld.so is to open at LA_SER_ORIG: the object that it would come to; NULL where it is to look. */
char *answer_name(const char *name, const struct object *loader);
/* ld.so searches itself, and asks before it opens: what to open in the stead of `path`, which stays the object's
 * name. */
char *answer_candidate(const char *path);

/* --- tls.c --- */
/* With the arguments and the environment that the process began with. */
void tls_start(int argc, char **argv, char **envp);
/* An object that the program needs from its start. Where it wants more static TLS than there is, the program is
 * executed again, and this does not return. */
void tls_needed(const struct link_map *map);

/* --- bind.c --- */
/* With what ld.so says to la_version, and the environment that the process began with. */
void bind_start(unsigned version, char *const *envp);
/* An object has come in, and is not relocated: its calls shall be bound as without an auditor. */
void bind_calls(struct object *o);

#endif
