/* What ld.so calls. Rules: audit.h. The interface is rtld-audit(7). */
#include "audit.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "libdlcache/handover.h"
#include "libdlcache/sys.h"
#include "libdlcache/loader/rtld.h"

#define EXPORT __attribute__((visibility("default")))

EXPORT unsigned la_version(unsigned version);
EXPORT char *la_objsearch(const char *name, uintptr_t *cookie, unsigned flag);
EXPORT unsigned la_objopen(struct link_map *map, Lmid_t lmid, uintptr_t *cookie);
EXPORT unsigned la_objclose(uintptr_t *cookie);
EXPORT void la_preinit(uintptr_t *cookie);
EXPORT void la_activity(uintptr_t *cookie, unsigned flag);

struct audit audit;

static char **environment; /* that the process began with */

/* Who asked last. */
static struct object *asked_by;
/* A batch has begun: the first object is what dlopen was asked for. */
static bool opened;

static bool same_text(const char *a, const char *b)
{
    while (*a && *a == *b)
        a++, b++;
    return *a == *b;
}

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

/* What was noted last, if that is of use to la_objopen. */
static char noted[PATH_SIZE] DLC_LARGE;
static enum noted_as {
    NOTED_FOUND, /* it need not be noted again */
    NOTED_TRIED  /* a search came there; whether it is there is not known */
} noted_as;

/* False where it is not noted. */
static bool note(enum spool_op op, enum spool_result result, const char *path)
{
    if (!audit.recording || was_answered(path))
        return false;
    recorder_note_at(&audit.recorder, op, result, AT_FDCWD, path, dlc_strlen(path));
    return true;
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

    settings_read(&set, envp);
    if (!set.audit)
        return;
    if (set.record)
        audit.recording = recorder_open(&audit.recorder, set.record, "audit", set.rank) == 0;
    if (set.stage) {
        set.log = 0; /* the preloaded library says it */
        audit.serving = attach(&audit.stage, &set) == 0;
        if (audit.serving && set.stats)
            audit.counts = stage_counts(&audit.stage);
        audit.euid = sys_geteuid();
        if (audit.serving)
            rtld_open(&audit.stage, envp);
    }
    if (audit.recording)
        note_program(envp);
    tls_start(argc, argv, envp);
    environment = envp;
}

unsigned la_version(unsigned version)
{
    if (!audit.serving && !audit.recording)
        return 0; /* not interested: ld.so takes us out */
    bind_start(version, environment);
    return version < LAV_CURRENT ? version : LAV_CURRENT;
}

/* The program may have gone elsewhere (chroot, setns), or become somebody else, since it began to run. */
static bool still_here(void)
{
    return !audit.running || (sys_geteuid() == audit.euid && attach_same_view(audit.stage.view.state));
}

/* That is the preloaded library. */
static bool is_preloaded(const char *name)
{
    static const char tail[] = "/" STAGE_LIB;
    const struct stage *s = &audit.stage;

    return dlc_strlen(name) == s->dir_len + sizeof tail - 1 && dlc_same(name, s->dir, s->dir_len) &&
           same_text(name + s->dir_len, tail);
}

static void remember(const char *name, enum noted_as as)
{
    const size_t len = dlc_strlen(name);

    noted[0] = '\0';
    if (len < sizeof noted)
        __builtin_memcpy(noted, name, len + 1);
    noted_as = as;
}

/* A name with a slash is one path. What is there need not come in: ld.so may have it under another name. */
static void note_path(const char *name)
{
    const bool found = sys_call(__NR_faccessat, AT_FDCWD, name, 4, 0) == 0;

    note(SPOOL_LOAD, found ? SPOOL_FOUND : SPOOL_ABSENT, name);
    if (found)
        remember(name, NOTED_FOUND);
}

/* A search comes to its paths one after the other, and most are not there. To ask for each before ld.so does would be
 * one request more for every one of its own: what comes in is noted as found then, and of what was passed over the
 * collector knows whether it is there. */
static void note_candidate(const char *name)
{
    if (note(SPOOL_LOAD, SPOOL_ABSENT, name))
        remember(name, NOTED_TRIED);
}

/* A search is over, and nothing came in: there was nothing, or what it came to last is loaded already by another
 * name. */
static void settle(void)
{
    if (!audit.recording)
        return;
    if (noted[0] && noted_as == NOTED_TRIED && sys_call(__NR_faccessat, AT_FDCWD, noted, 4, 0) == 0)
        note(SPOOL_LOAD, SPOOL_FOUND, noted);
    noted[0] = '\0';
}

/* Who asks; NULL: an object of another name space, or nobody. For an auditor that comes after us nobody asks, and glibc
 * before 2.35 then reckons the cookie from a null pointer: it lies in the first page, where nothing is. */
static struct object *loader_of(const uintptr_t *cookie)
{
    return (uintptr_t)cookie < 4096 ? NULL : (struct object *)*cookie;
}

