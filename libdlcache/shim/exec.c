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
#define ROOM 1024     /* pointers on the stack: what has more is executed natively, and with the environment as it is */

struct lists {
    char preload[LIST_MAX], audit[LIST_MAX];
};

/* Each way to start a program, and what it takes beside arguments and environment. */
struct start {
    enum { EXECVE, EXECVPE, FEXECVE, EXECVEAT, SPAWN, SPAWNP } way;
    const char *file;
    int fd, flags;
    pid_t *pid;
    const posix_spawn_file_actions_t *actions;
    const posix_spawnattr_t *attributes;
};

static int natively(const struct start *how, char *const argv[], char *const envp[])
{
    switch (how->way) {
    case EXECVE: return REAL(execve)(shim_original(how->file), argv, envp);
    case EXECVPE: return REAL(execvpe)(shim_original(how->file), argv, envp);
    case FEXECVE: return REAL(fexecve)(how->fd, argv, envp);
    case EXECVEAT: return REAL(execveat)(how->fd, how->file, argv, envp, how->flags);
    case SPAWN:
        return REAL(posix_spawn)(how->pid, shim_original(how->file), how->actions, how->attributes, argv, envp);
    case SPAWNP:
        return REAL(posix_spawnp)(how->pid, shim_original(how->file), how->actions, how->attributes, argv, envp);
    }
    return -1;
}

static bool starts(const char *text, const char *with)
{
    while (*with && *text == *with)
        text++, with++;
    return !*with;
}

/* Strings of the list, or -1: it cannot be read, which the kernel is to say. `bytes` of each are going to be. */
static long count(char *const *list, size_t bytes)
{
    for (long n = 0;; n++) {
        if (!shim_readable(list + n, sizeof *list))
            return -1;
        if (!list[n])
            return n;
        if (bytes && !shim_readable(list[n], bytes))
            return -1;
    }
}

/* --- without the stage ------------------------------------------------------------------------------------------ */

/* The stage's libraries can be loaded by whoever is executed now, who is another user where this process has become one:
 * what it may read here, by a capability, it may not read there. */
