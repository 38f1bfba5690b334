#include "replayer/attach/locate.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "facts/memory.h"

static const char *from = "/proc/self/exe";

void locate_from(const char *file)
{
    from = file;
}

char *locate(const char *name)
{
    /* From PREFIX/bin, PREFIX/libexec/dlcache and PREFIX/lib/dlcache, or all in one build folder. */
    static const char *const places[] = {"", "../lib/dlcache/", "../libexec/dlcache/", "../../lib/dlcache/",
                                         "../../libexec/dlcache/"};
    char *exe = realpath(from, NULL), *found = NULL;

    if (!exe)
        return NULL;
    const size_t dir = (size_t)(strrchr(exe, '/') + 1 - exe);
    for (size_t i = 0; i < sizeof places / sizeof *places && !found; i++) {
        char *path = memory_check(malloc(dir + strlen(places[i]) + strlen(name) + 1));
        sprintf(path, "%.*s%s%s", (int)dir, exe, places[i], name);
        if (access(path, R_OK) == 0)
            found = realpath(path, NULL);
        free(path);
    }
    free(exe);
    return found;
}
