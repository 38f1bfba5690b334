/* A program that loads objects as it is told, and prints everything that it can learn of them. Each argument is a step:
 *
 *   flags=now,global,…   for the opens from here on (lazy, now, global, local, noload, deepbind, nodelete)
 *   open=NAME            dlopen; the handle becomes the current one. The error otherwise.
 *   new=NAME             the same by dlmopen in a name space of its own
 *   close                dlclose of the current one, which is forgotten
 *   call=SYMBOL          the symbol, an int (void), from the current one
 *   where=SYMBOL         dladdr of it: file, name, offset in the file's image
 *   info                 the link map's name, the origin and the search directories of the current one
 *   list                 what dl_iterate_phdr and the link map list; ours left out
 *   chdir=DIRECTORY
 *   thread=SYMBOL        as call, in a thread of its own
 *   die=SIGNAL
 *   again=NAME=VALUE     executes itself again, once, with that in the environment (and the steps that follow)
 *   bare                 executes itself again, once, with no environment at all */
#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void *current;
static void *opened[256];
static int opened_count;
static int flags = RTLD_NOW;

static int flag(const char *name)
{
    static const struct {
        const char *name;
        int value;
    } all[] = {
        {"lazy", RTLD_LAZY},     {"now", RTLD_NOW},           {"global", RTLD_GLOBAL},     {"local", RTLD_LOCAL},
        {"noload", RTLD_NOLOAD}, {"deepbind", RTLD_DEEPBIND}, {"nodelete", RTLD_NODELETE},
    };

    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (strcmp(name, all[i].name) == 0)
            return all[i].value;
    fprintf(stderr, "loaded: no such flag: %s\n", name);
    exit(2);
}

/* The handles are numbered in the order in which they were first seen. */
static void take(const char *how, const char *name, void *handle)
{
    int n = 0;

    current = handle;
    if (!handle) {
        printf("%s %s: %s\n", how, name, dlerror());
        return;
    }
    while (n < opened_count && opened[n] != handle)
        n++;
    if (n == opened_count)
        opened[opened_count++] = handle;
    const struct link_map *map = handle;
    printf("%s %s: #%d %s\n", how, name, n, map->l_name);
}

static void call(const char *name)
{
    int (*const f)(void) = (int (*)(void))(uintptr_t)dlsym(current ? current : RTLD_DEFAULT, name);

    if (f)
        printf("call %s: %d\n", name, f());
    else
        printf("call %s: %s\n", name, dlerror());
}

static void *call_in_thread(void *name)
{
    call(name);
    return NULL;
}

static void where(const char *name)
{
    void *const address = dlsym(current ? current : RTLD_DEFAULT, name);
    struct link_map *map = NULL;
    Dl_info info;

    if (!address || !dladdr1(address, &info, (void **)&map, RTLD_DL_LINKMAP)) {
        printf("where %s: nowhere\n", name);
        return;
    }
    printf("where %s: %s %s at %td, in the link map %s\n", name, info.dli_fname, info.dli_sname ? info.dli_sname : "?",
           (char *)address - (char *)info.dli_fbase, map->l_name);
}

static void tell(void)
{
    struct link_map *map = NULL;
    char origin[4096] = "";
    Dl_serinfo size, *list;
    Lmid_t space = -1;

    if (!current) {
        printf("info: nothing\n");
        return;
    }
    if (dlinfo(current, RTLD_DI_LINKMAP, &map) || dlinfo(current, RTLD_DI_ORIGIN, origin) ||
        dlinfo(current, RTLD_DI_SERINFOSIZE, &size) || dlinfo(current, RTLD_DI_LMID, &space)) {
        printf("info: %s\n", dlerror());
        return;
    }
    /* An auditor has one of its own: the numbers of those that follow are others. */
    printf("info: %s, origin %s, name space %s\n", map->l_name, origin, space == LM_ID_BASE ? "the program's" : "another");
    list = calloc(1, size.dls_size + 16 * 4096);
    if (dlinfo(current, RTLD_DI_SERINFOSIZE, list) || dlinfo(current, RTLD_DI_SERINFO, list))
        printf("info: %s\n", dlerror());
    for (unsigned i = 0; i < list->dls_cnt; i++)
        printf("  %u %s\n", list->dls_serpath[i].dls_flags, list->dls_serpath[i].dls_name);
    free(list);
}

