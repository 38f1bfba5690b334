/* Loads and unloads libraries as its arguments say, and prints what a program can see of it; where the files are mapped
 * from goes to standard error.
 *
 *   open PATH FLAGS    handle i is the i-th opened one; FLAGS: letters, l LAZY, n NOW, g GLOBAL, k NODELETE, d DEEPBIND,
 *                      o NOLOAD
 *   close I            call I NAME: int NAME(void)            default NAME: the same, as RTLD_DEFAULT finds it
 *   where I NAME       dladdr of a symbol, and its link map   maps: names of all objects, as three interfaces have them
 *   origin I           threads PATH PATH …: each loads and unloads all, again and again */
#include <dlfcn.h>
#include <link.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *handles[64];
static int opened, closed[64];

static int flags_of(const char *letters)
{
    static const struct {
        char letter;
        int flag;
    } table[] = {{'l', RTLD_LAZY},     {'n', RTLD_NOW},      {'g', RTLD_GLOBAL},
                 {'k', RTLD_NODELETE}, {'d', RTLD_DEEPBIND}, {'o', RTLD_NOLOAD}};
    int flags = 0;

    for (; *letters; letters++)
        for (size_t i = 0; i < sizeof table / sizeof *table; i++)
            if (table[i].letter == *letters)
                flags |= table[i].flag;
    return flags;
}

static void open_one(const char *path, const char *letters)
{
    void *h = dlopen(path, flags_of(letters));
    const char *error = dlerror();
    int same = 0;

    for (int i = opened - 1; i >= 0; i--)
        if (handles[i] == h && !closed[i])
            same = i + 1;
    handles[opened++] = h;
    if (!h)
        printf("open %s: %s\n", path, error ? error : "NULL");
    else if (same)
        printf("open %s: as %d\n", path, same - 1);
    else
        printf("open %s: %s%s\n", path, ((struct link_map *)h)->l_name, error ? " and an error" : "");
}

static void call(void *h, const char *name)
{
    int (*f)(void) = (int (*)(void))dlsym(h, name);

    if (f)
        printf("%s: %d\n", name, f());
    else
        printf("%s: %s\n", name, dlerror());
}

static int print_phdr(struct dl_phdr_info *info, size_t size, void *data)
{
    (void)size;
    (void)data;
    printf("  phdr %s\n", info->dlpi_name);
    return 0;
}

static void maps(void)
{
    for (const struct link_map *m = _r_debug.r_map; m; m = m->l_next)
        printf("  map %s\n", m->l_name);
    dl_iterate_phdr(print_phdr, NULL);
}

static void where(void *h, const char *name)
{
    Dl_info info;
    struct link_map *map;

    if (dladdr1(dlsym(h, name), &info, (void **)&map, RTLD_DL_LINKMAP))
        printf("%s in %s, %s\n", name, info.dli_fname, map->l_name);
}

static char **paths;

static void *load_all(void *arg)
{
    for (int round = 0; round < 60; round++)
        for (char **p = paths; *p; p++) {
            void *h = dlopen(*p, RTLD_NOW);
            int (*f)(void) = h ? (int (*)(void))dlsym(h, "own") : NULL;
            if (!f || f() <= 0) {
                printf("%s: %s\n", *p, dlerror());
                return arg;
            }
            dlclose(h);
        }
    return NULL;
}

static void threads(void)
{
    pthread_t t[4];
    void *failed;

    for (int i = 0; i < 4; i++)
        pthread_create(&t[i], NULL, load_all, paths);
    for (int i = 0; i < 4; i++) {
        pthread_join(t[i], &failed);
        printf("thread: %s\n", failed ? "failed" : "fine");
    }
}

/* Of each file that is mapped: its name, once. */
static void mapped(void)
{
    char line[8192], last[8192] = "";
    FILE *f = fopen("/proc/self/maps", "r");

    while (f && fgets(line, sizeof line, f)) {
        const char *path = strchr(line, '/');
        if (path && strstr(path, ".so") && strcmp(path, last) != 0)
            fputs(strcpy(last, path), stderr);
    }
    if (f)
        fclose(f);
}

int main(int argc, char **argv)
{
    (void)argc;
    setvbuf(stdout, NULL, _IONBF, 0);
    for (char **a = argv + 1; *a; a++) {
        if (strcmp(*a, "open") == 0) {
            open_one(a[1], a[2]);
            a += 2;
        } else if (strcmp(*a, "close") == 0) {
            const int i = atoi(*++a);
            closed[i] = 1; /* another object may come to lie there */
            printf("close: %d\n", dlclose(handles[i]));
        } else if (strcmp(*a, "call") == 0) {
            call(handles[atoi(a[1])], a[2]);
            a += 2;
        } else if (strcmp(*a, "default") == 0) {
            call(RTLD_DEFAULT, *++a);
        } else if (strcmp(*a, "where") == 0) {
            where(handles[atoi(a[1])], a[2]);
            a += 2;
        } else if (strcmp(*a, "origin") == 0) {
            char origin[4096];
            dlinfo(handles[atoi(*++a)], RTLD_DI_ORIGIN, origin);
            printf("origin %s\n", origin);
        } else if (strcmp(*a, "maps") == 0) {
            maps();
        } else if (strcmp(*a, "mapped") == 0) {
            mapped();
        } else if (strcmp(*a, "threads") == 0) {
            paths = a + 1;
            threads();
            break;
        }
    }
    mapped();
    puts("end");
    return 0;
}
