/* The exec family. Rules: shim.h.
 *
 * A program or script whose file is held is executed from the stage, as far as the child will be attached; the child
 * itself puts right what would tell (init.c).
 *
 * A child inherits the attachment by its environment, which stays as the program made it. Only where the libraries that
 * it names could not be loaded (the stage was removed; the child is another user, or has another root), they are taken
 * out: ld.so would complain of each in every child. */
#include <stdarg.h>

#include "libdlcache/execute.h"
#include "libdlcache/sys.h"
#include "shim.h"

#define LIST_MAX 1024 /* of the stack, which may be a small one: a longer list stays as it is */

struct lists {
    char preload[LIST_MAX], audit[LIST_MAX];
};

static bool starts(const char *text, const char *with)
{
    while (*with && *text == *with)
        text++, with++;
    return !*with;
}

/* The stage's libraries can be loaded by whoever is executed now. */
static bool libraries_there(void)
{
    const struct stage *s = &shim.stage;
    char path[sizeof s->dir + 64];

    __builtin_memcpy(path, s->dir, s->dir_len);
    __builtin_memcpy(path + s->dir_len, "/" STAGE_LIB, sizeof "/" STAGE_LIB);
    /* With the effective ids, as exec has them; without faccessat2 (Linux 5.8) by opening. */
    const int fd = sys_openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
    if (fd >= 0)
        sys_close(fd);
    return fd >= 0;
}

/* "NAME=" and the elements of the list that do not lie in the stage. False: it does not fit. */
static bool put_without(char out[LIST_MAX], const char *var, const char *separators)
{
    const struct stage *s = &shim.stage;
    size_t n = 0;

    do
        out[n++] = *var;
    while (*var++ != '=');
    const size_t head = n;
    while (*var) {
        const size_t len = strcspn(var, separators);
        const bool ours = len > s->dir_len && dlc_same(var, s->dir, s->dir_len) && var[s->dir_len] == '/';
        if (len && !ours) {
            if (n + len + 2 > LIST_MAX)
                return false;
            if (n > head)
                out[n++] = ':';
            __builtin_memcpy(out + n, var, len);
            n += len;
        }
        var += len + (var[len] != '\0');
    }
    out[n] = '\0';
    return true;
}

static size_t count(char *const *list)
{
    size_t n = 0;
    while (list && list[n])
        n++;
    return n;
}

/* The environment to execute with, in `room` (of count(envp) + 1 pointers). */
static char *const *without_stage(char *const *envp, char **room, struct lists *l)
{
    size_t n = 0;

    for (; *envp; envp++) {
        char *var = *envp;
        if (starts(var, "LD_PRELOAD=") && put_without(l->preload, var, ": "))
            var = l->preload;
        else if (starts(var, "LD_AUDIT=") && put_without(l->audit, var, ":"))
            var = l->audit;
        room[n++] = var;
    }
    room[n] = NULL;
    return room;
}