static bool libraries_there(void)
{
    const struct stage *s = &shim.stage;
    char path[sizeof s->dir + 64];

    if (sys_geteuid() != shim.euid)
        return false;
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

static __attribute__((noinline)) int without_stage(const struct start *how, char *const argv[], char *const envp[])
{
    const long vars = count(envp, sizeof "LD_PRELOAD=");
    struct lists l;
    size_t n = 0;

    if (vars < 0 || vars > ROOM)
        return natively(how, argv, envp);
    char *env[vars + 1];
    for (; *envp; envp++) {
        char *var = *envp;
        if (starts(var, "LD_PRELOAD=") && put_without(l.preload, var, ": "))
            var = l.preload;
        else if (starts(var, "LD_AUDIT=") && put_without(l.audit, var, ":"))
            var = l.audit;
        env[n++] = var;
    }
    env[n] = NULL;
    return natively(how, argv, env);
}

/* --- from the stage --------------------------------------------------------------------------------------------- */

/* Another thread may be leaving. */
static bool has_left(void)
{
    return __atomic_load_n(&shim.left, __ATOMIC_RELAXED);
}

/* The program itself says that it runs; one that is statically linked cannot. */
static void note_program(const char *path)
{
    if (shim_strlen(path) > 0 && sys_call(__NR_faccessat, AT_FDCWD, path, X_OK, 0) == 0)
        shim_note(SPOOL_EXEC, false, AT_FDCWD, path);
}

/* Comes back with SHIM_PASS, or from posix_spawn with what that is to return. */
static int start_file(const struct start *how, const char *file, char *const argv[], char *const envp[])
{
    if (!how->pid) {
        REAL(execve)(file, argv, envp);
        return SHIM_PASS; /* whatever failed fails natively, too, or does not */
    }
    const int rc = REAL(posix_spawn)(how->pid, file, how->actions, how->attributes, argv, envp);
    /* What the file actions did (a file that was made, say) is not to be done twice: if it is not for the longer path
     * and environment, or for the stage, which somebody may just remove, it fails natively, too. */
    if (rc == 0 || (how->actions && rc != E2BIG && sys_call(__NR_faccessat, AT_FDCWD, file, X_OK, 0) == 0))
        return rc;
    return SHIM_PASS;
}

static __attribute__((noinline)) int start_planned(const struct start *how, const char *path, size_t len,
                                                   char *const argv[], char *const envp[])
{
    /* With the working directory before it. Where that is a longer one, it is done natively. */
    char file[execute_room(&shim.stage, len) + (*path == '/' ? 0 : SHIM_SHORT)];
    struct execution x;

    if (execute_plan(&shim.stage, path, len, &x, file, sizeof file) != 0)
        return SHIM_PASS;
    if (!x.told)
        return start_file(how, x.file, argv, envp);
    const long given_args = count(argv, 0), given_vars = count(envp, 0);
    if (given_args < 0 || given_args + given_vars > ROOM)
        return SHIM_PASS;
    const char *args[given_args + 1 + EXECUTE_ARGUMENTS], *vars[given_vars + 2];
    execute_vectors(&x, path, argv, envp, args, vars);
    return start_file(how, x.file, (char *const *)(uintptr_t)args, (char *const *)(uintptr_t)vars);
}

/* Starts what is held of that path. SHIM_PASS where it has to be started natively; otherwise as posix_spawn. What is not
 * held costs little of the stack, which may be that of a signal handler. */
static int start_held(const struct start *how, const char *path, char *const argv[], char *const envp[])
{
    const long len = shim_strlen(path);
    struct found found;

    if (shim.recording)
        note_program(path);
    /* Where a spawned child will be, its file actions may say. */
    if (!shim.serving || has_left() || len <= 0 || (path[0] != '/' && how->actions) ||
        (path[0] == '/' && shim_ask(AT_FDCWD, path, 0, &found) != VERDICT_FILE))
        return SHIM_PASS;
    if (!shim_readable(argv, sizeof *argv) || !argv[0] || count(envp, EXECUTE_NAME) < 0 ||
        !execute_attaches(&shim.stage, envp) || !libraries_there())
        return SHIM_PASS;
    return start_planned(how, path, (size_t)len, argv, envp);
}

/* The longest element of a list. */
static size_t longest(const char *list)
{
    size_t most = 0;

    for (;; list++) {
        const size_t n = strcspn(list, ":");
        most = n > most ? n : most;
        list += n;
        if (!*list)
            return most;
    }
}

/* As execvpe(3) and posix_spawnp(3), as long as the index knows where on the PATH there is nothing. */
static int search_held(const struct start *how, const char *file, char *const argv[], char *const envp[])
{
    const char *path = NULL;
    const long len = shim_strlen(file);

    if (len > 0 && strchr(file, '/'))
        return start_held(how, file, argv, envp);
    if (!shim.serving || has_left() || len <= 0)
        return SHIM_PASS;
    for (char **var = environ; var && *var && !path; var++)
        if (starts(*var, "PATH="))
            path = *var + 5;
    if (!path)
        return SHIM_PASS;
    const size_t room = longest(path) + 1 + (size_t)len + 1;
    if (room > PATH_MAX)
        return SHIM_PASS;
    char candidate[room];
    for (; *path == '/'; path++) {
        const size_t n = strcspn(path, ":");
        struct found found;
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

static int run(const struct start *how, char *const argv[], char *const envp[])
{
    const bool search = how->way == EXECVPE || how->way == SPAWNP;

    if (search || how->way == EXECVE || how->way == SPAWN) {
        const int rc = search ? search_held(how, how->file, argv, envp) : start_held(how, how->file, argv, envp);
        if (rc != SHIM_PASS)
            return rc;
    }
    return shim.serving && !libraries_there() ? without_stage(how, argv, envp) : natively(how, argv, envp);
}

static int run_path(const char *path, char *const argv[], char *const envp[])
{
    return run(&(struct start){.way = EXECVE, .file = path}, argv, envp);
}

static int run_name(const char *file, char *const argv[], char *const envp[])
{
    return run(&(struct start){.way = EXECVPE, .file = file}, argv, envp);
}

/* --- the family -------------------------------------------------------------------------------------------------- */

int execve(const char *path, char *const argv[], char *const envp[])
{
    return run_path(path, argv, envp);
}

int execv(const char *path, char *const argv[])
{
    return run_path(path, argv, environ);
}

int execvp(const char *file, char *const argv[])
{
    return run_name(file, argv, environ);
}

int execvpe(const char *file, char *const argv[], char *const envp[])
{
    return run_name(file, argv, envp);
}

int fexecve(int fd, char *const argv[], char *const envp[])
{
    shim_reopen(fd);
    return run(&(struct start){.way = FEXECVE, .fd = fd}, argv, envp);
}

int execveat(int dirfd, const char *path, char *const argv[], char *const envp[], int flags)
{
    struct pass p;
    if (flags & AT_EMPTY_PATH)
        shim_reopen(dirfd);
    shim_pass(&p, dirfd, path);
    return run(&(struct start){.way = EXECVEAT, .fd = p.dirfd, .file = p.path, .flags = flags}, argv, envp);
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
    return run_path(path, argv, environ);
}

int execlp(const char *file, const char *arg, ...)
{
    ARGUMENTS(argv, arg);
    va_end(ap);
    return run_name(file, argv, environ);
}

int execle(const char *path, const char *arg, ...)
{
    ARGUMENTS(argv, arg);
    char *const *envp = va_arg(ap, char *const *);
    va_end(ap);
    return run_path(path, argv, envp);
}

int posix_spawn(pid_t *pid, const char *path, const posix_spawn_file_actions_t *actions,
                const posix_spawnattr_t *attributes, char *const argv[], char *const envp[])
{
    pid_t child;
    return run(&(struct start){.way = SPAWN, .file = path, .pid = pid ? pid : &child, .actions = actions,
                               .attributes = attributes}, argv, envp);
}

int posix_spawnp(pid_t *pid, const char *file, const posix_spawn_file_actions_t *actions,
                 const posix_spawnattr_t *attributes, char *const argv[], char *const envp[])
{
    pid_t child;
    return run(&(struct start){.way = SPAWNP, .file = file, .pid = pid ? pid : &child, .actions = actions,
                               .attributes = attributes}, argv, envp);
}
