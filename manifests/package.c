#include "manifests/package.h"

#include <stdbool.h>
#include <string.h>

static const char *after_component(const char *path, const char *end, const char *component)
{
    const size_t n = strlen(component);

    for (const char *p = path; p + n + 2 < end; p++)
        if (*p == '/' && memcmp(p + 1, component, n) == 0 && p[n + 1] == '/')
            return p + n + 2;
    return NULL;
}

static bool ends_with(const char *text, size_t len, const char *end)
{
    const size_t n = strlen(end);

    return len > n && memcmp(text + len - n, end, n) == 0;
}

/* A module that is a file: what is imported is called as the file up to its first dot. */
static size_t module_length(const char *file, size_t len)
{
    const char *dot = memchr(file, '.', len);

    return dot > file && (ends_with(file, len, ".py") || ends_with(file, len, ".pyc") || ends_with(file, len, ".so"))
               ? (size_t)(dot - file)
               : len;
}

const char *manifest_package(const char *path, size_t *len)
{
    static const char *const roots[] = {"site-packages", "dist-packages", "lib-dynload"};
    const char *end = path + strlen(path), *name = NULL;

    for (size_t i = 0; i < sizeof roots / sizeof *roots && !name; i++)
        name = after_component(path, end, roots[i]);
    if (!name) {
        /* …/python3.11/… */
        for (const char *p = strstr(path, "/python3."); p && !name; p = strstr(p + 1, "/python3.")) {
            const char *q = p + 9;
            while (*q >= '0' && *q <= '9')
                q++;
            if (*q == '/' && q[1])
                name = q + 1;
        }
    }
    if (name) {
        static const char cache[] = "__pycache__/";
        if (strncmp(name, cache, sizeof cache - 1) == 0 && name[sizeof cache - 1])
            name += sizeof cache - 1;
        *len = strcspn(name, "/");
        if (!name[*len])
            *len = module_length(name, *len);
        return name;
    }
    const char *slash = strrchr(path, '/');
    *len = slash == path ? 1 : (size_t)(slash - path);
    return path;
}
