/* What ld.so calls. Rules: audit.h. The interface is rtld-audit(7). */
#include "audit.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "libdlcache/sys.h"

#define EXPORT __attribute__((visibility("default")))

EXPORT unsigned la_version(unsigned version);
EXPORT char *la_objsearch(const char *name, uintptr_t *cookie, unsigned flag);
EXPORT unsigned la_objopen(struct link_map *map, Lmid_t lmid, uintptr_t *cookie);
EXPORT unsigned la_objclose(uintptr_t *cookie);
EXPORT void la_preinit(uintptr_t *cookie);
EXPORT void la_activity(uintptr_t *cookie, unsigned flag);

struct audit audit;

/* The last answer that was not the question: la_objopen gives the object the name it would have had. */
static char answered[MIRROR_SIZE];
static char asked[PATH_SIZE]; /* empty: it is the answer's, less the mirror's prefix */
static struct object *asked_by;

static struct object *objects, *free_objects;

static bool is_object(uint32_t node)
{
    return audit.stage.view.image.nodes[node].object != DLC_NONE;
}

/* What is answered from the stage needs no note. */
static bool was_answered(const char *path)
{
    struct found found;

    if (!audit.serving || path[0] != '/')
        return false;
    switch (lookup(&audit.stage.view, path, dlc_strlen(path), 0, &found)) {
    case VERDICT_ABSENT:
    case VERDICT_NOTDIR: return true;
    case VERDICT_FILE: return is_object(found.node);
    default: return false;
    }
}

static void note(enum spool_op op, enum spool_result result, const char *path)
{
    if (audit.recording && !was_answered(path))
        recorder_note_at(&audit.recorder, op, result, AT_FDCWD, path, dlc_strlen(path));
}

/* A path of the mirror means the original. */
static const char *original(const char *path)
{
    return audit.serving ? path + lookup_prefix(&audit.stage.view, path, dlc_strlen(path)) : path;
}

/* The program as it was asked for (a script's interpreter, a symlink), and as it is. */
static void note_program(char *const *envp)
{
    while (*envp)
        envp++;
    for (const ElfW(auxv_t) *aux = (const void *)(envp + 1); aux->a_type != AT_NULL; aux++) {
        if (aux->a_type != AT_EXECFN)
            continue;
        note(SPOOL_EXEC, SPOOL_FOUND, original((const char *)aux->a_un.a_val));
    }
    char *exe = audit.recorder.spool->exe;
    const char *path = original(exe);
    __builtin_memmove(exe, path, dlc_strlen(path) + 1);
    note(SPOOL_EXEC, SPOOL_FOUND, exe);
}

static __attribute__((constructor)) void start(int argc, char **argv, char **envp)
{
    struct settings set;

    (void)argc;
    (void)argv;
    settings_read(&set, envp);
    if (!set.audit)
        return;
    audit.library_path = env_value(envp, "LD_LIBRARY_PATH");
    if (set.record)
        audit.recording = recorder_open(&audit.recorder, set.record, "audit", set.rank) == 0;
    if (set.stage) {
        set.log = 0; /* the preloaded library says it */
        audit.serving = attach(&audit.stage, &set) == 0;
        audit.euid = sys_geteuid();
    }
    if (audit.recording)
        note_program(envp);
}

unsigned la_version(unsigned version)
{
    if (!audit.serving && !audit.recording)
        return 0; /* not interested: ld.so takes us out */
    return version < LAV_CURRENT ? version : LAV_CURRENT;
}

