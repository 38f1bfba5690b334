/* Environments of attached programs. No heap, no libc. */
#include "environment.h"

#include <errno.h>

#include "attach.h"
#include "sys.h"

#define TUNABLE "glibc.rtld.optional_static_tls"
#define LINK_ORDER "verify_asan_link_order"

static void put(struct environment *env, const char *text, size_t n)
{
    if (env->used + n < sizeof env->text)
        __builtin_memcpy(env->text + env->used, text, n);
    env->used += n; /* past the end: what did not fit shows at the end */
}

static void put_text(struct environment *env, const char *text)
{
    put(env, text, dlc_strlen(text));
}

static void put_number(struct environment *env, uint64_t n)
{
    char digits[24];
    size_t d = sizeof digits;

    do
        digits[--d] = (char)('0' + n % 10);
    while (n /= 10);
    put(env, digits + d, sizeof digits - d);
}

static void begin(struct environment *env, const char *name)
{
    env->vars[env->count++] = env->text + (env->used < sizeof env->text ? env->used : 0);
    put_text(env, name);
    put(env, "=", 1);
}

static void end(struct environment *env)
{
    put(env, "", 1);
}

static size_t length_of_directory(const char *path, size_t n)
{
    while (n && path[n - 1] != '/')
        n--;
    return n;
}

/* The elements of `list` but for those of the same file name as the n bytes at `item`: two of our libraries in one
 * program would both note, and both serve. */
static void put_others(struct environment *env, const char *list, const char *separators, const char *item, size_t n)
{
    const size_t dir = length_of_directory(item, n);

    while (list && *list) {
        size_t len = 0;
        while (list[len] && !__builtin_memchr(separators, list[len], dlc_strlen(separators)))
            len++;
        const size_t d = length_of_directory(list, len);
        if (len && !(len - d == n - dir && dlc_same(list + d, item + dir, n - dir))) {
            put(env, ":", 1);
            put(env, list, len);
        }
        list += len;
        if (*list)
            list++;
    }
}

/* NAME=ours:whatever is in the list already */
static void put_library(struct environment *env, const char *name, const char *separators, const struct stage *s,
                        const char *library, char *const *envp)
{
    char path[sizeof s->dir + 64];
    size_t n = s->dir_len;

    __builtin_memcpy(path, s->dir, n);
    path[n++] = '/';
    const size_t len = dlc_strlen(library);
    __builtin_memcpy(path + n, library, len);
    n += len;
    begin(env, name);
    put(env, path, n);
    put_others(env, env_value(envp, name), separators, path, n);
    end(env);
}

static int contains(const char *text, const char *word)
{
    const size_t n = dlc_strlen(word);

    for (size_t len = text ? dlc_strlen(text) : 0; len >= n; text++, len--)
        if (dlc_same(text, word, n))
            return 1;
    return 0;
}

/* NAME=the list, with an option that it does not have yet before it */
static void put_option(struct environment *env, const char *name, const char *option, uint64_t value, char *const *envp)
{
    const char *list = env_value(envp, name);

    if (contains(list, option))
        return;
    begin(env, name);
    put_text(env, option);
    put(env, "=", 1);
    put_number(env, value);
    if (list && *list) {
        put(env, ":", 1);
        put_text(env, list);
    }
    end(env);
}

int environment_attach(struct environment *env, const struct stage *s, char *const *envp)
{
    const char *audit = env_value(envp, "DLCACHE_AUDIT");
    const int audit_off = audit && dlc_strlen(audit) == 3 && dlc_same(audit, "off", 3);

    env->count = 0;
    env->used = 0;
    begin(env, "DLCACHE_STAGE");
    put(env, s->dir, s->dir_len);
    end(env);
    put_library(env, "LD_PRELOAD", ": ", s, STAGE_LIB, envp);
    put_option(env, "ASAN_OPTIONS", LINK_ORDER, 0, envp);
    if (audit_off || s->view.state->audit == DLC_AUDIT_BAD)
        return env->used <= sizeof env->text ? 0 : -E2BIG;
    put_library(env, "LD_AUDIT", ":", s, STAGE_AUDIT, envp);
    /* An auditor shrinks the static TLS that is left for libraries of the initial-exec model. */
    if (s->view.state->tls_size)
        put_option(env, "GLIBC_TUNABLES", TUNABLE, s->view.state->tls_size, envp);
    return env->used <= sizeof env->text ? 0 : -E2BIG;
}

int environment_has(const struct environment *env, const char *var)
{
    for (unsigned i = 0; i < env->count; i++) {
        const char *a = env->vars[i];
        const char *b = var;
        while (*a == *b && *a != '=' && *a)
            a++, b++;
        if (*a == '=' && *b == '=')
            return 1;
    }
    return 0;
}