/* Most often it is the caller's, untouched. Memory of the stack, as long as the caller's frame: a macro. */
#define ENVIRONMENT(name, envp)                                                   \
    char *const *name = (envp);                                                   \
    struct lists name##_lists;                                                    \
    const bool name##_filter = shim.serving && name && !libraries_there();        \
    char *name##_room[name##_filter ? count(name) + 1 : 1];                       \
    if (name##_filter)                                                            \
        name = without_stage(name, name##_room, &name##_lists)

/* --- from the stage --------------------------------------------------------------------------------------------- */

/* Either of two ways to start a program. */
struct start {
    pid_t *pid; /* NULL: in this process's stead */
    const posix_spawn_file_actions_t *actions;
    const posix_spawnattr_t *attributes;
};

static int start(const struct start *how, const char *file, char *const argv[], char *const envp[])
{
    if (how->pid)
        return REAL(posix_spawn)(how->pid, file, how->actions, how->attributes, argv, envp);
    return REAL(execve)(file, argv, envp);
}

/* The program itself says that it runs; one that is statically linked cannot. */
static void note_program(const char *path)
{
    if (shim_strlen(path) > 0 && sys_call(__NR_faccessat, AT_FDCWD, path, X_OK, 0) == 0)
        shim_note(SPOOL_EXEC, false, AT_FDCWD, path);
}

/* Starts what is held of that path. SHIM_PASS where it has to be started natively; otherwise as posix_spawn: 0. */
static __attribute__((noinline)) int start_held(const struct start *how, const char *path, char *const argv[],
                                                char *const envp[])
{
    struct execution x;
    const long len = shim_strlen(path);

    if (shim.recording)
        note_program(path);
    /* Where a spawned child will be, its file actions may say. */
    if (!shim.serving || shim.left || len <= 0 || (path[0] != '/' && how->actions) || !argv || !argv[0] || !envp)
        return SHIM_PASS;
    if (execute_plan(&shim.stage, path, (size_t)len, &x) != 0 || !execute_attaches(&shim.stage, envp))
        return SHIM_PASS;
    int rc;
    if (!x.told) {
        rc = start(how, x.file, argv, envp);
    } else {
        const char *args[count(argv) + 1 + EXECUTE_ARGUMENTS], *vars[count(envp) + 2];
        execute_vectors(&x, path, argv, envp, args, vars);
        rc = start(how, x.file, (char *const *)(uintptr_t)args, (char *const *)(uintptr_t)vars);
    }
    return how->pid && rc == 0 ? 0 : SHIM_PASS; /* whatever failed fails natively, too, or does not */
}

/* As execvpe(3) and posix_spawnp(3), as long as the index knows where on the PATH there is nothing. */
static __attribute__((noinline)) int search_held(const struct start *how, const char *file, char *const argv[],
                                                 char *const envp[])
{
    const char *path = NULL;
    const long len = shim_strlen(file);
    char candidate[4096];

    if (len > 0 && strchr(file, '/'))
        return start_held(how, file, argv, envp);
    if (!shim.serving || shim.left || len <= 0)
        return SHIM_PASS;
    for (char **var = environ; var && *var && !path; var++)
        if (starts(*var, "PATH="))
            path = *var + 5;
    for (; path && *path == '/'; path++) {
        const size_t n = strcspn(path, ":");
        struct found found;
        if (n + 1 + (size_t)len >= sizeof candidate)
            return SHIM_PASS;
        __builtin_memcpy(candidate, path, n);
        candidate[n] = '/';
        __builtin_memcpy(candidate + n + 1, file, (size_t)len + 1);
        switch (shim_ask(AT_FDCWD, candidate, 0, &found)) {
        case VERDICT_ABSENT:
        case VERDICT_NOTDIR: break;
        case VERDICT_FILE: return start_held(how, candidate, argv, envp);
        default: return SHIM_PASS;
        }
        path += n;
        if (*path != ':')
            break;
    }
    return SHIM_PASS;
}

static const struct start here = {NULL, NULL, NULL};

/* --- the family -------------------------------------------------------------------------------------------------- */

int execve(const char *path, char *const argv[], char *const envp[])
{
    ENVIRONMENT(env, envp);
    start_held(&here, path, argv, env);
    return REAL(execve)(shim_original(path), argv, env);
}

int execv(const char *path, char *const argv[])
{
    ENVIRONMENT(env, environ);
    start_held(&here, path, argv, env);
    return REAL(execve)(shim_original(path), argv, env);
}

int execvp(const char *file, char *const argv[])
{
    ENVIRONMENT(env, environ);
    search_held(&here, file, argv, env);
    return REAL(execvpe)(shim_original(file), argv, env);
}

int execvpe(const char *file, char *const argv[], char *const envp[])
{
    ENVIRONMENT(env, envp);
    search_held(&here, file, argv, env);
    return REAL(execvpe)(shim_original(file), argv, env);
}

int fexecve(int fd, char *const argv[], char *const envp[])
{
    ENVIRONMENT(env, envp);
    shim_reopen(fd);
    return REAL(fexecve)(fd, argv, env);
}

int execveat(int dirfd, const char *path, char *const argv[], char *const envp[], int flags)
{
    struct pass p;
    ENVIRONMENT(env, envp);
    if (flags & AT_EMPTY_PATH)
        shim_reopen(dirfd);
    shim_pass(&p, dirfd, path);
    return REAL(execveat)(p.dirfd, p.path, argv, env, flags);
}

/* The arguments of the variadic ones, as an array on the stack. */
static size_t count_args(va_list ap)
{
    size_t n = 1; /* the first is a named parameter */
    while (va_arg(ap, char *))
        n++;
    return n;
}

static void take_args(char **argv, size_t n, const char *first, va_list *ap)
{
    argv[0] = (char *)(uintptr_t)first;
    for (size_t i = 1; i <= n; i++)
        argv[i] = va_arg(*ap, char *);
}

#define ARGUMENTS(argv, first)                              \
    va_list ap;                                             \
    va_start(ap, first);                                    \
    const size_t argc = (first) ? count_args(ap) : 0;       \
    va_end(ap);                                             \
    char *argv[argc + 1];                                   \
    va_start(ap, first);                                    \
    if (argc)                                               \
        take_args(argv, argc, first, &ap);                  \
    else                                                    \
        argv[0] = NULL

int execl(const char *path, const char *arg, ...)
{
    ARGUMENTS(argv, arg);
    va_end(ap);
    ENVIRONMENT(env, environ);
    start_held(&here, path, argv, env);
    return REAL(execve)(shim_original(path), argv, env);
}

int execlp(const char *file, const char *arg, ...)
{
    ARGUMENTS(argv, arg);
    va_end(ap);
    ENVIRONMENT(env, environ);
    search_held(&here, file, argv, env);
    return REAL(execvpe)(shim_original(file), argv, env);
}

int execle(const char *path, const char *arg, ...)
{
    ARGUMENTS(argv, arg);
    char *const *envp = va_arg(ap, char *const *);
    va_end(ap);
    ENVIRONMENT(env, envp);
    start_held(&here, path, argv, env);
    return REAL(execve)(shim_original(path), argv, env);
}

int posix_spawn(pid_t *pid, const char *path, const posix_spawn_file_actions_t *actions,
                const posix_spawnattr_t *attributes, char *const argv[], char *const envp[])
{
    ENVIRONMENT(env, envp);
    pid_t child;
    const struct start how = {pid ? pid : &child, actions, attributes};
    if (start_held(&how, path, argv, env) == 0)
        return 0;
    return REAL(posix_spawn)(pid, shim_original(path), actions, attributes, argv, env);
}

int posix_spawnp(pid_t *pid, const char *file, const posix_spawn_file_actions_t *actions,
                 const posix_spawnattr_t *attributes, char *const argv[], char *const envp[])
{
    ENVIRONMENT(env, envp);
    pid_t child;
    const struct start how = {pid ? pid : &child, actions, attributes};
    if (search_held(&how, file, argv, env) == 0)
        return 0;
    return REAL(posix_spawnp)(pid, shim_original(file), actions, attributes, argv, env);
}
