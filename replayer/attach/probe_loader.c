/* How the node's dynamic loader searches: what it says itself with LD_DEBUG=libs of a library that is nowhere. */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/wait.h>
#include <unistd.h>

#include "facts/memory.h"
#include "libdlcache/build_id.h"
#include "replayer/attach/probe.h"

#define NOWHERE "libdlcache-is-nowhere.so"
/* Three directories, of which none need be there: what comes after the last slash of each tells something. */
#define PLAIN "/plain"
#define LIB "/lib-is/"
#define PLATFORM "/platform-is/"

/* Appends a string to the text. */
static bool put(struct dlc_loader *l, const char *s, size_t n)
{
    if (n + 1 > sizeof l->text - l->text_len)
        return false;
    memcpy(l->text + l->text_len, s, n);
    l->text_len += (uint32_t)n + 1;
    return true;
}

/* The next element of a list of directories, that ends before `end`. */
static bool next(const char **list, const char *end, const char **dir, size_t *n)
{
    if (*list >= end)
        return false;
    const char *colon = memchr(*list, ':', (size_t)(end - *list));
    *dir = *list;
    *n = (size_t)((colon ? colon : end) - *list);
    *list = colon ? colon + 1 : end;
    return true;
}

/* The list "search path=…" that is said to be of `kind`, in the text at `from`. */
static const char *list_of(const char *from, const char *kind, const char **end)
{
    static const char begin[] = "search path=";

    for (const char *p = from; (p = strstr(p, begin));) {
        p += sizeof begin - 1;
        const char *line = strchr(p, '\n'), *tabs = strstr(p, "\t\t(");
        if (line && tabs && tabs < line && strncmp(tabs + 3, kind, strlen(kind)) == 0) {
            *end = tabs;
            return p;
        }
    }
    return NULL;
}

static bool begins(const char *dir, size_t n, const char *top, const char *with)
{
    const size_t a = strlen(top), b = strlen(with);
    return n >= a + b && memcmp(dir, top, a) == 0 && memcmp(dir + a, with, b) == 0;
}

/* What stands for the token of the last directories of LD_LIBRARY_PATH: they come once for each subdirectory, and then
 * themselves. None: ld.so has nothing for it. */
static bool put_token(struct dlc_loader *l, const char *list, const char *end, const char *top, const char *with)
{
    const size_t skip = strlen(top) + strlen(with);
    const char *dir, *last = NULL;
    size_t n, last_n = 0;
    uint32_t count = 0;

    while (next(&list, end, &dir, &n))
        if (begins(dir, n, top, with)) {
            last = dir + skip;
            last_n = n - skip;
            count++;
        }
    return (count == 0 || count == l->subdirs + 1) && put(l, last ? last : "", last_n);
}

/* Each subdirectory of the plain directory; it ends the list. */
static bool put_subdirs(struct dlc_loader *l, const char *list, const char *end, const char *top)
{
    const size_t skip = strlen(top) + strlen(PLAIN "/");
    const char *dir;
    size_t n;

    while (next(&list, end, &dir, &n) && begins(dir, n, top, PLAIN)) {
        if (n + 1 == skip)
            return true;
        if (n <= skip || dir[skip - 1] != '/' || !put(l, dir + skip, n - skip))
            return false;
    }
    return false;
}

static uint32_t count_subdirs(const char *list, const char *end, const char *top)
{
    const char *dir;
    size_t n;
    uint32_t count = 0;

    while (next(&list, end, &dir, &n) && begins(dir, n, top, PLAIN "/"))
        count++;
    return count;
}

/* A default directory comes after its subdirectories. */
static bool put_defaults(struct dlc_loader *l, const char *list, const char *end)
{
    const char *dir;
    size_t n;

    for (uint32_t i = 0; next(&list, end, &dir, &n); i++) {
        if (n == 0 || dir[0] != '/')
            return false;
        if (i % (l->subdirs + 1) != l->subdirs)
            continue;
        if (!put(l, dir, n))
            return false;
        l->defaults++;
    }
    return l->defaults > 0;
}

static bool understand(struct dlc_loader *l, const char *said, const char *top)
{
    static const char cache_is[] = "search cache=";
    const char *p = strstr(said, "find library=" NOWHERE), *end, *defaults_end;
    const char *list = p ? list_of(p, "LD_LIBRARY_PATH)", &end) : NULL;
    const char *cache = list ? strstr(end, cache_is) : NULL;
    const char *defaults = cache ? list_of(cache, "system search path)", &defaults_end) : NULL;

    if (!defaults)
        return false;
    cache += sizeof cache_is - 1;
    l->subdirs = count_subdirs(list, end, top);
    return l->subdirs <= DLC_LOADER_SUBDIRS && cache[0] == '/' && put(l, cache, strcspn(cache, "\n")) &&
           put_token(l, list, end, top, LIB) && put_token(l, list, end, top, PLATFORM) &&
           put_subdirs(l, list, end, top) && put_defaults(l, defaults, defaults_end);
}

/* What the child's ld.so says, into one text; NULL where it says nothing. */
static char *listen(const char *top, const char *argument)
{
    char *argv[] = {(char *)"dlcache", (char *)(uintptr_t)argument, NULL};
    char *path = NULL, *out = NULL;
    pid_t pid;
    int status;

    const char *own = getenv("LD_LIBRARY_PATH"); /* this program may need it */
    if (asprintf(&path, "LD_LIBRARY_PATH=%s" PLAIN ":%s" LIB "$LIB:%s" PLATFORM "$PLATFORM%s%s", top, top, top,
                 own ? ":" : "", own ? own : "") < 0 ||
        asprintf(&out, "LD_DEBUG_OUTPUT=%s", top) < 0)
        memory_check(NULL);
    char *envp[] = {(char *)"LD_DEBUG=libs", (char *)"LD_PRELOAD=" NOWHERE, path, out, NULL};
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
    posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
    char *said = NULL;
    if (posix_spawn(&pid, "/proc/self/exe", &actions, NULL, argv, envp) == 0) {
        while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
            ;
        char *file;
        if (asprintf(&file, "%s.%d", top, (int)pid) < 0)
            memory_check(NULL);
        const int fd = open(file, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        if (fd >= 0) {
            /* The first library is the one that is nowhere; each place that is tried for it is a line. */
            const size_t most = 32 << 20;
            said = memory_new(1, most + 1);
            const ssize_t n = read(fd, said, most);
            said[n > 0 ? n : 0] = '\0';
            close(fd);
        }
        unlink(file);
        free(file);
    }
    posix_spawn_file_actions_destroy(&actions);
    free(path);
    free(out);
    return said;
}

void probe_loader(struct dlc_loader *loader, const char *scratch, const char *argument)
{
    struct dlc_loader l = {0};
    char *top = memory_join(scratch, "loader", 6);

    /* No path that ld.so would take apart; and who started ld.so by hand may have another one. */
    l.id_len = build_id((const void *)getauxval(AT_BASE), l.id, sizeof l.id);
    if (l.id_len && !strpbrk(top, ":;$ \t\n")) {
        char *said = listen(top, argument);
        if (said && understand(&l, said, top))
            *loader = l;
        free(said);
    }
    free(top);
}
