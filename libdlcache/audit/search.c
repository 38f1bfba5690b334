/* The whole search of ld.so for a library, from the index. Rules: audit.h.
 *
 * As in glibc's _dl_map_object (elf/dl-load.c): DT_RPATH of the loader, of its loader, … and of the program (not where
 * the loader has a DT_RUNPATH); LD_LIBRARY_PATH; DT_RUNPATH of the loader; ld.so.cache; the default directories. Where
 * an earlier place is unknown, ld.so looks itself. */
#include <elf.h>

#include "audit.h"
#include "libdlcache/sys.h"

enum outcome { NOT_HERE, HERE, DOUBT };

/* Subdirectories that some glibc, or this one on some hardware, would look into first. */
static const char *const hardware[] = {
    "glibc-hwcaps", "tls", "x86_64", "haswell", "xeon_phi", "avx512_1", "aarch64", "atomics",
};

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

/* The directory of an object, as $ORIGIN: its length in `dir`, or 0 where it is not known. */
static size_t origin(const struct object *o, char dir[PATH_SIZE])
{
    const struct view *v = &audit.stage.view;
    const char *name = o->map->l_name;
    long n;

    if (o == audit.main) {
        n = sys_readlinkat(AT_FDCWD, "/proc/self/exe", dir, PATH_SIZE);
        if (n <= 0 || n >= PATH_SIZE)
            return 0;
    } else {
        n = (long)dlc_strlen(name);
        if (n >= PATH_SIZE)
            return 0;
        __builtin_memcpy(dir, name, (size_t)n);
    }
    if (dir[0] != '/')
        return 0;
    const size_t below = lookup_prefix(v, dir, (size_t)n);
    if (below) {
        __builtin_memmove(dir, dir + below, (size_t)n - below);
        n -= (long)below;
    }
    while (n > 1 && dir[n - 1] != '/')
        n--;
    return (size_t)(n > 1 ? n - 1 : n);
}

/* One element of a search path, its tokens expanded, into dir: its length; 0: leave it to ld.so. */
static size_t expand(const char *element, size_t len, const struct object *o, char dir[PATH_SIZE])
{
    static const char *const tokens[] = {"$ORIGIN", "${ORIGIN}"};
    size_t out = 0;

    for (size_t i = 0; i < len;) {
        if (element[i] != '$') {
            if (out + 1 >= PATH_SIZE)
                return 0;
            dir[out++] = element[i++];
            continue;
        }
        size_t n = 0;
        for (int t = 0; t < 2 && !n; t++) {
            const size_t k = dlc_strlen(tokens[t]);
            const char after = i + k < len ? element[i + k] : '/';
            if (i + k <= len && dlc_same(element + i, tokens[t], k) && (t == 1 || after == '/'))
                n = k;
        }
        char from[PATH_SIZE];
        const size_t k = n && i == 0 && o ? origin(o, from) : 0;
        if (k == 0)
            return 0; /* $LIB and $PLATFORM mean what this ld.so was built with */
        __builtin_memcpy(dir, from, k);
        out = k;
        i += n;
    }
    if (out == 0 || dir[0] != '/')
        return 0; /* the current directory, or below it */
    dir[out] = '\0';
    return out;
}

/* One directory: is an object of that name in it? */
static enum outcome in_directory(char dir[PATH_SIZE], size_t n, const char *name, char path[PATH_SIZE])
{
    const struct view *v = &audit.stage.view;
    const size_t len = dlc_strlen(name);
    struct found found;