static int ours(const char *name)
{
    return strstr(name, "/lib/libdlcache") != NULL;
}

static int silent, adds, subs;

static int list_one(struct dl_phdr_info *info, size_t size, void *counts)
{
    int *const n = counts;

    if (!silent && !ours(info->dlpi_name)) {
        printf("  %s, %u headers, TLS %s\n", info->dlpi_name, info->dlpi_phnum, info->dlpi_tls_modid ? "yes" : "no");
        n[0]++;
    }
    (void)size;
    n[1] = (int)info->dlpi_adds, n[2] = (int)info->dlpi_subs;
    return 0;
}

static void list(void)
{
    int n[3] = {0}, maps = 0;

    printf("list:\n");
    dl_iterate_phdr(list_one, n);
    for (const struct link_map *m = _r_debug.r_map; m; m = m->l_next)
        maps += !ours(m->l_name);
    printf("  %d objects, %d maps, %d added and %d removed\n", n[0], maps, n[1] - adds, n[2] - subs);
    adds = n[1], subs = n[2];
}

/* The steps from here on, in a new image of this process. */
static void again(char **argv, char **from, char **envp)
{
    char *steps[256] = {argv[0]};

    for (int n = 1; n < 255 && (steps[n] = *from); n++, from++)
        ;
    fflush(stdout);
    execve("/proc/self/exe", steps, envp);
    perror("loaded: execve");
    exit(1);
}

int main(int argc, char **argv, char **envp)
{
    int n[3] = {0};

    (void)argc;
    silent = 1;
    dl_iterate_phdr(list_one, n);
    silent = 0;
    adds = n[1], subs = n[2]; /* ours are among them */
    list();
    for (char **step = argv + 1; *step; step++) {
        char *const value = strchr(*step, '=') ? strchr(*step, '=') + 1 : "";
        const size_t n = strcspn(*step, "=");
#define IS(name) (n == sizeof(name) - 1 && strncmp(*step, name, n) == 0)

        if (IS("flags")) {
            flags = 0;
            for (char *word = strtok(value, ","); word; word = strtok(NULL, ","))
                flags |= flag(word);
        } else if (IS("open")) {
            take("open", value, dlopen(*value ? value : NULL, flags));
        } else if (IS("new")) {
            take("new", value, dlmopen(LM_ID_NEWLM, value, flags));
        } else if (IS("close")) {
            printf("close: %d\n", dlclose(current));
            for (int i = 0; i < opened_count; i++)
                if (opened[i] == current)
                    opened[i] = NULL;
            current = NULL;
        } else if (IS("call")) {
            call(value);
        } else if (IS("thread")) {
            pthread_t t;
            fflush(stdout);
            if (pthread_create(&t, NULL, call_in_thread, value) == 0)
                pthread_join(t, NULL);
        } else if (IS("where")) {
            where(value);
        } else if (IS("info")) {
            tell();
        } else if (IS("list")) {
            list();
        } else if (IS("chdir")) {
            printf("chdir: %d\n", chdir(value));
        } else if (IS("die")) {
            fflush(stdout);
            raise(atoi(value));
        } else if (IS("again")) {
            putenv(value);
            again(argv, step + 1, environ);
        } else if (IS("bare")) {
            again(argv, step + 1, (char *[]){NULL});
        } else {
            fprintf(stderr, "loaded: no such step: %s\n", *step);
            return 2;
        }
    }
    fflush(stdout);
    (void)envp;
    return 0;
}
