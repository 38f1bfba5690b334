/* What ld.so would load for an object: itself, what it needs, what that needs. Rules: shim.h, group.h.
 *
 * As glibc's _dl_map_object_deps (elf/dl-deps.c) and _dl_map_object (elf/dl-load.c) do it. Only what the index proves
 * counts: any other search is ld.so's, and nothing of the closure is taken from the mirror. */
#include <elf.h>
#include <sys/mman.h>

#include "group.h"
#include "libdlcache/loader/cache.h"
#include "libdlcache/loader/rtld.h"
#include "libdlcache/sys.h"

enum outcome { NOT_HERE, HERE, DOUBT };

/* --- one object's dynamic section ------------------------------------------------------------------------------------ */

static const char *text(const struct member *m, uint64_t at)
{
    return at < m->strings_size && memchr(m->strings + at, '\0', m->strings_size - at) ? m->strings + at : NULL;
}

/* The value of the entry `tag`, or 0. */
static uint64_t value(const struct member *m, int64_t tag)
{
    for (size_t i = 0; i < m->dynamic_count; i++)
        if (m->dynamic[i].d_tag == tag)
            return m->dynamic[i].d_un.d_val;
    return 0;
}

static const char *text_of(const struct member *m, int64_t tag)
{
    const uint64_t at = value(m, tag);
    return at ? text(m, at) : NULL;
}

static bool has_soname(const struct member *m, const char *name)
{
    const char *soname = text_of(m, DT_SONAME);
    return soname && strcmp(soname, name) == 0;
}

/* Of an object that is loaded. */
static void read_map(struct member *m, struct link_map *map)
{
    *m = (struct member){.map = map, .dynamic = map->l_ld};
    while (m->dynamic && m->dynamic[m->dynamic_count].d_tag != DT_NULL)
        m->dynamic_count++;
    const uint64_t at = value(m, DT_STRTAB);
    /* ld.so adds the load address in place, where it may write. */
    m->strings = (const char *)(at < map->l_addr ? at + map->l_addr : at);
    m->strings_size = at ? value(m, DT_STRSZ) : 0;
}

/* Where the n bytes at an address of the file are, or NULL. */
static const void *in_file(const struct member *m, const ElfW(Phdr) *ph, unsigned count, uint64_t address, uint64_t n)
{
    for (unsigned i = 0; i < count; i++) {
        if (ph[i].p_type != PT_LOAD || address < ph[i].p_vaddr || address - ph[i].p_vaddr >= ph[i].p_filesz)
            continue;
        const uint64_t inside = address - ph[i].p_vaddr;
        if (ph[i].p_offset > m->file_size || ph[i].p_filesz > m->file_size - ph[i].p_offset ||
            n > ph[i].p_filesz - inside)
            return NULL;
        return (const char *)m->file + ph[i].p_offset + inside;
    }
    return NULL;
}

static bool read_dynamic(struct member *m)
{
    const ElfW(Ehdr) *h = m->file;
    uint64_t size = 0;

    if (m->file_size < sizeof *h || h->e_phentsize != sizeof(ElfW(Phdr)) || h->e_phoff > m->file_size ||
        h->e_phoff % sizeof(void *) || h->e_phnum > (m->file_size - h->e_phoff) / sizeof(ElfW(Phdr)))
        return false;
    const ElfW(Phdr) *ph = (const void *)((const char *)m->file + h->e_phoff);
    for (unsigned i = 0; i < h->e_phnum && !size; i++) {
        if (ph[i].p_type != PT_DYNAMIC || ph[i].p_vaddr % sizeof(void *))
            continue;
        size = ph[i].p_filesz;
        m->dynamic = in_file(m, ph, h->e_phnum, ph[i].p_vaddr, size);
    }
    if (!m->dynamic)
        return false;
    while (m->dynamic_count < size / sizeof *m->dynamic && m->dynamic[m->dynamic_count].d_tag != DT_NULL)
        m->dynamic_count++;
    m->strings_size = value(m, DT_STRSZ);
    m->strings = in_file(m, ph, h->e_phnum, value(m, DT_STRTAB), m->strings_size);
    return m->strings != NULL;
}

static const char *keep(struct closure *c, const char *a, size_t a_len, const char *b, size_t b_len)
{
    if ((size_t)(c->end - c->text) < a_len + b_len + 1)
        return NULL;
    char *text = c->text;
    memcpy(text, a, a_len);
    memcpy(text + a_len, b, b_len);
    text[a_len + b_len] = '\0';
    c->text += a_len + b_len + 1;
    return text;
}

/* That file is loaded, from wherever: then ld.so has to find that one. */
static bool is_loaded(uint64_t dev, uint64_t ino)
{
    for (const struct link_map *map = _r_debug.r_map; map; map = map->l_next)
        if (group_is_file(map, dev, ino))
            return true;
    return false;
}

/* The file is what it was taken for, and new. */
static bool is_good(const struct member *m, const struct stat *st)
{
    const struct view *v = &shim.stage.view;

    if (m->node == DLC_NONE)
        return !is_loaded(st->st_dev, st->st_ino);
    const struct dlc_node *n = &v->image.nodes[m->node];
    /* Through directories that the mirror has not, the name leads nowhere, or elsewhere. */
    return stage_node_of(&shim.stage, st) == m->node && n->mount < v->image.mount_count &&
           !is_loaded(v->mounts[n->mount].dev, n->ino);
}

