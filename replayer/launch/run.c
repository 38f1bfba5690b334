/* D/run CMD…: attaches one program to the stage that it lies in, and becomes it.
 *
 * Static and without a C library: one file of node memory is all that starting it reads, on every node, for every
 * rank. Where the stage cannot be used, the program starts natively, silently. */
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "libdlcache/attach.h"
#include "libdlcache/environment.h"
#include "libdlcache/execute.h"
#include "libdlcache/sys.h"

/* The entry point: the stack as the kernel laid it out (argc, argv, NULL, envp, NULL) becomes an argument. */
#if defined __x86_64__
__asm__(".globl _start\n_start:\n\txor %ebp, %ebp\n\tmov %rsp, %rdi\n\tand $-16, %rsp\n\tcall launch\n\thlt\n");
#else
__asm__(".globl _start\n_start:\n\tmov x29, #0\n\tmov x0, sp\n\tbl launch\n");
#endif

_Noreturn void launch(uintptr_t *stack);

static struct stage stage;
static struct environment environment;

static _Noreturn void leave(int status)
{
    for (;;)
        sys_call(__NR_exit_group, status, 0, 0, 0);
}

static void say(const char *a, const char *b, const char *c)
{
    sys_write(2, a, dlc_strlen(a));
    sys_write(2, b, dlc_strlen(b));
    sys_write(2, c, dlc_strlen(c));
}

/* The stage that this file is part of. */
static int open_own_stage(char **envp)
{
    const char *log = env_value(envp, "DLCACHE_LOG");
    char dir[sizeof stage.dir + sizeof STAGE_RUN];
    long n = sys_readlinkat(AT_FDCWD, "/proc/self/exe", dir, sizeof dir);

    if (n <= (long)sizeof STAGE_RUN || n >= (long)sizeof dir)
        return -ENOENT;
    n -= (long)sizeof STAGE_RUN; /* "/run" */
    dir[n] = '\0';
    /* As the program will: what it cannot be served, it is not looked up in. */
    const struct settings set = {.stage = dir, .part = 1, .log = log && *log && !(log[0] == '0' && !log[1])};
    return attach(&stage, &set);
}

/* envp with the variables of an attached program in the stead of those of the same name, at its end: who writes a title
 * over arguments and environment comes as far as GLIBC_TUNABLES, of which ld.so has a copy of its own. envp itself where
 * there is no memory. */
static char **attached(char **envp)
{
    size_t n = 0;

    while (envp[n])
        n++;
    char **vars = sys_mmap((n + 8) * sizeof *vars, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (!vars)
        return envp;
    size_t out = 0;
    for (size_t i = 0; i < n; i++)
        if (!environment_has(&environment, envp[i]))
            vars[out++] = envp[i];
    for (unsigned i = 0; i < environment.count; i++)
        vars[out++] = (char *)(uintptr_t)environment.vars[i];
    vars[out] = NULL;
    return vars;
}

/* From the stage, where it is held; comes back where it is not. */
static void execute_held(const char *path, char **argv, char **envp)
{
    static struct execution x;
    static char file[EXECUTE_PATH];
    size_t args = 0, vars = 0;

    if (!stage.view.state || execute_plan(&stage, path, dlc_strlen(path), &x, file, sizeof file) != 0 ||
        !execute_attaches(&stage, envp))
        return;
    while (argv[args])
        args++;
    while (envp[vars])
        vars++;
    const char **list = sys_mmap((args + vars + 3 + EXECUTE_ARGUMENTS) * sizeof *list, PROT_READ | PROT_WRITE,
                                 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (!list)
        return;
    const char **const env = list + args + 1 + EXECUTE_ARGUMENTS;
    execute_vectors(&x, path, argv, envp, list, env);
    sys_call(__NR_execve, x.file, list, env, 0);
}

static long execute(const char *path, char **argv, char **envp)
{
    execute_held(path, argv, envp);
    long rc = sys_call(__NR_execve, path, argv, envp, 0);

    if (rc != -ENOEXEC)
        return rc;
    /* A script without "#!": as execvp(3), the shell's. */
    size_t argc = 0;
    while (argv[argc])
        argc++;
    const char **shell = sys_mmap((argc + 2) * sizeof *shell, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (!shell)
        return rc;
    shell[0] = "/bin/sh";
    shell[1] = path;
    for (size_t i = 1; i <= argc; i++)
        shell[i + 1] = argv[i];
    return sys_call(__NR_execve, shell[0], shell, envp, 0);
}

/* As execvpe(3), without a request where the index knows that there is nothing. */
static long search(const char *file, char **argv, char **envp, const char *path)
{
    const size_t len = dlc_strlen(file);
    char candidate[4096 + 256];
    long error = -ENOENT;

    for (;; path++) {
        size_t n = 0;
        while (path[n] && path[n] != ':')
            n++;
        if (n + 1 + len < sizeof candidate) {
            struct found found;
            size_t at = n;
            __builtin_memcpy(candidate, path, n);
            if (n)
                candidate[at++] = '/';
            __builtin_memcpy(candidate + at, file, len + 1);
            at += len;
            const enum verdict verdict =
                stage.view.state ? lookup(&stage.view, candidate, at, 0, &found) : VERDICT_UNKNOWN;
            if (verdict != VERDICT_ABSENT && verdict != VERDICT_NOTDIR && verdict != VERDICT_DIR) {
                const long rc = execute(candidate, argv, envp);
                if (rc != -ENOENT && rc != -ENOTDIR && rc != -EACCES && rc != -ENODEV && rc != -ESTALE)
                    return rc;
                if (rc == -EACCES)
                    error = rc;
            }
        }
        path += n;
        if (!*path)
            return error;
    }
}

_Noreturn void launch(uintptr_t *stack)
{
    const uintptr_t argc = stack[0];
    char **argv = (char **)(stack + 1);
    char **envp = argv + argc + 1;

    argv += argc > 0;
    if (*argv && dlc_strlen(*argv) == 2 && dlc_same(*argv, "--", 2))
        argv++;
    if (!*argv) {
        say("usage: ", "run", " COMMAND [ARGUMENT]...\n");
        leave(2);
    }
    const char *path = env_value(envp, "PATH");
    const char *off = env_value(envp, "DLCACHE_DISABLE");
    if (!(off && *off && !(off[0] == '0' && !off[1])) && open_own_stage(envp) == 0 &&
        environment_attach(&environment, &stage, envp) == 0)
        envp = attached(envp);

    long rc;
    const size_t n = dlc_strlen(*argv);
    if (__builtin_memchr(*argv, '/', n) || n == 0)
        rc = n ? execute(*argv, argv, envp) : -ENOENT;
    else
        rc = search(*argv, argv, envp, path ? path : "/bin:/usr/bin");
    say("dlcache: ", *argv, rc == -ENOENT    ? ": there is no such command\n"
                            : rc == -EACCES ? ": permission denied\n"
                            : rc == -E2BIG  ? ": the arguments and the environment are too long\n"
                                            : ": cannot be executed\n");
    leave(rc == -ENOENT ? 127 : 126);
}
