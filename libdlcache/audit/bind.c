/* Calls that cost what they cost natively, under an ld.so that is older than glibc 2.35. Rules: audit.h.
 *
 * Where there is an auditor, such an ld.so leads the calls of each object through a door of its own
 * (_dl_runtime_profile, in the third word of the object's GOT), which shows each to the auditors and binds none, as
 * long as the program runs. What is linked with -z now it does not bind at the start either. We look at no calls. So in
 * la_objopen, when an object is mapped and not yet relocated, ld.so is told otherwise, in what it has noted of the
 * object's dynamic section. Who reads that section itself sees it as it was.
 *
 * - An object that is bound lazily: the first words of the GOT, as ld.so finds them, are ours, and it writes its
 *   door there. The real ones get what they have natively. The usual door (_dl_runtime_resolve) is that of our own
 *   PLT: what belongs to an auditor is not audited. From then on ld.so binds a call when it is first made.
 * - An object that is linked with -z now: the relocations of its calls are the last ones of all others, as natively,
 *   and there is no table of them that could be done lazily.
 *
 * All of this is done under ld.so's lock, before anything of the object can run, and the rest is ld.so's own work:
 * versions, IFUNCs, scopes and threads are its affair. It writes no page that it would not write natively (the GOT's
 * first words are read-only afterwards). Where anything is not as expected, calls are left slow. */
#include <stddef.h>

#include "audit.h"
#include "libdlcache/sys.h"

extern ElfW(Dyn) _DYNAMIC[] __attribute__((visibility("hidden")));
extern __attribute__((visibility("default"))) unsigned la_version(unsigned version);

enum { GOT_MAP = 1, GOT_DOOR = 2 };

/* The link map as ld.so has it for itself, as far as it is the same from glibc 2.17 (or before) to 2.34. */
struct own_map {
    struct link_map map;
    struct link_map *real;
    Lmid_t lmid;
    void *names;
    ElfW(Dyn) *info[DT_BIND_NOW + 1]; /* by tag; NULL: there is none. More of them follow */
};
_Static_assert(offsetof(struct own_map, info) == 64, "ld.so's link map");

static ElfW(Addr) usual_door; /* 0: calls are left as they are */
static ElfW(Addr) loader;     /* where ld.so itself lies: it has bound its own calls */

/* What our own PLT has its one entry for. Nobody calls it. */
static __attribute__((used)) unsigned never(void)
{
    return la_version(0);
}

/* Whether it may be done at all: not where another auditor may want to see each call, or a profile be made. */
void bind_start(unsigned version, char *const *envp)
{
    if (version > 1)
        return;
    const char *auditors = env_value(envp, "LD_AUDIT"), *profiled = env_value(envp, "LD_PROFILE");
    char *const *end = envp;

    if (!auditors || __builtin_memchr(auditors, ':', dlc_strlen(auditors)) || (profiled && *profiled))
        return;
    while (*end)
        end++;
    for (const ElfW(auxv_t) *aux = (const void *)(end + 1); aux->a_type != AT_NULL; aux++)
        if (aux->a_type == AT_BASE)
            loader = aux->a_un.a_val;
    if (!loader)
        return; /* started by ld.so's own hand, which takes auditors from its arguments */
    for (const ElfW(Dyn) *dyn = _DYNAMIC; dyn->d_tag != DT_NULL; dyn++)
        if (dyn->d_tag == DT_PLTGOT)
            usual_door = ((const ElfW(Addr) *)dyn->d_un.d_ptr)[GOT_DOOR]; /* none where all is bound at once */
}

/* ld.so's own table of the object's dynamic section; NULL: it has no PLT, or it is not where it should be. */
static ElfW(Dyn) **info_of(struct link_map *map)
{
    static const unsigned char tags[] = {DT_PLTRELSZ, DT_PLTGOT, DT_STRTAB, DT_SYMTAB, DT_RELA,
                                         DT_RELASZ, DT_RELAENT, DT_PLTREL, DT_JMPREL};
    ElfW(Dyn) **info = ((struct own_map *)map)->info, *at[DT_BIND_NOW + 1] = {NULL};

    for (ElfW(Dyn) *dyn = map->l_ld; dyn && dyn->d_tag != DT_NULL; dyn++)
        if (dyn->d_tag > 0 && dyn->d_tag <= DT_BIND_NOW)
            at[dyn->d_tag] = dyn;
    for (size_t i = 0; i < sizeof tags; i++)
        if (info[tags[i]] != at[tags[i]])
            return NULL;
    if (!at[DT_JMPREL] || !at[DT_PLTRELSZ] || !at[DT_PLTGOT] || !at[DT_PLTREL] || at[DT_PLTREL]->d_un.d_val != DT_RELA)
        return NULL;
    return info;
}

static void bind_now(struct binding *b, ElfW(Dyn) **info)
{
    const ElfW(Addr) calls = info[DT_JMPREL]->d_un.d_ptr, end = calls + info[DT_PLTRELSZ]->d_un.d_val;
    const ElfW(Addr) all = info[DT_RELA] ? info[DT_RELA]->d_un.d_ptr : calls;
    const ElfW(Addr) others = info[DT_RELASZ] ? info[DT_RELASZ]->d_un.d_val : 0;

    /* They follow on the others, or are among them, the last ones. */
    if (!info[DT_RELA] != !info[DT_RELASZ] || calls < all || (all + others != calls && all + others != end))
        return;
    b->entry = (ElfW(Dyn)){.d_tag = DT_RELASZ, .d_un.d_val = end - all};
    info[DT_RELASZ] = &b->entry;
    if (!info[DT_RELA])
        info[DT_RELA] = info[DT_JMPREL]; /* there are no others */
    info[DT_PLTREL] = info[DT_PLTRELSZ] = NULL;
}

static void bind_lazily(struct binding *b, ElfW(Dyn) **info, const struct link_map *map)
{
    ElfW(Addr) *got = (ElfW(Addr) *)info[DT_PLTGOT]->d_un.d_ptr;

    if (got[GOT_MAP] || got[GOT_DOOR])
        return; /* prelinked */
    got[GOT_MAP] = (ElfW(Addr))map;
    got[GOT_DOOR] = usual_door;
    b->entry = (ElfW(Dyn)){.d_tag = DT_PLTGOT, .d_un.d_ptr = (ElfW(Addr))b->got};
    info[DT_PLTGOT] = &b->entry;
}

static bool brings_auditor(const struct link_map *program)
{
    for (const ElfW(Dyn) *dyn = program->l_ld; dyn && dyn->d_tag != DT_NULL; dyn++)
        if (dyn->d_tag == DT_AUDIT || dyn->d_tag == DT_DEPAUDIT)
            return true;
    return false;
}

void bind_calls(struct object *o)
{
    if (usual_door && o == audit.main && brings_auditor(o->map))
        usual_door = 0;
    if (!usual_door || o->map->l_addr == loader)
        return;
    ElfW(Dyn) **info = info_of(o->map);
    if (!info)
        return;
    if (info[DT_BIND_NOW])
        bind_now(&o->binding, info);
    else
        bind_lazily(&o->binding, info, o->map);
}
