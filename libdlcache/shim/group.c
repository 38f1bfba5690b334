/* An object that is made to be loaded once, and what ld.so keeps of an object. Rules: shim.h, group.h.
 *
 * The group's DT_INIT_ARRAY has an address of this library, as it is, for want of a relocation; DF_1_INITFIRST has ld.so
 * call it before any constructor of what came with it. Needs no code of its own. */
#include <dlfcn.h>
#include <elf.h>
#include <sys/mman.h>

#include "group.h"
#include "libdlcache/sys.h"

#define GROUP_NAME "dlcache:group" /* in the link map: the descriptor's number is another's soon */

/* Headers in front, then what ld.so reads by address. */
struct head {
    ElfW(Ehdr) elf;
    ElfW(Phdr) segments[3];
    ElfW(Sym) symbols[1];
    void (*init[1])(void);
};

/* The one that this thread is loading. ld.so calls without an argument of ours. */
static __thread struct group *loading;

static void put_head(struct head *h, uint64_t bytes, uint64_t dynamic, uint64_t dynamic_bytes)
{
    h->elf = (ElfW(Ehdr)){
        .e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB, EV_CURRENT, ELFOSABI_NONE},
        .e_type = ET_DYN,
#if defined __x86_64__
        .e_machine = EM_X86_64,
#else
        .e_machine = EM_AARCH64,
#endif
        .e_version = EV_CURRENT,
        .e_phoff = offsetof(struct head, segments),
        .e_ehsize = sizeof h->elf,
        .e_phentsize = sizeof *h->segments,
        .e_phnum = sizeof h->segments / sizeof *h->segments,
    };
    h->segments[0] = (ElfW(Phdr)){.p_type = PT_LOAD, .p_flags = PF_R | PF_W, .p_filesz = bytes, .p_memsz = bytes,
                                  .p_align = (uint64_t)getpagesize()};
    h->segments[1] = (ElfW(Phdr)){.p_type = PT_DYNAMIC, .p_flags = PF_R | PF_W, .p_offset = dynamic,
                                  .p_vaddr = dynamic, .p_paddr = dynamic, .p_filesz = dynamic_bytes,
                                  .p_memsz = dynamic_bytes, .p_align = 8};
    /* Without it ld.so would make every stack executable. */
    h->segments[2] = (ElfW(Phdr)){.p_type = PT_GNU_STACK, .p_flags = PF_R | PF_W, .p_align = 16};
}

static struct link_map *find_map(const char *name)
{
    struct link_map *found = NULL;

    for (struct link_map *map = _r_debug.r_map; map; map = map->l_next)
        if (strcmp(map->l_name, name) == 0)
            found = map;
    return found;
}

/* --- what ld.so keeps of an object ---------------------------------------------------------------------------------- */

/* In the part of its link map that <link.h> does not show, the words that have: device and inode number; the text that
 * $ORIGIN is; the list of scopes. And where its own scope is. Found once, in the link map of a group, of which all is
 * known. */
static struct {
    unsigned file, origin, scopes;
    size_t scope; /* bytes */
    bool known;
} at;

enum { PUBLIC_WORDS = sizeof(struct link_map) / sizeof(uintptr_t), REAL_WORD = PUBLIC_WORDS, NAMES_WORD = REAL_WORD + 2 };

/* The words of a link map: up to where its list of names is, which lies behind it in the same memory. */
static size_t count_words(const struct link_map *map)
{
    const uintptr_t *words = (const uintptr_t *)map;
    const uintptr_t names = words[NAMES_WORD];

    if (words[REAL_WORD] != (uintptr_t)map || names < (uintptr_t)map || names - (uintptr_t)map > 8192)
        return 0;
    return (names - (uintptr_t)map) / sizeof *words;
}

/* A group's scopes: the program's, then its own, whose list begins with itself; in its link map. */
static bool are_scopes(const struct link_map *map, size_t count, uintptr_t word)
{
    const uintptr_t *words = (const uintptr_t *)map;
    const uintptr_t *scopes = (const uintptr_t *)word, first = (uintptr_t)_r_debug.r_map;

    if (word % sizeof word || scopes < words || scopes + 3 > words + count)
        return false;
    const uintptr_t own = scopes[1];
    return own % sizeof own == 0 && own > (uintptr_t)words && own < (uintptr_t)(words + count) &&
           scopes[0] - first == own - (uintptr_t)map && scopes[2] == 0 &&
           **(struct link_map *const *const *)own == map;
}

