/* The whole search of ld.so for a library, from the index. Rules: audit.h.
 *
 * As in glibc's _dl_map_object (elf/dl-load.c): DT_RPATH of the loader, of its loader, … and of the program (not where
 * the loader has a DT_RUNPATH); LD_LIBRARY_PATH; DT_RUNPATH of the loader; ld.so.cache; the default directories. What
 * the index does not know the kernel is asked for, in its turn. */
#include <elf.h>

#include "audit.h"
#include "libdlcache/sys.h"
#include "libdlcache/loader/rtld.h"

struct dynamic {
    const char *rpath, *runpath;
    bool nodeflib;
};

static void read_dynamic(const struct link_map *map, struct dynamic *d)
{
    const char *strings = NULL;
    ElfW(Xword) rpath = 0, runpath = 0, flags = 0;

    *d = (struct dynamic){0};
    for (const ElfW(Dyn) *dyn = map->l_ld; dyn && dyn->d_tag != DT_NULL; dyn++) {
        switch (dyn->d_tag) {
        case DT_STRTAB:
            /* ld.so adds the load address in place, where it may write. */
            strings = (const char *)(dyn->d_un.d_ptr < map->l_addr ? dyn->d_un.d_ptr + map->l_addr : dyn->d_un.d_ptr);
            break;
        case DT_RPATH: rpath = dyn->d_un.d_val; break;
        case DT_RUNPATH: runpath = dyn->d_un.d_val; break;
        case DT_FLAGS_1: flags = dyn->d_un.d_val; break;
        default: break;
        }
    }
    if (!strings)
        return;
    d->nodeflib = flags & DF_1_NODEFLIB;
    d->runpath = runpath ? strings + runpath : NULL;
    d->rpath = rpath && !runpath ? strings + rpath : NULL;
}

/* --- directories ------------------------------------------------------------------------------------------------ */

/* Of a path, the directory: its length. */
static size_t parent_of(const char *path, size_t len)
{
    while (len > 1 && path[len - 1] != '/')
        len--;
    return len > 1 ? len - 1 : len;
}

/* As ld.so, which asks once. */
static struct text origin_of_program(void)
{
    static char dir[PATH_SIZE] DLC_LARGE;
    static long len;

    if (len == 0) {
        len = sys_readlinkat(AT_FDCWD, "/proc/self/exe", dir, PATH_SIZE);
        if (len <= 0 || len >= PATH_SIZE || dir[0] != '/')
            len = -1;
    }
    return (struct text){dir, len > 0 ? (size_t)len : 0};
}

/* The directory of an object, as $ORIGIN, into `to`: its length, or 0 where it is not known. */
static size_t origin(const struct object *o, char to[PATH_SIZE])
{
    const char *name = o->map->l_name;
    struct text path = {name, dlc_strlen(name)};

    if (o == audit.main)
        path = origin_of_program();
    else if (o->origin)
        path = (struct text){o->origin, dlc_strlen(o->origin)};
    if (path.len == 0 || path.p[0] != '/')
        return 0;
    const size_t below = lookup_prefix(&audit.stage.view, path.p, path.len);
    path.p += below;
    path.len -= below;
    const size_t n = o->origin && o != audit.main ? path.len : parent_of(path.p, path.len);
    if (n >= PATH_SIZE)
        return 0;
    __builtin_memcpy(to, path.p, n);
    return n;
}

static bool is_word(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
}

/* Bytes of the token `name` at p, "$name" or "${name}", or 0. */
static size_t token(const char *p, size_t len, const char *name)
{
    const size_t n = dlc_strlen(name), skip = len > 1 && p[1] == '{' ? 2 : 1;

    if (len < skip + n || !dlc_same(p + skip, name, n))
        return 0;
    const char after = len > skip + n ? p[skip + n] : '\0';
    if (skip == 2)
        return after == '}' ? skip + n + 1 : 0;
    return is_word(after) ? 0 : skip + n;
}

bool has_token(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (text[i] == '$' && (token(text + i, len - i, "ORIGIN") || token(text + i, len - i, "LIB") ||
                               token(text + i, len - i, "PLATFORM")))
            return true;
    return false;
}

long expand(const char *text, size_t len, const struct object *o, char to[PATH_SIZE])
{
    static char dir[PATH_SIZE] DLC_LARGE;
    size_t out = 0;

    for (size_t i = 0; i < len;) {
        struct text value = {text + i, 1};
        size_t n = 1;
        if (text[i] == '$') {
            const size_t own = token(text + i, len - i, "ORIGIN"), lib = token(text + i, len - i, "LIB"),
                         platform = token(text + i, len - i, "PLATFORM");
            if (own) {
                value = (struct text){dir, origin(o, dir)};
                if (!value.len)
                    return -1;
            } else if (lib || platform) {
                if (!rtld.known)
                    return -1;
                value = lib ? rtld.lib : rtld.platform;
                if (!value.len)
                    return 0;
            }
            if (own || lib || platform)
                n = own + lib + platform;
        }
        if (out + value.len >= PATH_SIZE)
            return -1;
        __builtin_memcpy(to + out, value.p, value.len);
        out += value.len;
        i += n;
    }
    to[out] = '\0';
    return (long)out;
}

/* One element of a search path as ld.so has it in its lists, into dir: one slash at the end, or nothing for the current
 * directory. Its length; -1: there is none; -2: not known. */
static long element(const char *text, size_t len, const struct object *o, char dir[PATH_SIZE])
{
    if (len == 0)
        return dir[0] = '\0', 0;
    long n = expand(text, len, o, dir);
    if (n <= 0)
        return n == 0 ? -1 : -2;
    while (n > 1 && dir[n - 1] == '/')
        n--;
    if (dir[n - 1] != '/') {
        if (n + 1 >= PATH_SIZE)
            return -2;
        dir[n++] = '/';
    }
    dir[n] = '\0';
    return n;
}