/* Maps the file of a member that is to be loaded: the mirror's, where there is one. */
static bool read_file(struct closure *c, struct member *m)
{
    const struct view *v = &shim.stage.view;
    struct stat st;

    m->name = m->path;
    if (m->node != DLC_NONE && !(m->name = keep(c, v->prefix, v->prefix_len, m->path, strlen(m->path))))
        return false;
    const int fd = sys_openat(AT_FDCWD, m->name, O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0)
        return false;
    if (sys_fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > 0 && is_good(m, &st)) {
        m->file_size = (size_t)st.st_size;
        m->file = sys_mmap(m->file_size, PROT_READ, MAP_PRIVATE, fd, 0);
    }
    sys_close(fd);
    return m->file && read_dynamic(m);
}

/* --- searching -------------------------------------------------------------------------------------------------------- */

/* The directory of an object as ld.so has it for $ORIGIN: its length in `dir`, or 0. */
static size_t origin(const struct member *m, char dir[PATH_MAX])
{
    long n;

    if (m->map) {
        n = sys_readlinkat(AT_FDCWD, "/proc/self/exe", dir, PATH_MAX); /* of loaded ones only the program is asked */
        if (n <= 0 || n >= PATH_MAX)
            return 0;
    } else {
        n = (long)strlen(m->path);
        if (n >= PATH_MAX)
            return 0;
        memcpy(dir, m->path, (size_t)n);
    }
    while (n > 1 && dir[n - 1] != '/')
        n--;
    return (size_t)(n > 1 ? n - 1 : n);
}

/* One element of a search path, its tokens expanded, into dir: its length; 0: leave it to ld.so. */
static size_t expand(const char *element, size_t len, const struct member *m, char dir[PATH_MAX])
{
    size_t token = 0, out = 0;

    if (len >= 7 && memcmp(element, "$ORIGIN", 7) == 0 && (len == 7 || element[7] == '/'))
        token = 7;
    else if (len >= 9 && memcmp(element, "${ORIGIN}", 9) == 0)
        token = 9;
    if (token && (!m || !(out = origin(m, dir))))
        return 0;
    len -= token;
    if (out + len + 1 > PATH_MAX || memchr(element + token, '$', len))
        return 0;
    memcpy(dir + out, element + token, len);
    out += len;
    dir[out] = '\0';
    return out && dir[0] == '/' ? out : 0;
}

/* The directory c->dir, of n bytes: is an object of that name in it? Then it is m's path and node. */
static enum outcome in_directory(struct closure *c, size_t n, const char *name, struct member *m)
{
    const struct view *v = &shim.stage.view;
    const char *dir = c->dir;
    char *path = c->path;
    struct found found;

    switch (lookup_from(v, 0, dir, n, 0, &found)) {
    case VERDICT_ABSENT:
    case VERDICT_NOTDIR:
    case VERDICT_FILE: return NOT_HERE;
    case VERDICT_DIR: break;
    default: return DOUBT;
    }
    if (!(v->image.nodes[found.node].flags & DLC_N_FROZEN) || rtld_has_hardware(&v->image, found.node))
        return DOUBT;
    while (n > 1 && dir[n - 1] == '/')
        n--;
    const size_t slash = dir[n - 1] != '/';
    const size_t len = strlen(name);
    if (n + slash + len >= sizeof c->path)
        return DOUBT;
    memcpy(path, dir, n);
    path[n] = '/';
    memcpy(path + n + slash, name, len + 1);
    switch (lookup_from(v, 0, path, n + slash + len, 0, &found)) {
    case VERDICT_ABSENT:
    case VERDICT_NOTDIR: return NOT_HERE;
    case VERDICT_FILE: break;
    default: return DOUBT;
    }
    m->node = found.node;
    m->path = keep(c, path, n + slash + len, "", 0);
    return m->path && v->image.nodes[found.node].object != DLC_NONE ? HERE : DOUBT;
}

static enum outcome in_list(struct closure *c, const char *list, const char *separators, const struct member *of,
                            const char *name, struct member *m)
{
    for (;; list++) {
        const size_t len = strcspn(list, separators);
        const size_t n = expand(list, len, of, c->dir);
        const enum outcome outcome = n ? in_directory(c, n, name, m) : DOUBT;
        if (outcome != NOT_HERE)
            return outcome;
        list += len;
        if (!*list)
            return NOT_HERE;
    }
}

static enum outcome in_rpath(struct closure *c, const struct member *of, const char *name, struct member *m)
{
    const char *list = text_of(of, DT_RUNPATH) ? NULL : text_of(of, DT_RPATH);
    return list ? in_list(c, list, ":", of, name, m) : NOT_HERE;
}

/* What ld.so.cache says; it is the node's own, and most of what it names, too. */
static enum outcome in_cache(struct closure *c, const char *name, struct member *m)
{
    const struct view *v = &shim.stage.view;
    struct found found;
    bool doubt = false;

