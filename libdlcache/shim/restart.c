/* LD_PRELOAD alone does not serve the dynamic loader: its door is LD_AUDIT, which ld.so reads before anything of the
 * program runs. So a program that was preloaded alone is executed once more, before it has begun, with the environment
 * of an attached one. It is the same process; what an execve keeps stays, and what it makes anew it makes the same.
 *
 * Any doubt whether that is so means: not again. Never twice: the audit library is in LD_AUDIT from then on, whatever
 * ld.so made of it. Rules: shim.h; and raw system calls only, for no function is resolved yet. */
#include "restart.h"

#include <sys/auxv.h>
#include <sys/mman.h>

#include "libdlcache/attach.h"
#include "libdlcache/environment.h"
#include "libdlcache/execute.h"
#include "libdlcache/log.h"
#include "libdlcache/sys.h"

/* --- whether ----------------------------------------------------------------------------------------------------- */

/* Looks at the kernel's own copy of the environment, too, between AT_RANDOM and AT_EXECFN: a constructor before ours
 * may have taken the variable out of envp, and would do so again. */
static bool was_restarted(const struct stage *s, char *const *envp)
{
    static const char before[] = "\0LD_AUDIT=";
    const char *at = (const char *)getauxval(AT_RANDOM), *const end = (const char *)getauxval(AT_EXECFN);

    if (execute_names(s, env_value(envp, "LD_AUDIT")) || !at || !end || at > end)
        return true;
    while ((at = memmem(at, (size_t)(end - at), before, sizeof before - 1))) {
        at += sizeof before - 1;
        if (execute_names(s, at))
            return true;
    }
    return false;
}

/* The variables are those that the kernel has, who put them behind the arguments and before AT_EXECFN: a constructor
 * before ours that took one out would miss it the next time. (Not the same pointers: ld.so copies one for itself.) */
static bool is_untouched(int argc, char **argv, char *const *envp)
{
    const char *at = argv[0], *const end = (const char *)getauxval(AT_EXECFN);

    for (int i = 0; i < argc && at < end; i++)
        at += strlen(at) + 1;
    for (; *envp && at < end && strcmp(*envp, at) == 0; envp++)
        at += strlen(at) + 1;
    return !*envp && at == end;
}

static bool is_traced(void)
{
    static const char untraced[] = "\nTracerPid:\t0\n";
    char text[1024];
    const int fd = sys_openat(AT_FDCWD, "/proc/self/status", O_RDONLY | O_CLOEXEC, 0);

    if (fd < 0)
        return true;
    const long n = sys_read(fd, text, sizeof text);
    sys_close(fd);
    return n <= 0 || !memmem(text, (size_t)n, untraced, sizeof untraced - 1);
}

/* Each thread is a directory there. */
static bool has_threads(void)
{
    struct stat st;
    return sys_fstatat(AT_FDCWD, "/proc/self/task", &st, 0) != 0 || st.st_nlink != 3;
}

/* Their runtimes want to be the first library, or execute the program anew themselves. */
extern void __asan_init(void) __attribute__((weak));
extern void __hwasan_init(void) __attribute__((weak));
extern void __lsan_init(void) __attribute__((weak));
extern void __msan_init(void) __attribute__((weak));
extern void __tsan_init(void) __attribute__((weak));

static bool is_sanitized(void)
{
    return __asan_init || __hwasan_init || __lsan_init || __msan_init || __tsan_init;
}

/* NULL: nothing speaks against it. */
static const char *objection(int argc, char **argv, char *const *envp)
{
    const char *preload = env_value(envp, "LD_PRELOAD");
    const char *path = (const char *)getauxval(AT_EXECFN);

    if (getauxval(AT_SECURE))
        return "it has more rights than its caller";
    if (!getauxval(AT_BASE))
        return "it was started through ld.so";
    if (strstr(preload, "/vgpreload_"))
        return "it runs under valgrind";
    if (is_sanitized())
        return "it has a sanitizer";
    if (strncmp(path, "/dev/fd/", 8) == 0)
        return "it was executed by a descriptor";
    if (!argc || !is_untouched(argc, argv, envp))
        return "its environment was changed already";
    if (is_traced())
        return "it is traced";
    if (has_threads())
        return "it has threads already";
    return NULL;
}

