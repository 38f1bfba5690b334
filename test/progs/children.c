/* children WAY DIR: a child, made or left in a way that few programs use, looks at DIR/WAY, and at DIR/none-WAY, which
 * is not there. What is to be seen: that both are noted. Prints "looked" when the child has. */
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef SYS_close_range
#define SYS_close_range 436 /* newer than some headers */
#endif

extern char **environ;

static char found[4096], missing[4096];
static char *argv_test[] = {"sh", "-c", "test -e \"$0\" && ! test -e \"$1\"", found, missing, NULL};

static int look(void)
{
    struct { int a, b; } got = {access(found, F_OK), access(missing, F_OK)};

    return got.a == 0 && got.b != 0 ? 0 : 1;
}

static int wait_for(pid_t pid)
{
    int status = -1;

    return pid > 0 && waitpid(pid, &status, 0) == pid ? status : 1;
}

static int by_vfork(void)
{
    const pid_t pid = vfork();

    if (pid == 0)
        _exit(look());
    return wait_for(pid);
}

static int by_vfork_and_exec(void)
{
    const pid_t pid = vfork();

    if (pid == 0) {
        execv("/bin/sh", argv_test);
        _exit(127);
    }
    return wait_for(pid);
}

static int by_posix_spawn(void)
{
    pid_t pid;

    return posix_spawnp(&pid, "sh", NULL, NULL, argv_test, environ) == 0 ? wait_for(pid) : 1;
}

/* The kernel's own call: no handler of pthread_atfork runs. */
static int by_clone(void)
{
    const pid_t pid = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);

    if (pid == 0)
        _exit(look());
    return wait_for(pid);
}

/* Twice forked, and nobody's child any more; the pipe tells when it is done. */
static int by_daemon(void)
{
    int end[2];
    char result = 1;

    if (pipe(end) != 0)
        return 1;
    const pid_t pid = fork();
    if (pid == 0) {
        if (setsid() < 0 || fork() != 0)
            _exit(0);
        close(end[0]);
        result = (char)look();
        _exit(write(end[1], &result, 1) != 1);
    }
    close(end[1]);
    return wait_for(pid) || read(end[0], &result, 1) != 1 || result;
}

/* What a careful daemon does: every descriptor is closed, by a call that nobody sees. */
static int by_close_range(void)
{
    const pid_t pid = fork();

    if (pid == 0) {
        syscall(SYS_close_range, 0, ~0U, 0);
        _exit(look());
    }
    return wait_for(pid);
}

static int by_environment(void)
{
    const pid_t pid = fork();

    if (pid == 0) {
        clearenv();
        _exit(look());
    }
    return wait_for(pid);
}

static const struct {
    const char *name;
    int (*run)(void);
} ways[] = {
    {"vfork", by_vfork}, {"vfork-exec", by_vfork_and_exec}, {"posix_spawn", by_posix_spawn}, {"clone", by_clone},
    {"daemon", by_daemon}, {"close_range", by_close_range}, {"clearenv", by_environment},
};

int main(int argc, char **argv)
{
    if (argc != 3)
        return 2;
    snprintf(found, sizeof found, "%s/%s", argv[2], argv[1]);
    snprintf(missing, sizeof missing, "%s/none-%s", argv[2], argv[1]);
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        if (strcmp(ways[i].name, argv[1]) == 0) {
            const int failed = ways[i].run();
            puts(failed ? "failed" : "looked");
            return failed != 0;
        }
    }
    return 2;
}