/* Bytes up to the next separator. */
static size_t until(const char *list, const char *separators)
{
    const size_t count = dlc_strlen(separators);
    size_t n = 0;

    while (list[n] && !__builtin_memchr(separators, list[n], count))
        n++;
    return n;
}

/* --- lists ------------------------------------------------------------------------------------------------------ */

static enum outcome in_directory(const char *dir, size_t len, const char *name, struct candidate *c)
{
    struct directory *d = directory_of(dir, len);
    return d ? directory_search(d, name, c) : DOUBT;
}

static enum outcome in_list(const char *list, const struct object *o, const char *name, struct candidate *c)
{
    static char dir[PATH_SIZE] DLC_LARGE;

    if (!*list)
        return NOT_HERE;
    for (;; list++) {
        const size_t len = until(list, ":");
        const long n = element(list, len, o, dir);
        const enum outcome outcome = n == -1 ? NOT_HERE : n < 0 ? DOUBT : in_directory(dir, (size_t)n, name, c);
        if (outcome != NOT_HERE)
            return outcome;
        list += len;
        if (!*list)
            return NOT_HERE;
    }
}

/* LD_LIBRARY_PATH, taken apart once. */
static struct {
    bool done;
    bool doubt; /* what comes after the last is not known */
    size_t count;
    struct directory **dir;
} library_path;

static void take_apart(void)
{
    const char *list = rtld.library_path;
    size_t most = 1;
    static char dir[PATH_SIZE] DLC_LARGE;

    library_path.done = true;
    if (!list || !*list)
        return;
    for (const char *p = list; *p; p++)
        most += *p == ':' || *p == ';';
    library_path.dir = arena_take(most * sizeof *library_path.dir);
    library_path.doubt = !library_path.dir;
    for (; !library_path.doubt; list++) {
        const size_t len = until(list, ":;");
        const long n = element(list, len, audit.main, dir);
        struct directory *d = n >= 0 ? directory_of(dir, (size_t)n) : NULL;
        if (d)
            library_path.dir[library_path.count++] = d;
        else
            library_path.doubt = n != -1;
        list += len;
        if (!*list)
            return;
    }
}

static enum outcome in_library_path(const char *name, struct candidate *c)
{
    if (!library_path.done)
        take_apart();
    for (size_t i = 0; i < library_path.count; i++) {
        const enum outcome outcome = directory_search(library_path.dir[i], name, c);
        if (outcome != NOT_HERE)
            return outcome;
    }
    return library_path.doubt ? DOUBT : NOT_HERE;
}

static enum outcome in_rpaths(const struct object *loader, const char *name, struct candidate *c)
{
    bool did_main = false;
    struct dynamic d;

    for (const struct object *o = loader; o; o = o->loader) {
        read_dynamic(o->map, &d);
        if (!d.rpath)
            continue;
        const enum outcome outcome = in_list(d.rpath, o, name, c);
        if (outcome != NOT_HERE)
            return outcome;
        did_main |= o == audit.main;
    }
    if (did_main || !audit.main)
        return NOT_HERE;
    read_dynamic(audit.main->map, &d);
    return d.rpath ? in_list(d.rpath, audit.main, name, c) : NOT_HERE;
}

/* With its slash at the end. */
static bool is_in_default(const char *path)
{
    for (uint32_t i = 0; i < rtld.defaults; i++) {
        const struct text *dir = &rtld.default_dir[i];
        if (dlc_strlen(path) > dir->len && dlc_same(path, dir->p, dir->len) && path[dir->len] == '/')
            return true;
    }
    return false;
}

static enum outcome in_cache(const char *name, bool nodeflib, struct candidate *c)
{
    bool doubt = false;
    const char *cached = cache_lookup(&audit.stage.view, name, &doubt);

    if (doubt)
        return DOUBT;
    if (!cached || (nodeflib && is_in_default(cached)))
        return NOT_HERE;
    c->len = dlc_strlen(cached);
    if (c->len >= PATH_SIZE)
        return DOUBT;
    __builtin_memcpy(c->path, cached, c->len + 1);
    return make_full(c) ? verify_cached(c) : DOUBT;
}

static enum outcome in_defaults(const char *name, struct candidate *c)
{
    for (uint32_t i = 0; i < rtld.defaults; i++) {
        static char dir[PATH_SIZE] DLC_LARGE;
        const long n = element(rtld.default_dir[i].p, rtld.default_dir[i].len, NULL, dir);
        const enum outcome outcome = n > 0 ? in_directory(dir, (size_t)n, name, c) : DOUBT;
        if (outcome != NOT_HERE)
            return outcome;
    }
    return NOT_HERE;
}

enum outcome search_library(const char *name, const struct object *loader, struct candidate *c)
{
    enum outcome outcome = NOT_HERE;
    struct dynamic d;

    if (!rtld.searches)
        return DOUBT;
    read_dynamic(loader->map, &d);
    if (!d.runpath)
        outcome = in_rpaths(loader, name, c);
    if (outcome == NOT_HERE)
        outcome = in_library_path(name, c);
    if (outcome == NOT_HERE && d.runpath)
        outcome = in_list(d.runpath, loader, name, c);
    if (outcome == NOT_HERE && !rtld.known)
        outcome = DOUBT;
    if (outcome == NOT_HERE)
        outcome = in_cache(name, d.nodeflib, c);
    if (outcome == NOT_HERE && !d.nodeflib)
        outcome = in_defaults(name, c);
    return outcome;
}