static struct object *new_object(void)
{
    if (!free_objects) {
        const size_t bytes = 16384;
        struct object *o = sys_mmap(bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (!o)
            return NULL;
        for (size_t i = 0; i < bytes / sizeof *o; i++) {
            o[i].next = free_objects;
            free_objects = &o[i];
        }
    }
    struct object *o = free_objects;
    free_objects = o->next;
    *o = (struct object){.next = objects};
    objects = o;
    return o;
}

/* --- answering -------------------------------------------------------------------------------------------------- */

/* The mirror's path of the object at the absolute path `path`: prefix and path as asked, so that the object's name and
 * origin are right but for the prefix. NULL where it is not held, or not an object. */
static char *mirror_of(const char *path, size_t len)
{
    const struct view *v = &audit.stage.view;
    struct found found;

    if (lookup(v, path, len, 0, &found) != VERDICT_FILE || !is_object(found.node))
        return NULL;
    const size_t below = lookup_prefix(v, path, len);
    if (v->prefix_len + (len - below) >= sizeof answered)
        return NULL;
    __builtin_memcpy(answered, v->prefix, v->prefix_len);
    __builtin_memcpy(answered + v->prefix_len, path + below, len - below + 1);
    /* Somebody may have removed the stage: ld.so would complain, and not look elsewhere. */
    return sys_call(__NR_faccessat, AT_FDCWD, answered, 4, 0) == 0 ? answered : NULL;
}

/* The same for a relative path, made absolute as ld.so makes an origin of it. */
static char *mirror_of_relative(const char *name, size_t len)
{
    char path[PATH_SIZE];
    const long n = sys_getcwd(path, sizeof path); /* with its NUL */

    if (n <= 1 || path[0] != '/' || (size_t)n + len >= sizeof path)
        return NULL;
    size_t at = (size_t)n - 1;
    if (path[at - 1] != '/')
        path[at++] = '/';
    __builtin_memcpy(path + at, name, len + 1);
    return mirror_of(path, at + len);
}

/* The same for a path that the index cannot resolve: the file is looked at, and its inode is looked for. Otherwise an
 * object could come in twice, from here and from there. */
static char *mirror_by_inode(const char *path)
{
    const struct view *v = &audit.stage.view;
    struct stat st;

    if (sys_fstatat(AT_FDCWD, path, &st, 0) != 0 || !S_ISREG(st.st_mode))
        return NULL;
    for (uint32_t m = 0; m < v->image.mount_count; m++) {
        if (v->mounts[m].dev != st.st_dev || !v->mounts[m].agrees)
            continue;
        const struct dlc_inode *inode = image_inode(&v->image, v->image.mounts[m].dev, st.st_ino);
        char original[PATH_SIZE];
        if (!inode || inode->mount != m)
            continue;
        const long n = image_path(&v->image, inode->node, original, sizeof original);
        return n > 0 ? mirror_of(original, (size_t)n) : NULL;
    }
    return NULL;
}

/* A path that was made of the mirror's (the $ORIGIN of what was loaded from there), and is not held: the original's. */
static char *original_of(const char *path, size_t len)
{
    const size_t below = lookup_prefix(&audit.stage.view, path, len);

    if (below == 0 || below == len)
        return NULL;
    __builtin_memcpy(answered, path + below, len - below + 1);
    return answered;
}

/* At LA_SER_ORIG: the object that ld.so would come to, or the name itself where ld.so is to look. */
static char *answer(const char *name, const struct object *loader)
{
    const size_t len = dlc_strlen(name);
    char path[PATH_SIZE];
    char *mirror;

    if (len == 0 || len >= PATH_SIZE || __builtin_memchr(name, '$', len))
        return NULL;
    if (!__builtin_memchr(name, '/', len)) {
        if (!search_library(name, loader, path))
            return NULL;
        mirror = mirror_of(path, dlc_strlen(path));
        if (!mirror) {
            /* It ends outside of the stage: all the same ld.so need not look for it. */
            __builtin_memcpy(answered, path, dlc_strlen(path) + 1);
            mirror = answered;
        }
        __builtin_memcpy(asked, path, dlc_strlen(path) + 1);
        return mirror;
    }
    mirror = name[0] == '/' ? mirror_of(name, len) : mirror_of_relative(name, len);
    if (!mirror) {
        struct found found;
        /* An absence is for ld.so to find, and to say. */
        if (name[0] != '/' || lookup(&audit.stage.view, name, len, 0, &found) == VERDICT_UNKNOWN)
            mirror = mirror_by_inode(name);
        if (!mirror)
            mirror = original_of(name, len);
    }
    if (mirror) {
        const size_t below = name[0] == '/' ? lookup_prefix(&audit.stage.view, name, len) : 0;
        __builtin_memcpy(asked, name + below, len - below + 1);
    }
    return mirror;
}

/* ld.so searches itself, and asks before it opens: what to open in the stead of `path`, which stays the object's name.
 * An absence is answered by a path that is not there either: NULL would end the whole search. */
static char *answer_candidate(const char *path)
{
    const size_t len = dlc_strlen(path);
    const struct view *v = &audit.stage.view;
    struct found found;

    if (len == 0 || path[0] != '/' || v->prefix_len + len >= sizeof answered)
        return NULL;
    switch (lookup(v, path, len, 0, &found)) {
    case VERDICT_FILE: {
        char *mirror = mirror_of(path, len);
        return mirror ? mirror : original_of(path, len);
    }
    case VERDICT_ABSENT:
    case VERDICT_NOTDIR: {
        const size_t below = lookup_prefix(v, path, len);
        __builtin_memcpy(answered, v->prefix, v->prefix_len);
        __builtin_memcpy(answered + v->prefix_len, path + below, len - below + 1);
        return answered;
    }
    case VERDICT_UNKNOWN: {
        char *mirror = mirror_by_inode(path);
        return mirror ? mirror : original_of(path, len);
    }
    default: return NULL;
    }
}

/* The program may have gone elsewhere (chroot, setns), or become somebody else, since it began to run. */
static bool still_here(void)
{
    return !audit.running || (sys_geteuid() == audit.euid && attach_same_view(audit.stage.view.state));
}

char *la_objsearch(const char *name, uintptr_t *cookie, unsigned flag)
{
    struct object *loader = (struct object *)*cookie;

    if (!loader)
        return (char *)(uintptr_t)name; /* another name space */
    if (flag == LA_SER_ORIG)
        asked_by = loader;
    answered[0] = asked[0] = '\0';
    if (audit.serving && still_here()) {
        char *path = flag == LA_SER_ORIG ? answer(name, loader) : answer_candidate(name);
        if (path)
            return path;
        answered[0] = '\0';
    }
    /* A name without a slash becomes paths, each of which comes here again. Whether it is there, la_objopen tells. */
    if (audit.recording && __builtin_memchr(name, '/', dlc_strlen(name)))
        note(SPOOL_LOAD, SPOOL_ABSENT, name);
    return (char *)(uintptr_t)name;
}

/* --- objects that came in --------------------------------------------------------------------------------------- */

static bool same_text(const char *a, const char *b)
{
    while (*a && *a == *b)
        a++, b++;
    return *a == *b;
}

/* The object's name is what it would be natively. In place: the mirror's path is the longer one, except for an odd
 * relative name, which then keeps the mirror's. */
static void rename_object(struct link_map *map)
{
    const struct view *v = &audit.stage.view;
    const size_t len = dlc_strlen(map->l_name);
    const char *name = NULL;

    if (asked[0] && same_text(map->l_name, answered))
        name = asked;
    else if (lookup_prefix(v, map->l_name, len))
        name = map->l_name + v->prefix_len;
    if (!name || name == map->l_name)
        return;
    const size_t n = dlc_strlen(name);
    if (n <= len && !same_text(name, map->l_name))
        __builtin_memmove(map->l_name, name, n + 1);
}

unsigned la_objopen(struct link_map *map, Lmid_t lmid, uintptr_t *cookie)
{
    struct object *o = lmid == LM_ID_BASE ? new_object() : NULL;

    *cookie = (uintptr_t)o;
    if (!o) {
        if (audit.serving && map->l_name)
            rename_object(map);
        return 0;
    }
    o->map = map;
    o->loader = asked_by;
    asked_by = NULL;
    if (!audit.main)
        audit.main = o;
    if (audit.serving && map->l_name)
        rename_object(map);
    answered[0] = '\0';
    if (audit.recording && map->l_name && __builtin_memchr(map->l_name, '/', dlc_strlen(map->l_name)))
        note(SPOOL_LOAD, SPOOL_FOUND, map->l_name);
    return 0; /* no symbol bindings are of interest: they would slow down every call */
}

unsigned la_objclose(uintptr_t *cookie)
{
    struct object *o = (struct object *)*cookie;

    *cookie = 0;
    for (struct object **p = &objects; o && *p; ) {
        /* As ld.so: what was loaded by an object that is gone has no loader. */
        if ((*p)->loader == o)
            (*p)->loader = NULL;
        if (*p == o)
            *p = o->next;
        else
            p = &(*p)->next;
    }
    if (o) {
        o->next = free_objects;
        free_objects = o;
    }
    return 0;
}

/* All that is needed from the start is loaded; now the program itself begins. */
void la_preinit(uintptr_t *cookie)
{
    (void)cookie;
    audit.running = true;
}

/* A batch of loading is over: as ld.so, which maps its cache anew for the next. */
void la_activity(uintptr_t *cookie, unsigned flag)
{
    (void)cookie;
    if (flag == LA_ACT_CONSISTENT)
        cache_close();
}
