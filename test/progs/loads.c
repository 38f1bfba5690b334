/* What the dynamic loader makes of a search: does what its arguments say, and tells what has been loaded.
 *
 *   open NAME | first NAME      dlopen, with the caller this program, or the first library that was opened
 *   close                       what was opened last
 *   cd DIR | move FROM TO | link TARGET NAME | mkdir DIR | copy FROM TO
 *
 * An object tells its number: the 8 bytes that "object_number" points to. */
#include <dlfcn.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MOST 64

static void *handles[MOST];
static unsigned count;

static void tell(const char *name, void *handle)
{
    char origin[4096] = "?";
    struct link_map *map = NULL;
    unsigned same = 0;

    if (!handle) {
        printf("%s: %s\n", name, dlerror());
        return;
    }
    while (same < count && handles[same] != handle)
        same++;
    handles[count++] = handle;
    dlinfo(handle, RTLD_DI_LINKMAP, &map);
    dlinfo(handle, RTLD_DI_ORIGIN, origin);
    const char *const *number = dlsym(handle, "object_number");
    printf("%s: handle %u, %s, origin %s, number %.8s\n", name, same, map->l_name, origin, number ? *number : "?");
}

static int each(struct dl_phdr_info *info, size_t size, void *unused)
{
    (void)size;
    (void)unused;
    if (!strstr(info->dlpi_name, "/libdlcache"))
        printf("loaded: %s\n", info->dlpi_name);
    return 0;
}

static void copy(const char *from, const char *to)
{
    char buf[65536];
    FILE *in = fopen(from, "r"), *out = fopen(to, "w");

    if (!in || !out)
        exit(2);
    for (size_t n; (n = fread(buf, 1, sizeof buf, in)) > 0;)
        fwrite(buf, 1, n, out);
    fclose(in);
    fclose(out);
}

int main(int argc, char **argv)
{
    typedef void *opener(const char *, int, void *(*)(const char *, int));
    const int lazy = getenv("LOADS_LAZY") ? RTLD_LAZY : RTLD_NOW;

    for (int i = 1; i < argc && count < MOST; i++) {
        const char *what = argv[i];
        if (strcmp(what, "close") == 0) {
            printf("close: %d\n", count ? dlclose(handles[--count]) : -1);
            continue;
        }
        const char *arg = i + 1 < argc ? argv[++i] : "";
        if (strcmp(what, "open") == 0) {
            tell(arg, dlopen(arg, lazy));
        } else if (strcmp(what, "first") == 0) {
            opener *open_by = count ? (opener *)dlsym(handles[0], "open_by") : NULL;
            tell(arg, open_by ? open_by(arg, lazy, dlopen) : NULL);
        } else if (strcmp(what, "cd") == 0) {
            printf("cd: %d\n", chdir(arg));
        } else if (strcmp(what, "mkdir") == 0) {
            printf("mkdir: %d\n", mkdir(arg, 0755));
        } else if (i + 1 < argc) {
            const char *to = argv[++i];
            if (strcmp(what, "move") == 0)
                printf("move: %d\n", rename(arg, to));
            else if (strcmp(what, "link") == 0)
                printf("link: %d\n", symlink(arg, to));
            else if (strcmp(what, "copy") == 0)
                copy(arg, to);
        }
    }
    dl_iterate_phdr(each, NULL);
    return 0;
}
