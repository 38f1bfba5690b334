/* Static TLS for what a program needs from its start. Rules: audit.h.
 *
 * Without an auditor ld.so sets aside what all of these objects want. With one it has to do that before it knows them,
 * and goes by glibc.rtld.optional_static_tls in GLIBC_TUNABLES alone: a library that wants more (ThreadSanitizer's
 * runtime: 750 KiB) ends the program, with a message, before it has begun. Where that would happen the program is
 * executed once more, with as much as it wants. The number grows each time, so that there is an end; and where the
 * program cannot be executed as it was, it goes on: ld.so says what is missing. */
#include <errno.h>

#include "audit.h"
#include "libdlcache/execute.h"
#include "libdlcache/sys.h"

#define VARIABLE "GLIBC_TUNABLES="
#define TUNABLE "glibc.rtld.optional_static_tls="
/* For what is opened later. */
#define MORE 16384u

static struct {
    int argc;
    char **argv, **envp;
    const char *path; /* what the kernel was given; NULL: it is not executed again */
    uint64_t given, wanted;
} start;

static bool begins(const char *text, const char *with, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (text[i] != with[i])
            return false;
    return true;
}

static size_t option_length(const char *p)
{
    size_t n = 0;

    while (p[n] && p[n] != ':')
        n++;
    return n;
}

/* The value that ld.so takes: the last one. */
static uint64_t value_of(const char *list)
{
    uint64_t value = 0;

    while (list && *list) {
        const size_t n = option_length(list);
        if (begins(list, TUNABLE, sizeof TUNABLE - 1)) {
            value = 0;
            for (const char *p = list + sizeof TUNABLE - 1; *p >= '0' && *p <= '9' && value < 1u << 30; p++)
                value = value * 10 + (uint64_t)(*p - '0');
        }
        list += n + (list[n] == ':');
    }
    return value;
}

void tls_start(int argc, char **argv, char **envp)
{
    bool secure = true, started = false;
    char **end = envp;

    while (*end)
        end++;
    start.argc = argc;
    start.argv = argv;
    start.envp = envp;
    start.given = value_of(env_value(envp, "GLIBC_TUNABLES"));
    for (const ElfW(auxv_t) *aux = (const void *)(end + 1); aux->a_type != AT_NULL; aux++) {
        if (aux->a_type == AT_SECURE)
            secure = aux->a_un.a_val != 0;
        if (aux->a_type == AT_BASE)
            started = aux->a_un.a_val != 0; /* otherwise by ld.so's own hand */
        if (aux->a_type == AT_EXECFN)
            start.path = (const char *)aux->a_un.a_val;
    }
    if (secure || !started)
        start.path = NULL;
}

/* A system call of which the kernel reads the argument first tells whether it can be read. */
static bool is_readable(const void *p)
{
    return sys_call(__NR_rt_sigprocmask, -1, p, NULL, 8) != -EFAULT;
}

static bool is_static(const struct link_map *map)
{
    for (const ElfW(Dyn) *dyn = map->l_ld; dyn && dyn->d_tag != DT_NULL; dyn++)
        if (dyn->d_tag == DT_FLAGS)
            return dyn->d_un.d_val & DF_STATIC_TLS;
    return false;
}

static uint64_t size_of(const struct link_map *map)
{
    const ElfW(Ehdr) *eh = (const void *)map->l_addr;

    if (!is_readable(eh) || !dlc_same((const char *)eh->e_ident, ELFMAG, SELFMAG))
        return 0;
    const ElfW(Phdr) *ph = (const void *)(map->l_addr + eh->e_phoff);
    for (unsigned i = 0; i < eh->e_phnum; i++)
        if (ph[i].p_type == PT_TLS)
            return ph[i].p_memsz + ph[i].p_align;
    return 0;
}

/* GLIBC_TUNABLES=…, the old list with that number at its end; NULL: no memory. */
static char *new_tunables(uint64_t value)
{
    const char *list = env_value(start.envp, "GLIBC_TUNABLES");
    char digits[24];
    size_t d = sizeof digits;
    char *text = arena_take(sizeof VARIABLE + sizeof TUNABLE + sizeof digits + (list ? dlc_strlen(list) : 0));
    char *to = text;

    if (!text)
        return NULL;
    __builtin_memcpy(to, VARIABLE, sizeof VARIABLE - 1);
    to += sizeof VARIABLE - 1;
    while (list && *list) {
        const size_t n = option_length(list);
        if (n && !begins(list, TUNABLE, sizeof TUNABLE - 1)) {
            __builtin_memcpy(to, list, n);
            to += n;
            *to++ = ':';
        }
        list += n + (list[n] == ':');
    }
    __builtin_memcpy(to, TUNABLE, sizeof TUNABLE - 1);
    to += sizeof TUNABLE - 1;
    digits[--d] = '\0';
    do
        digits[--d] = (char)('0' + value % 10);
    while (value /= 10);
    __builtin_memcpy(to, digits + d, sizeof digits - d);
    return text;
}

/* Comes back where that fails. */
static void execute_again(void)
{
    static struct execution execution DLC_LARGE;
    size_t count = 0;

    while (start.envp[count])
        count++;
    const char **env = arena_take((count + 2) * sizeof *env), **to = env;
    char *tunables = new_tunables(start.wanted + MORE);
    const int in_front = start.path ? execute_in_front(start.path, start.argc, start.argv, &execution) : -1;
    if (!env || !tunables || in_front < 0)
        return;
    *to++ = tunables; /* before the others: one of them may have to be the last (execute.h) */
    for (char **var = start.envp; *var; var++)
        if (!begins(*var, VARIABLE, sizeof VARIABLE - 1))
            *to++ = *var;
    *to = NULL;
    sys_call(__NR_execve, start.path, start.argv + in_front, env, 0);
}

void tls_needed(const struct link_map *map)
{
    if (!is_static(map))
        return;
    start.wanted += size_of(map);
    if (start.wanted > start.given)
        execute_again();
}
