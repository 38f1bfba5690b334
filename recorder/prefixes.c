#include "prefixes.h"

#include <string.h>
#include <sys/stat.h>

#include "facts/memory.h"

static bool is_home(const char *path)
{
    const char *home = getenv("HOME");
    char *resolved = home ? realpath(home, NULL) : NULL;
    const bool same = resolved && strcmp(path, resolved) == 0;

    free(resolved);
    return same;
}

/* A home directory on a search path does not make everything in it software. */
static void add_dir(struct policy *p, const char *dir)
{
    char *resolved = dir[0] == '/' ? realpath(dir, NULL) : NULL;

    if (resolved)
        policy_add_prefix(p, resolved, is_home(resolved));
    free(resolved);
}

static char *parent_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash && slash > path ? memory_bytes(path, (size_t)(slash - path)) : memory_text("/");
}

static const char *last_of(const char *path)
{
    return strrchr(path, '/') + 1;
}

static bool holds(const char *dir, const char *name)
{
    char *path = memory_join(dir, name, strlen(name));
    struct stat st;
    const bool there = stat(path, &st) == 0 && S_ISDIR(st.st_mode);

    free(path);
    return there;
}

/* A bin directory stands for the prefix that it belongs to, when there are libraries in that as well. */
static void add_bin(struct policy *p, const char *dir)
{
    char *resolved = dir[0] == '/' ? realpath(dir, NULL) : NULL;

    if (!resolved)
        return;
    const char *name = last_of(resolved);
    if (strcmp(name, "bin") == 0 || strcmp(name, "sbin") == 0) {
        char *prefix = parent_of(resolved);
        if (holds(prefix, "lib") || holds(prefix, "lib64"))
            policy_add_prefix(p, prefix, is_home(prefix));
        free(prefix);
    }
    policy_add_prefix(p, resolved, is_home(resolved));
    free(resolved);
}

static const char *value_of(char *const *envp, const char *name)
{
    const size_t n = strlen(name);

    for (; envp && *envp; envp++)
        if (strncmp(*envp, name, n) == 0 && (*envp)[n] == '=')
            return *envp + n + 1;
    return NULL;
}

static void each(struct policy *p, const char *list, void (*add)(struct policy *, const char *))
{
    while (list && *list) {
        const size_t n = strcspn(list, ":;");
        char *dir = memory_bytes(list, n);
        add(p, dir);
        free(dir);
        list += n + (list[n] != '\0');
    }
}

void prefixes_from_environment(struct policy *p, char *const *envp)
{
    static const char *const dirs[] = {"VIRTUAL_ENV", "CONDA_PREFIX", "PYTHONHOME", "PYTHONPATH", "LD_LIBRARY_PATH"};

    for (size_t i = 0; i < sizeof dirs / sizeof *dirs; i++)
        each(p, value_of(envp, dirs[i]), add_dir);
    each(p, value_of(envp, "PATH"), add_bin);
}

void prefixes_from_program(struct policy *p, const char *program)
{
    char *dir = parent_of(program);
    const char *name = last_of(dir);

    /* A program that lies anywhere else, beside its input perhaps, says nothing about its directory. */
    if (strcmp(name, "bin") == 0 || strcmp(name, "sbin") == 0)
        add_bin(p, dir);
    else
        policy_add_prefix(p, dir, true);
    free(dir);
}

void prefixes_from_object(struct policy *p, const char *object)
{
    char *dir = parent_of(object);
    policy_add_prefix(p, dir, is_home(dir));
    free(dir);
}

void prefixes_from_search(struct policy *p, const char *path)
{
    char *dir = parent_of(path);
    policy_add_prefix(p, dir, true);
    free(dir);
}

/* `site` is a site-packages directory. */
static void add_site(struct policy *p, char *site)
{
    char *lib = parent_of(site);

    if (strncmp(last_of(lib), "python", 6) == 0) {
        char *above = parent_of(lib);
        free(lib);
        lib = above;
    }
    if (strcmp(last_of(lib), "lib") == 0 || strcmp(last_of(lib), "lib64") == 0) {
        char *prefix = parent_of(lib);
        policy_add_prefix(p, prefix, is_home(prefix));
        free(prefix);
    }
    policy_add_prefix(p, site, false);
    free(lib);
    free(site);
}

void prefixes_from_module(struct policy *p, const char *module)
{
    char *dir = parent_of(module);

    if (strcmp(last_of(dir), "__pycache__") == 0) {
        char *above = parent_of(dir);
        free(dir);
        dir = above;
    }
    policy_add_prefix(p, dir, true);
    free(dir);
    for (const char *s = module; (s = strchr(s, '/')); s++)
        if (strncmp(s, "/site-packages/", 15) == 0 || strncmp(s, "/dist-packages/", 15) == 0)
            add_site(p, memory_bytes(module, (size_t)(s - module) + 14));
}