static void find_words(const struct group *g, const struct stat *st)
{
    const struct link_map *map = g->map;
    const size_t origin_len = (size_t)(strrchr(g->name, '/') - g->name);
    const uintptr_t *words = (const uintptr_t *)map;
    const size_t count = count_words(map);
    unsigned files = 0, origins = 0, scopes = 0;

    for (unsigned i = NAMES_WORD + 1; i + 1 < count; i++) {
        if (words[i] == st->st_dev && words[i + 1] == st->st_ino)
            at.file = i, files++;
        if (are_scopes(map, count, words[i])) {
            at.scope = ((const uintptr_t *)words[i])[1] - (uintptr_t)map;
            at.scopes = i, scopes++;
            continue;
        }
        const char *text = (const char *)words[i];
        if (words[i] % sizeof(void *) == 0 && shim_strlen(text) == (long)origin_len &&
            memcmp(text, g->name, origin_len) == 0)
            at.origin = i, origins++;
    }
    at.known = files == 1 && origins == 1 && scopes == 1;
}

bool group_knows_objects(void)
{
    return at.known;
}

bool group_is_file(const struct link_map *map, uint64_t dev, uint64_t ino)
{
    const uintptr_t *words = (const uintptr_t *)map;
    return words[at.file] == dev && words[at.file + 1] == ino;
}

bool group_has_name(const struct link_map *map, const char *name)
{
    const struct names {
        const char *name;
        const struct names *next;
    } *names = (const void *)((const uintptr_t *)map)[NAMES_WORD];

    if (strcmp(map->l_name, name) == 0)
        return true;
    for (; names; names = names->next)
        if (strcmp(names->name, name) == 0)
            return true;
    return false;
}

/* Less the mirror's prefix, of a path that may be written to. */
static void strip(char *path)
{
    const size_t len = strlen(path);
    const size_t below = lookup_prefix(&shim.stage.view, path, len);

    if (below && below == len)
        memcpy(path, "/", 2);
    else if (below)
        memmove(path, path + below, len - below + 1);
}

void group_make_original(struct link_map *map, uint32_t node)
{
    const struct view *v = &shim.stage.view;
    const struct dlc_node *n = &v->image.nodes[node];
    uintptr_t *words = (uintptr_t *)map;

    words[at.file] = v->mounts[n->mount].dev;
    words[at.file + 1] = n->ino;
    strip((char *)words[at.origin]);
    strip(map->l_name);
}

void group_set_loader(const struct group *g, struct link_map *map, const struct link_map *loader)
{
    uintptr_t *words = (uintptr_t *)map;
    const size_t count = count_words(map);

    for (size_t i = NAMES_WORD + 1; i < count; i++)
        if (words[i] == (uintptr_t)g->map)
            words[i] = (uintptr_t)loader;
}

void group_leave_scopes(const struct group *g, const struct link_map *root, const struct group *other)
{
    const uintptr_t left = (uintptr_t)g->map + at.scope, scope = (uintptr_t)root + at.scope;

    for (const struct link_map *map = _r_debug.r_map; map; map = map->l_next) {
        uintptr_t *scopes = (uintptr_t *)((const uintptr_t *)map)[at.scopes];
        if (map == g->map)
            continue;
        for (; scopes && *scopes; scopes++)
            if (*scopes == left)
                __atomic_store_n(scopes, scope, __ATOMIC_RELEASE);
    }
    /* ld.so waits for whoever looks into a scope as long as it has one to take away. */
    uintptr_t *scopes = (uintptr_t *)((const uintptr_t *)other->map)[at.scopes];
    scopes[2] = left;
}

/* --- loading --------------------------------------------------------------------------------------------------------- */

