/* Prints what the dynamic loader says of the libraries that are named: its errors, or where they come from. Of each
 * argument: "NAME" is loaded, "NAME:SYMBOL" loaded and asked for the symbol, "NAME:SYMBOL:VERSION" for that version of
 * it. On standard error how many objects are mapped from the mirror of $DLCACHE_STAGE. */
#include <dlfcn.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void error(const char *what, const char *of)
{
    const char *text = dlerror();

    printf("%s %s: %s\n", what, of, text ? text : "(none)");
    if (dlerror())
        puts("told twice");
}

static void search_path(void *handle)
{
    Dl_serinfo head;

    if (dlinfo(handle, RTLD_DI_SERINFOSIZE, &head) != 0)
        return error("size of", "the search path");
    printf("search path: %zu bytes, %u places\n", head.dls_size, head.dls_cnt);
    /* What lies behind is the caller's. */
    char *const room = malloc(head.dls_size + 64);
    memset(room, '#', head.dls_size + 64);
    Dl_serinfo *const info = (void *)room;
    if (dlinfo(handle, RTLD_DI_SERINFOSIZE, info) != 0 || dlinfo(handle, RTLD_DI_SERINFO, info) != 0)
        return error("search path", "");
    printf("search path: %zu bytes, %u places\n", info->dls_size, info->dls_cnt);
    for (unsigned i = 0; i < info->dls_cnt; i++)
        printf("  %s, %x\n", info->dls_serpath[i].dls_name, info->dls_serpath[i].dls_flags);
    for (int i = 0; i < 64; i++)
        if (room[head.dls_size + (size_t)i] != '#')
            printf("written behind the end: %d\n", i);
    free(room);
}

static void where_from(const char *name, void *handle, void *at)
{
    struct link_map *map = NULL, *extra = NULL;
    char origin[4096] = "";
    Lmid_t lmid = -1;
    Dl_info info;

    if (dlinfo(handle, RTLD_DI_LINKMAP, &map) != 0 || dlinfo(handle, RTLD_DI_ORIGIN, origin) != 0 ||
        dlinfo(handle, RTLD_DI_LMID, &lmid) != 0)
        return error("dlinfo", name);
    printf("%s is %s, origin %s, name space %ld\n", name, map->l_name, origin, (long)lmid);
    search_path(handle);
    if (at && dladdr(at, &info))
        printf("dladdr: %s, %s\n", info.dli_fname, info.dli_sname ? info.dli_sname : "-");
    if (at && dladdr1(at, &info, (void **)&extra, RTLD_DL_LINKMAP))
        printf("dladdr1: %s, %s\n", info.dli_fname, extra->l_name);
#ifdef DLFO_STRUCT_HAS_EH_DBASE
    struct dl_find_object found;
    if (at && _dl_find_object(at, &found) == 0)
        printf("_dl_find_object: %s\n", found.dlfo_link_map->l_name);
#endif
}

static void load(char *arg)
{
    char *const name = strsep(&arg, ":"), *const symbol = strsep(&arg, ":"), *const version = arg;
    void *const handle = dlopen(name, RTLD_NOW);

    if (!handle)
        return error("cannot load", name);
    void *const at = !symbol ? NULL : version ? dlvsym(handle, symbol, version) : dlsym(handle, symbol);
    if (symbol && !at)
        error("no symbol in", name);
    where_from(name, handle, at);
}

static int object(struct dl_phdr_info *info, size_t size, void *data)
{
    (void)size;
    (void)data;
    if (!strstr(info->dlpi_name, "/libdlcache"))
        printf("object %s\n", info->dlpi_name);
    return 0;
}

int main(int argc, char **argv)
{
    const char *stage = getenv("DLCACHE_STAGE");
    char line[4096];
    int mapped = 0;

    error("before", "anything");
    for (int i = 1; i < argc; i++)
        load(argv[i]);
    dl_iterate_phdr(object, NULL);
    FILE *f = fopen("/proc/self/maps", "re");
    while (f && fgets(line, sizeof line, f))
        mapped += stage && strstr(line, stage) && strstr(line, "/root/") && strstr(line, " r-xp ");
    fprintf(stderr, "%d\n", mapped);
    return 0;
}