    if (!rtld.known)
        return DOUBT;
    const char *path = cache_lookup(v, name, &doubt);
    m->path = path && *path == '/' && !doubt ? keep(c, path, strlen(path), "", 0) : NULL;
    if (!m->path)
        return DOUBT;
    switch (lookup_from(v, 0, m->path, strlen(m->path), 0, &found)) {
    case VERDICT_FILE: m->node = found.node; return v->image.nodes[m->node].object != DLC_NONE ? HERE : DOUBT;
    case VERDICT_UNKNOWN: m->node = DLC_NONE; return HERE;
    default: return DOUBT;
    }
}

/* ld.so's search for a name without a slash that `by`, which is to be loaded, needs. */
static bool search(struct closure *c, const struct member *by, const char *name, const char *library_path,
                   struct member *m)
{
    const char *runpath = text_of(by, DT_RUNPATH);
    enum outcome outcome = NOT_HERE;

    if (value(by, DT_FLAGS_1) & DF_1_NODEFLIB)
        return false;
    if (!runpath) {
        struct member program;
        for (const struct member *of = by; of && outcome == NOT_HERE; of = of->loader)
            outcome = in_rpath(c, of, name, m);
        read_map(&program, _r_debug.r_map);
        if (outcome == NOT_HERE)
            outcome = in_rpath(c, &program, name, m);
    }
    if (outcome == NOT_HERE && library_path && *library_path)
        outcome = in_list(c, library_path, ":;", NULL, name, m);
    if (outcome == NOT_HERE && runpath)
        outcome = in_list(c, runpath, ":", by, name, m);
    if (outcome == NOT_HERE)
        outcome = in_cache(c, name, m);
    return outcome == HERE;
}

/* --- breadth first ---------------------------------------------------------------------------------------------------- */

static void list_loaded(struct closure *c)
{
    struct member m;

    for (struct link_map *map = _r_debug.r_map; map && c->loaded_count < CLOSURE_MAX; map = map->l_next) {
        read_map(&m, map);
        c->loaded[c->loaded_count++] = (struct loaded){map, text_of(&m, DT_SONAME)};
    }
}

/* Of what is loaded already, the first one of that name: a member, or *m. */
static struct member *find_loaded(struct closure *c, const char *name, struct member *m)
{
    for (size_t i = 0; i < c->loaded_count; i++) {
        const struct loaded *l = &c->loaded[i];
        if (!(l->soname && strcmp(l->soname, name) == 0) && !group_has_name(l->map, name))
            continue;
        for (size_t k = 0; k < c->count; k++)
            if (c->members[k].map == l->map)
                return &c->members[k];
        read_map(m, l->map);
        m->name = keep(c, name, strlen(name), "", 0);
        return m->name ? m : NULL;
    }
    return NULL;
}

/* The object that ld.so would take for a name that is needed: one of the members, or a new one, which is at *m. NULL:
 * leave it to ld.so. */
static struct member *take(struct closure *c, const struct member *by, const char *name, const char *library_path,
                           struct member *m)
{
    struct member *found = find_loaded(c, name, m);

    if (found)
        return found;
    for (size_t i = 0; i < c->count; i++)
        if (c->members[i].path && has_soname(&c->members[i], name))
            return &c->members[i];
    *m = (struct member){.loader = by};
    if (by->map || !search(c, by, name, library_path, m) || !read_file(c, m) || !has_soname(m, name))
        return NULL;
    return m;
}

static bool add_needed(struct closure *c, size_t by, const char *library_path)
{
    for (size_t i = 0; i < c->members[by].dynamic_count; i++) {
        const struct member *m = &c->members[by];
        switch (m->dynamic[i].d_tag) {
        case DT_NEEDED: {
            const char *name = text(m, m->dynamic[i].d_un.d_val);
            struct member *taken;
            if (!name || !*name || strpbrk(name, "/$") || c->count == CLOSURE_MAX)
                return false;
            if (!(taken = take(c, m, name, library_path, &c->members[c->count]))) {
                c->count += c->members[c->count].file != NULL; /* to be unmapped with the others */
                return false;
            }
            c->count += taken == &c->members[c->count];
            break;
        }
        case DT_AUXILIARY:
        case DT_FILTER: return false;
        default: break;
        }
    }
    return true;
}

bool closure_plan(struct closure *c, const char *path, uint32_t node, const char *library_path)
{
    c->text = c->room;
    c->end = c->room + sizeof c->room;
    c->members[0] = (struct member){.path = path, .node = node};
    c->count = 1;
    c->loaded_count = 0;
    list_loaded(c);
    bool whole = c->loaded_count < CLOSURE_MAX && read_file(c, &c->members[0]);

    for (size_t i = 0; whole && i < c->count; i++)
        whole = add_needed(c, i, library_path);
    for (size_t i = 0; i < c->count; i++)
        if (c->members[i].file)
            sys_munmap((void *)(uintptr_t)c->members[i].file, c->members[i].file_size);
    cache_close();
    for (size_t i = 0; i < c->count; i++)
        c->names[i] = c->members[i].name;
    return whole;
}