static void begin(void)
{
    struct group *g = loading;
    struct stat st;

    loading = NULL;
    if (!g || !(g->map = find_map(g->name)))
        return;
    if (!at.known && sys_fstat(g->fd, &st) == 0)
        find_words(g, &st);
    sys_close(g->fd);
    g->fd = -1;
    /* By its number the descriptor could be asked for again, while this one is still there. */
    char **name = (char **)((uintptr_t *)g->map)[NAMES_WORD];
    if (count_words(g->map) && strcmp(*name, g->name) == 0)
        memcpy(*name, GROUP_NAME, sizeof GROUP_NAME);
    memcpy(g->map->l_name, GROUP_NAME, sizeof GROUP_NAME);
    g->began(g);
}

/* A file of `size` bytes that has no name. */
static int make_file(const void *bytes, size_t size)
{
    enum { CLOEXEC = 1, NOEXEC_SEAL = 8 };
    long fd = sys_call(__NR_memfd_create, GROUP_NAME, CLOEXEC | NOEXEC_SEAL, 0, 0);

    if (fd == -EINVAL) /* before Linux 6.3 */
        fd = sys_call(__NR_memfd_create, GROUP_NAME, CLOEXEC, 0, 0);
    if (fd >= 0 && sys_write((int)fd, bytes, size) != (long)size) {
        sys_close((int)fd);
        return -1;
    }
    return (int)fd;
}

/* "/proc/PID/fd/N", which means the same to a debugger. */
static bool put_name(struct group *g)
{
    char digits[12], *p = g->name;
    size_t d = sizeof digits;
    unsigned number = (unsigned)g->fd;

    memcpy(p, "/proc/", 6);
    const long n = sys_readlinkat(AT_FDCWD, "/proc/self", p + 6, 12);
    if (n <= 0 || n >= 12)
        return false;
    p += 6 + n;
    memcpy(p, "/fd/", 4);
    do
        digits[--d] = (char)('0' + number % 10);
    while (number /= 10);
    memcpy(p + 4, digits + d, sizeof digits - d);
    p[4 + sizeof digits - d] = '\0';
    return true;
}

void *group_open(struct group *g, const char *const *needed, size_t count, int mode)
{
    enum { OTHERS = 8 };
    size_t text_bytes = 1;

    for (size_t i = 0; i < count; i++)
        text_bytes += strlen(needed[i]) + 1;
    const size_t dynamic_at = sizeof(struct head), dynamic_bytes = (count + OTHERS) * sizeof(ElfW(Dyn));
    const size_t text_at = dynamic_at + dynamic_bytes, bytes = text_at + text_bytes;
    char *image = sys_mmap(bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (!image)
        return NULL;

    struct head *h = (void *)image;
    put_head(h, bytes, dynamic_at, dynamic_bytes);
    h->init[0] = begin;
    ElfW(Dyn) *dynamic = (void *)(image + dynamic_at);
    char *text = image + text_at + 1;
    for (size_t i = 0; i < count; i++) {
        const size_t n = strlen(needed[i]) + 1;
        *dynamic++ = (ElfW(Dyn)){DT_NEEDED, {(ElfW(Xword))(text - (image + text_at))}};
        memcpy(text, needed[i], n);
        text += n;
    }
    *dynamic++ = (ElfW(Dyn)){DT_STRTAB, {text_at}};
    *dynamic++ = (ElfW(Dyn)){DT_STRSZ, {text_bytes}};
    *dynamic++ = (ElfW(Dyn)){DT_SYMTAB, {offsetof(struct head, symbols)}};
    *dynamic++ = (ElfW(Dyn)){DT_SYMENT, {sizeof(ElfW(Sym))}};
    *dynamic++ = (ElfW(Dyn)){DT_INIT_ARRAY, {offsetof(struct head, init)}};
    *dynamic++ = (ElfW(Dyn)){DT_INIT_ARRAYSZ, {sizeof h->init}};
    *dynamic++ = (ElfW(Dyn)){DT_FLAGS_1, {DF_1_INITFIRST}};
    *dynamic = (ElfW(Dyn)){DT_NULL, {0}};
    g->fd = make_file(image, bytes);
    sys_munmap(image, bytes);
    if (g->fd < 0)
        return NULL;

    g->map = NULL;
    loading = g;
    void *handle = put_name(g) ? REAL(dlopen)(g->name, mode) : NULL;
    loading = NULL;
    if (g->fd >= 0)
        sys_close(g->fd);
    if (handle && !g->map) { /* not ours after all */
        dlclose(handle);
        return NULL;
    }
    return handle;
}