char *la_objsearch(const char *name, uintptr_t *cookie, unsigned flag)
{
    struct object *loader = loader_of(cookie);

    if (!loader)
        return (char *)(uintptr_t)name;
    if (flag == LA_SER_ORIG) {
        asked_by = loader;
        settle();
    } else if (audit.recording) {
        noted[0] = '\0'; /* passed over */
    }
    answer_clear();
    if (audit.serving && !is_preloaded(name) && still_here()) {
        char *path = flag == LA_SER_ORIG ? answer_name(name, loader) : answer_candidate(name);
        if (path)
            return path;
    }
    /* A name without a slash becomes paths, each of which comes here again. */
    if (audit.recording && flag != LA_SER_ORIG)
        note_candidate(name);
    else if (audit.recording && __builtin_memchr(name, '/', dlc_strlen(name)))
        note_path(name);
    return (char *)(uintptr_t)name;
}

/* --- objects that came in --------------------------------------------------------------------------------------- */

/* The object's name is what it would be natively. In place: the mirror's path is the longer one, except for an odd
 * relative name, which then keeps the mirror's. */
static void rename_object(struct link_map *map)
{
    const struct view *v = &audit.stage.view;
    const size_t len = dlc_strlen(map->l_name);
    const char *name = NULL;

    if (answer.text[0] && same_text(map->l_name, answer.text))
        name = answer.asked;
    else if (lookup_prefix(v, map->l_name, len))
        name = map->l_name + v->prefix_len;
    if (!name || name == map->l_name)
        return;
    const size_t n = dlc_strlen(name);
    if (n <= len && !same_text(name, map->l_name))
        __builtin_memmove(map->l_name, name, n + 1);
}

/* Where an object of a relative name lies, as ld.so remembers it. */
static const char *origin_of(const char *name)
{
    static struct candidate c DLC_LARGE;

    c.len = dlc_strlen(name);
    if (c.len == 0 || c.len >= PATH_SIZE)
        return NULL;
    __builtin_memcpy(c.path, name, c.len + 1);
    if (!make_full(&c))
        return NULL;
    while (c.full_len > 1 && c.full[c.full_len - 1] != '/')
        c.full_len--;
    return arena_text(c.full, c.full_len > 1 ? c.full_len - 1 : 1);
}

/* It needs not attach by itself. It is mapped, and not relocated. */
static void hand_over(const struct link_map *map)
{
    const ElfW(Ehdr) *eh = (const void *)map->l_addr;
    struct handover *to = (void *)(map->l_addr + eh->e_entry);

    if (!eh->e_entry || !dlc_same(to->magic, HANDOVER_MAGIC, sizeof to->magic) || to->bytes != sizeof audit.stage)
        return;
    to->euid = audit.euid;
    to->stage = &audit.stage;
}

static void note_object(const char *name)
{
    const bool same = same_text(name, noted);

    if (!same)
        settle();
    if (!same || noted_as == NOTED_TRIED)
        note(SPOOL_LOAD, SPOOL_FOUND, name);
    noted[0] = '\0';
}

unsigned la_objopen(struct link_map *map, Lmid_t lmid, uintptr_t *cookie)
{
    struct object *o = lmid == LM_ID_BASE ? object_new() : NULL;

    *cookie = (uintptr_t)o;
    if (audit.serving && map->l_name) {
        rename_object(map);
        if (o && is_preloaded(map->l_name)) {
            audit.preloaded = true;
            hand_over(map);
        }
    }
    if (!o)
        return 0;
    o->map = map;
    /* What dlopen was asked for has no loader, once it is found. */
    o->loader = opened ? NULL : asked_by;
    if (audit.serving && asked_by) {
        o->file = answer.file;
        if (map->l_name && map->l_name[0] != '/')
            o->origin = origin_of(map->l_name);
        if (audit.counts && !(map->l_name && is_preloaded(map->l_name)))
            stage_count(audit.counts, o->file.node != DLC_NONE ? DLC_C_OBJECTS : DLC_C_ORIGINALS);
    }
    opened = false;
    asked_by = NULL;
    if (!audit.main)
        audit.main = o;
    else if (!audit.running)
        tls_needed(map);
    bind_calls(o);
    answer_clear();
    if (audit.recording && map->l_name && __builtin_memchr(map->l_name, '/', dlc_strlen(map->l_name)))
        note_object(map->l_name);
    return 0; /* no symbol bindings are of interest: they would slow down every call */
}

unsigned la_objclose(uintptr_t *cookie)
{
    struct object *o = (struct object *)*cookie;

    *cookie = 0;
    if (o)
        object_free(o);
    return 0;
}

/* All that is needed from the start is loaded; now the program itself begins. */
void la_preinit(uintptr_t *cookie)
{
    (void)cookie;
    settle();
    audit.running = true;
}

/* A batch of loading begins, or is over: as ld.so, which maps its cache anew for the next. */
void la_activity(uintptr_t *cookie, unsigned flag)
{
    if (flag == LA_ACT_ADD && *cookie)
        opened = audit.running;
    if (flag == LA_ACT_CONSISTENT) {
        cache_close();
        settle();
    }
}