/* --- how --------------------------------------------------------------------------------------------------------- */

enum { MORE = 4 + 1 + 1 }; /* variables: those of an environment that attaches, execute_held's, and NULL */

/* Of pages of its own: the stack may be a small one. */
struct room {
    struct environment attached;
    struct execution execution;
    char file[EXECUTE_PATH];
    const char *list[];
};

/* "NAME=…" of the environment of an attached program, in the stead of `var`; or NULL. What is preloaded stays as it
 * is. */
static const char *in_stead_of(const struct environment *env, const char *var)
{
    static const char *const names[] = {"LD_AUDIT=", "GLIBC_TUNABLES="};

    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        for (unsigned v = 0; strncmp(var, names[i], strlen(names[i])) == 0 && v < env->count; v++)
            if (strncmp(env->vars[v], names[i], strlen(names[i])) == 0)
                return env->vars[v];
    return NULL;
}

/* envp, and what attaches: at most all of envp, env->count, and NULL. At the end, as D/run. */
static void put_environment(const char **out, const struct environment *env, char *const *envp)
{
    for (char *const *var = envp; *var; var++) {
        const char *other = in_stead_of(env, *var);
        *out++ = other ? other : *var;
    }
    for (unsigned v = 0; v < env->count; v++) {
        bool there = false;
        for (char *const *var = envp; *var && !there; var++)
            there = in_stead_of(env, *var) == env->vars[v];
        if (!there && in_stead_of(env, env->vars[v]))
            *out++ = env->vars[v];
    }
    *out = NULL;
}

/* From the stage, where it is held. Comes back where that fails. `in_front`: as execute_in_front. */
static void execute_held(const struct stage *s, const char *path, int in_front, char **argv, struct room *r,
                         const char **env)
{
    struct execution *x = &r->execution;

    if (execute_plan(s, path, strlen(path), x, r->file, sizeof r->file) != 0 ||
        in_front != (x->script ? 1 + (x->argument != NULL) : 0))
        return;
    size_t n = 0;
    while (env[n])
        n++;
    if (x->told) {
        env[n] = x->comm;
        env[n + 1] = NULL;
    }
    /* A script's arguments are those of the interpreter already. */
    sys_call(__NR_execve, x->file, argv, env, 0);
    env[n] = NULL;
}

static const char *execute_anew(const struct stage *s, int argc, char **argv, char **envp, struct room *r)
{
    const char *path = (const char *)getauxval(AT_EXECFN);
    const char **env = r->list;
    const int in_front = execute_in_front(path, argc, argv, &r->execution);

    if (in_front < 0)
        return "it is not what was executed";
    if (environment_attach(&r->attached, s, envp) != 0)
        return "its environment is too long";
    put_environment(env, &r->attached, envp);
    execute_held(s, path, in_front, argv, r, env);
    sys_call(__NR_execve, path, argv + in_front, env, 0);
    return "it cannot be executed any more";
}

void restart(const struct stage *s, const struct settings *set, int argc, char **argv, char **envp)
{
    if (!set->audit || s->view.state->audit != DLC_AUDIT_OK || !execute_names(s, env_value(envp, "LD_PRELOAD")) ||
        was_restarted(s, envp))
        return;
    const char *why = objection(argc, argv, envp);
    if (!why) {
        size_t vars = 0;
        while (envp[vars])
            vars++;
        const size_t bytes = sizeof(struct room) + (vars + MORE) * sizeof(char *);
        struct room *r = sys_mmap(bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        why = r ? execute_anew(s, argc, argv, envp, r) : "there is no memory";
        if (r)
            sys_munmap(r, bytes);
    }
    if (set->log)
        log_line((const char *const[]){"libraries are not served, with LD_PRELOAD alone: the program is not started "
                                       "again, for ", why, NULL});
}
