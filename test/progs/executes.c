/* Starts PATH in ways that few programs do. What it prints is the same natively and served.
 *
 *   executes WAY PATH…
 *
 *   arguments N  with N arguments, in a thread with 64 KiB of stack
 *   variables N  with N variables more, likewise
 *   unreadable   with lists and strings that are none: EFAULT
 *   actions      by posix_spawn, with file actions of which the last one fails
 *   lists        with several LD_PRELOAD and LD_AUDIT, of which the last ones are empty
 *   stale NAME   with what an execution from a stage left in the environment
 *   handler      in a handler on an alternate stack of SIGSTKSZ, and below it a page that must not be touched */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

extern char **environ;
static const char *path;
static char **arguments;

static void failed(void)
{
    printf("errno %d\n", errno);
    fflush(stdout);
}

static void *execute(void *unused)
{
    execve(path, arguments, environ);
    failed();
    return unused;
}

static void in_a_thread(void)
{
    pthread_attr_t attr;
    pthread_t t;

    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, 64 << 10);
    if (pthread_create(&t, &attr, execute, NULL) == 0)
        pthread_join(t, NULL);
}

/* The list, and n more of one text. */
static char **longer(char **list, size_t n, char *text)
{
    size_t have = 0;

    while (list[have])
        have++;
    char **all = malloc((have + n + 1) * sizeof *all);
    memcpy(all, list, have * sizeof *all);
    for (size_t i = 0; i < n; i++)
        all[have + i] = text;
    all[have + n] = NULL;
    return all;
}

static void unreadable(void)
{
    char *none = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char *bad[] = {"a", none, NULL}, *worse[] = {none, NULL}, *good[] = {"a", NULL};

    execve(path, bad, environ);
    failed();
    execve(path, (char **)none, environ);
    failed();
    execve(none, good, environ);
    failed();
    execve(path, good, (char **)none);
    failed();
    execve(path, good, worse);
    failed();
    char *nobody[] = {NULL};
    execve(path, nobody, worse);
    failed();
}

static void actions(void)
{
    posix_spawn_file_actions_t a;
    pid_t pid;

    for (int found = 0; found < 2; found++) {
        posix_spawn_file_actions_init(&a);
        posix_spawn_file_actions_addopen(&a, 5, "made", O_CREAT | O_EXCL | O_WRONLY, 0600);
        if (found)
            posix_spawn_file_actions_adddup2(&a, 99, 7);
        else
            posix_spawn_file_actions_addopen(&a, 6, "/none", O_RDONLY, 0);
        const int rc = (found ? posix_spawn : posix_spawnp)(&pid, path, &a, NULL, arguments, environ);
        printf("spawn %d, made %d\n", rc, unlink("made"));
        posix_spawn_file_actions_destroy(&a);
    }
}

static void lists(void)
{
    environ = longer(environ, 1, "LD_PRELOAD=");
    environ = longer(environ, 1, "LD_AUDIT=");
    execute(NULL);
}

static void handler(int signal)
{
    (void)signal;
    execute(NULL);
}

static void in_a_handler(void)
{
    char *pages = mmap(NULL, 4096 + 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    const stack_t stack = {.ss_sp = pages + 4096, .ss_size = 8192};
    struct sigaction act = {.sa_handler = handler, .sa_flags = SA_ONSTACK};

    mprotect(pages, 4096, PROT_NONE);
    sigaltstack(&stack, NULL);
    sigaction(SIGUSR1, &act, NULL);
    raise(SIGUSR1);
}

int main(int argc, char **argv)
{
    const char *way = argc > 2 ? argv[1] : "";

    if (argc < 3)
        return 2;
    path = argv[2];
    arguments = argv + 2;
    const size_t n = argc > 3 ? strtoul(argv[3], NULL, 10) : 0;
    if (strcmp(way, "arguments") == 0) {
        arguments = longer(arguments, n, "x");
        in_a_thread();
    } else if (strcmp(way, "variables") == 0) {
        environ = longer(environ, n, "X=1");
        in_a_thread();
    } else if (strcmp(way, "unreadable") == 0) {
        unreadable();
    } else if (strcmp(way, "actions") == 0) {
        actions();
    } else if (strcmp(way, "lists") == 0) {
        lists();
    } else if (strcmp(way, "stale") == 0 && argc > 3) {
        environ = longer(environ, 1, argv[3]);
        argv[3] = "an argument";
        execute(NULL);
    } else if (strcmp(way, "handler") == 0) {
        in_a_handler();
    } else {
        return 2;
    }
    return 0;
}