    switch (lookup(v, dir, n, 0, &found)) {
    case VERDICT_ABSENT:
    case VERDICT_NOTDIR:
    case VERDICT_FILE:
        return NOT_HERE;
    case VERDICT_DIR: break;
    default: return DOUBT;
    }
    if (!(v->image.nodes[found.node].flags & DLC_N_FROZEN))
        return DOUBT;
    for (size_t i = 0; i < sizeof hardware / sizeof *hardware; i++)
        if (image_find(&v->image, found.node, hardware[i], dlc_strlen(hardware[i])) != DLC_NONE)
            return DOUBT;
    while (n > 1 && dir[n - 1] == '/')
        n--;
    if (n + 1 + len >= PATH_SIZE)
        return DOUBT;
    __builtin_memmove(path, dir, n);
    if (n > 1 || dir[0] != '/')
        path[n++] = '/';
    __builtin_memcpy(path + n, name, len + 1);
    switch (lookup(v, path, n + len, 0, &found)) {
    case VERDICT_ABSENT:
    case VERDICT_NOTDIR: return NOT_HERE;
    case VERDICT_FILE: return v->image.nodes[found.node].object != DLC_NONE ? HERE : DOUBT;
    default: return DOUBT;
    }
}

static enum outcome in_list(const char *list, const char *separators, const struct object *o, const char *name,
                            char path[PATH_SIZE])
{
    const size_t count = dlc_strlen(separators);
    char dir[PATH_SIZE];

    for (;; list++) {
        size_t len = 0;
        while (list[len] && !__builtin_memchr(separators, list[len], count))
            len++;
        const size_t n = expand(list, len, o, dir);
        const enum outcome outcome = n ? in_directory(dir, n, name, path) : DOUBT;
        if (outcome != NOT_HERE)
            return outcome;
        list += len;
        if (!*list)
            return NOT_HERE;
    }
}

static enum outcome in_rpaths(const struct object *loader, const char *name, char path[PATH_SIZE])
{
    bool did_main = false;

    for (const struct object *o = loader; o; o = o->loader) {
        struct dynamic d;
        read_dynamic(o->map, &d);
        if (d.rpath) {
            const enum outcome outcome = in_list(d.rpath, ":", o, name, path);
            if (outcome != NOT_HERE)
                return outcome;
            did_main |= o == audit.main;
        }
    }
    if (!did_main && audit.main) {
        struct dynamic d;
        read_dynamic(audit.main->map, &d);
        if (d.rpath)
            return in_list(d.rpath, ":", audit.main, name, path);
    }
    return NOT_HERE;
}

static enum outcome in_cache(const char *name, char path[PATH_SIZE])
{
    const struct view *v = &audit.stage.view;
    enum outcome outcome = DOUBT;
    bool doubt = false;

    if (!cache_open())
        return DOUBT;
    const char *cached = cache_lookup(name, &doubt);
    const size_t len = cached && !doubt ? dlc_strlen(cached) : 0;
    if (len && len < PATH_SIZE && cached[0] == '/') {
        struct found found;
        __builtin_memcpy(path, cached, len + 1);
        switch (lookup(v, path, len, 0, &found)) {
        case VERDICT_FILE:
            outcome = v->image.nodes[found.node].object != DLC_NONE ? HERE : DOUBT;
            break;
        case VERDICT_UNKNOWN:
            /* Of the node's own; ld.so goes on to the default directories where the cache is out of date. */
            outcome = sys_call(__NR_faccessat, AT_FDCWD, path, 4, 0) == 0 ? HERE : DOUBT;
            break;
        default: break;
        }
    }
    return outcome;
}

bool search_library(const char *name, const struct object *loader, char path[PATH_SIZE])
{
    enum outcome outcome = NOT_HERE;
    struct dynamic d;

    read_dynamic(loader->map, &d);
    if (d.nodeflib)
        return false;
    if (!d.runpath)
        outcome = in_rpaths(loader, name, path);
    if (outcome == NOT_HERE && audit.library_path && *audit.library_path)
        outcome = in_list(audit.library_path, ":;", NULL, name, path);
    if (outcome == NOT_HERE && d.runpath)
        outcome = in_list(d.runpath, ":", loader, name, path);
    if (outcome == NOT_HERE)
        outcome = in_cache(name, path);
    return outcome == HERE;
}
