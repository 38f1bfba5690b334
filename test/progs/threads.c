/* Threads, small stacks, cancellation, signals and vfork, in one directory. What it prints is the same natively and
 * served, but for "stack", which measures. Exit status 1, and a line on stderr, where something fails.
 *
 * usage: threads WAY DIRECTORY [PROGRAM]
 *
 * The directory has a file "f", a directory "b" with a file "g", a symlink "to-f", and no "none".
 *
 *   stack        the bytes of stack that each call needs: "NAME BYTES" a line
 *   small        the reading calls, in threads with PTHREAD_STACK_MIN + 16 KiB of stack
 *   handler      what a handler may call, on an alternate stack of 8 KiB (SIGSTKSZ), below it a page that ends the program
 *   deferred     threads that look at files in a loop are cancelled, at the cancellation points
 *   polling      the same, where opening what is not there is the only cancellation point
 *   asynchronous the same, anywhere
 *   signals      a timer's handler looks at files while the program does
 *   full         no descriptor is left
 *   vfork PROGRAM   vfork and exec, sixteen times from four threads each */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

static int b_fd, f_fd;
static char f_link[64];
static const char *program;

#define NEED(condition)                                                                              \
    do {                                                                                             \
        if (!(condition)) {                                                                          \
            fprintf(stderr, "threads: line %d: %s: %s\n", __LINE__, #condition, strerror(errno));    \
            exit(1);                                                                                 \
        }                                                                                            \
    } while (0)

static int descriptors(void)
{
    int n = 0;
    for (int fd = 0; fd < 1024; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

/* --- the calls: each tells whether it did what it should ------------------------------------------------------- */

static bool call_stat(void) { struct stat st; return stat("f", &st) == 0 && S_ISREG(st.st_mode); }
static bool call_lstat(void) { struct stat st; return lstat("to-f", &st) == 0 && S_ISLNK(st.st_mode); }
static bool call_stat_none(void) { struct stat st; return stat("none", &st) == -1 && errno == ENOENT; }
static bool call_fstatat(void) { struct stat st; return fstatat(b_fd, "g", &st, 0) == 0 && S_ISREG(st.st_mode); }
static bool call_fstat(void) { struct stat st; return fstat(f_fd, &st) == 0 && S_ISREG(st.st_mode); }
static bool call_statx(void) { struct statx x; return statx(b_fd, "g", 0, STATX_ALL, &x) == 0; }
static bool call_access(void) { return access("to-f", R_OK) == 0; }
static bool call_faccessat(void) { return faccessat(b_fd, "g", R_OK, 0) == 0; }
static bool call_statvfs(void) { struct statvfs s; return statvfs("f", &s) == 0; }
static bool call_readlink(void) { char to[8]; return readlink("to-f", to, sizeof to) == 1 && to[0] == 'f'; }
static bool call_readlinkat(void) { char to[8]; return readlinkat(b_fd, "../to-f", to, sizeof to) == 1; }
static bool call_readlink_fd(void) { char to[256]; return readlink(f_link, to, sizeof to) > 1; }
static bool call_open(void) { const int fd = open("f", O_RDONLY); return fd >= 0 && close(fd) == 0; }
static bool call_open_none(void) { return open("none", O_RDONLY) == -1 && errno == ENOENT; }
static bool call_openat(void) { const int fd = openat(b_fd, "g", O_RDONLY); return fd >= 0 && close(fd) == 0; }
static bool call_openat_up(void) { const int fd = openat(b_fd, "../f", O_RDONLY); return fd >= 0 && !close(fd); }
static bool call_fopen(void) { FILE *f = fopen("f", "r"); return f && fclose(f) == 0; }

static bool call_opendir(void)
{
    DIR *d = opendir("b");
    int n = 0;
    while (d && readdir(d))
        n++;
    return n == 3 && closedir(d) == 0;
}

static bool call_realpath(void)
{
    char *path = realpath("to-f", NULL);
    const bool good = path && strcmp(strrchr(path, '/'), "/f") == 0;
    free(path);
    return good;
}

static bool call_chdir(void) { return chdir("b") == 0 && chdir("..") == 0; }
static bool call_fchdir(void) { return fchdir(b_fd) == 0 && chdir("..") == 0; }

/* Calls that change something: not in several threads at once. */
static bool call_create(void) { const int fd = open("new", O_CREAT | O_WRONLY, 0644); return fd >= 0 && !close(fd); }
static bool call_rename(void) { return rename("new", "newer") == 0; }
static bool call_renameat(void) { return renameat(b_fd, "../newer", b_fd, "../new") == 0; }
static bool call_linkat(void) { return linkat(b_fd, "../new", b_fd, "../other", 0) == 0; }
static bool call_unlinkat(void) { return unlinkat(b_fd, "../other", 0) == 0; }
static bool call_chmod(void) { return chmod("new", 0600) == 0; }
static bool call_utimensat(void) { return utimensat(b_fd, "../new", NULL, 0) == 0; }
static bool call_unlink(void) { return unlink("new") == 0; }
static bool call_mkdir(void) { return mkdir("newdir", 0700) == 0; }
static bool call_rmdir(void) { return rmdir("newdir") == 0; }
static bool call_futimens(void) { const int fd = open("f", O_RDONLY); return !futimens(fd, NULL) && !close(fd); }

struct call {
    const char *name;
    bool (*make)(void);
};
#define CALL(name) {#name, call_##name}
static const struct call reading[] = {
    CALL(stat), CALL(lstat), CALL(stat_none), CALL(fstatat), CALL(fstat), CALL(statx), CALL(access), CALL(faccessat),
    CALL(statvfs), CALL(readlink), CALL(readlinkat), CALL(readlink_fd), CALL(open), CALL(open_none), CALL(openat),
    CALL(openat_up), CALL(fopen), CALL(opendir), CALL(realpath),
};
/* Those of them that POSIX allows in handlers of signals; and the changing ones are allowed, too. */
static const struct call safe[] = {
    CALL(stat), CALL(lstat), CALL(stat_none), CALL(fstatat), CALL(fstat), CALL(access), CALL(faccessat), CALL(readlink),
    CALL(readlinkat), CALL(readlink_fd), CALL(open), CALL(open_none), CALL(openat), CALL(openat_up), CALL(chdir),
    CALL(fchdir),
};
static const struct call moving[] = {CALL(chdir), CALL(fchdir)};
/* In this order: each leaves what the next one needs. Twice: after the first change everything is asked twice. */
static const struct call changing[] = {
    CALL(create), CALL(rename), CALL(renameat), CALL(linkat), CALL(unlinkat), CALL(chmod), CALL(utimensat),
    CALL(unlink), CALL(mkdir), CALL(rmdir), CALL(futimens),
};
#define COUNT(list) (sizeof(list) / sizeof *(list))

static void make(const struct call *call)
{
    if (call->make())
        return;
    fprintf(stderr, "threads: %s: %s\n", call->name, strerror(errno));
    exit(1);
}

/* --- stack: painted below this frame, and looked at afterwards ------------------------------------------------- */

enum { STACK = 512 << 10, PAINTED = 256 << 10, PAINT = 0xa5 };
static unsigned char *stack_base;

static __attribute__((noinline)) void measure(const struct call *call)
{
    unsigned char *const top = (unsigned char *)__builtin_frame_address(0) - 512, *p = top - PAINTED;

    NEED(p > stack_base);
    for (unsigned char *q = p; q < top; q++)
        *(volatile unsigned char *)q = PAINT;
    make(call);
    while (p < top && *(volatile unsigned char *)p == PAINT)
        p++;
    printf("%s %zu\n", call->name, (size_t)(top - p) + 512);
}

static void *measure_all(void *unused)
{
    for (size_t i = 0; i < COUNT(reading); i++)
        measure(&reading[i]);
    for (size_t i = 0; i < COUNT(moving); i++)
        measure(&moving[i]);
    for (int twice = 0; twice < 2; twice++)
        for (size_t i = 0; i < COUNT(changing); i++)
            measure(&changing[i]);
    for (size_t i = 0; i < COUNT(reading); i++)
        measure(&reading[i]);
    return unused;
}

static void way_stack(void)
{
    pthread_attr_t attr;
    pthread_t t;

    stack_base = mmap(NULL, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    NEED(stack_base != MAP_FAILED);
    NEED(pthread_attr_init(&attr) == 0 && pthread_attr_setstack(&attr, stack_base, STACK) == 0);
    NEED(pthread_create(&t, &attr, measure_all, NULL) == 0 && pthread_join(t, NULL) == 0);
}

/* --- small ----------------------------------------------------------------------------------------------------- */

static void *read_all(void *unused)
{
    for (int round = 0; round < 50; round++)
        for (size_t i = 0; i < COUNT(reading); i++)
            make(&reading[i]);
    return unused;
}

static void way_small(void)
{
    enum { THREADS = 8 };
    pthread_attr_t attr;
    pthread_t t[THREADS];

    NEED(pthread_attr_init(&attr) == 0);
    NEED(pthread_attr_setstacksize(&attr, (size_t)PTHREAD_STACK_MIN + (16 << 10)) == 0);
    for (int i = 0; i < THREADS; i++)
        NEED(pthread_create(&t[i], &attr, read_all, NULL) == 0);
    for (int i = 0; i < THREADS; i++)
        NEED(pthread_join(t[i], NULL) == 0);
}

/* --- handler --------------------------------------------------------------------------------------------------- */

static const struct call *handled_call;

static void make_it(int number)
{
    (void)number;
    make(handled_call);
}

static void in_handler(const struct call *calls, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        handled_call = &calls[i];
        raise(SIGUSR1);
    }
}

static void way_handler(void)
{
    enum { SIZE = 8192, GUARD = 65536 };
    char *const pages = mmap(NULL, GUARD + SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    const stack_t stack = {.ss_sp = pages + GUARD, .ss_size = SIZE};
    const struct sigaction action = {.sa_handler = make_it, .sa_flags = SA_ONSTACK};

    NEED(pages != MAP_FAILED && mprotect(pages, GUARD, PROT_NONE) == 0);
    NEED(sigaltstack(&stack, NULL) == 0 && sigaction(SIGUSR1, &action, NULL) == 0);
    in_handler(safe, COUNT(safe));
    for (int twice = 0; twice < 2; twice++)
        in_handler(changing, COUNT(changing));
    in_handler(safe, COUNT(safe));
}

/* --- cancellation ---------------------------------------------------------------------------------------------- */

static void close_it(void *fd)
{
    if (*(int *)fd >= 0)
        close(*(int *)fd);
}

/* The points: opening what is not there, and reading with what is open in the hands of a handler. (An open that
 * succeeds and is canceled at the same moment loses its descriptor, in the C library itself.) */
static void *look_around(void *unused)
{
    struct stat st;
    volatile int fd = -1;
    char byte;

    pthread_cleanup_push(close_it, (void *)&fd);
    for (;;) {
        pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
        fd = open("f", O_RDONLY);
        make(&(struct call)CALL(opendir));
        pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL);
        stat("f", &st);
        open("none", O_RDONLY);
        if (read(fd, &byte, 1) != 1)
            exit(1);
        pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
        close(fd);
        fd = -1;
        pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL);
    }
    pthread_cleanup_pop(0);
    return unused;
}

static void *poll_for_a_file(void *unused)
{
    struct stat st;

    while (open("none", O_RDONLY) < 0 && openat(b_fd, "none", O_RDONLY) < 0)
        stat("f", &st);
    return unused;
}

/* What holds nothing may be cancelled anywhere. */
static void *look_only(void *unused)
{
    struct stat st;
    char to[64];

    pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL);
    for (;;)
        if (stat("f", &st) || stat("none", &st) == 0 || access("to-f", R_OK) || readlink("to-f", to, sizeof to) != 1 ||
            fstatat(b_fd, "g", &st, 0) || fstat(f_fd, &st))
            return unused;
}

static void cancel(void *(*what)(void *))
{
    enum { ROUNDS = 40, THREADS = 8 };
    const int before = descriptors();
    int canceled = 0;

    for (int round = 0; round < ROUNDS; round++) {
        pthread_t t[THREADS];
        void *result;
        for (int i = 0; i < THREADS; i++)
            NEED(pthread_create(&t[i], NULL, what, NULL) == 0);
        usleep((useconds_t)(round * 37 % 1000));
        for (int i = 0; i < THREADS; i++)
            NEED(pthread_cancel(t[i]) == 0);
        for (int i = 0; i < THREADS; i++) {
            NEED(pthread_join(t[i], &result) == 0);
            canceled += result == PTHREAD_CANCELED;
        }
    }
    printf("%d of %d canceled, %d descriptors more\n", canceled, ROUNDS * THREADS, descriptors() - before);
    for (size_t i = 0; i < COUNT(reading); i++)
        make(&reading[i]);
}

/* --- signals --------------------------------------------------------------------------------------------------- */

static volatile sig_atomic_t handled, failed;

static void handler(int number)
{
    const int saved = errno;
    if (!call_stat() || !call_stat_none() || !call_open() || !call_openat() || !call_readlink() || !call_access())
        failed++;
    handled += number == SIGALRM;
    errno = saved;
}

static void way_signals(void)
{
    const struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART};
    const struct itimerval every = {{0, 200}, {0, 200}}, never = {{0, 0}, {0, 0}};

    NEED(sigaction(SIGALRM, &action, NULL) == 0 && setitimer(ITIMER_REAL, &every, NULL) == 0);
    while (handled < 500)
        for (size_t i = 0; i < COUNT(reading); i++)
            make(&reading[i]);
    NEED(setitimer(ITIMER_REAL, &never, NULL) == 0);
    printf("%d handlers failed\n", (int)failed);
}

/* --- no descriptor left ---------------------------------------------------------------------------------------- */

static void show(const char *what, int rc)
{
    printf("%s: %s\n", what, rc >= 0 ? "done" : strerror(errno));
}

static void way_full(void)
{
    struct rlimit limit;
    struct stat st;
    int fd, last = -1, opened = 0;

    NEED(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    limit.rlim_cur = 32;
    NEED(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    for (; (fd = open("f", O_RDONLY)) >= 0; opened++)
        last = fd;
    printf("opened %d, the last %d: %s\n", opened, last, strerror(errno));
    show("open", open("f", O_RDONLY));
    show("open none", open("none", O_RDONLY));
    show("openat", openat(b_fd, "g", O_RDONLY));
    show("open a directory", open("b", O_RDONLY | O_DIRECTORY));
    show("fopen", fopen("f", "r") ? 0 : -1);
    show("opendir", opendir("b") ? 0 : -1);
    show("stat", stat("f", &st));
    show("fstatat", fstatat(b_fd, "g", &st, 0));
    show("fstat", fstat(last, &st));
    show("chmod", chmod("f", 0644));
    show("stat after it", stat("f", &st));
    show("flock", lockf(f_fd, F_TEST, 0));
    show("rename", rename("f", "f2"));
    show("rename back", rename("f2", "f"));
    NEED(close(last) == 0);
    show("open again", open("f", O_RDONLY) == last ? 0 : -1);
}

/* --- vfork ----------------------------------------------------------------------------------------------------- */

static void *spawn_some(void *unused)
{
    for (int i = 0; i < 16; i++) {
        char *const argv[] = {(char *)(uintptr_t)program, NULL};
        int status;
        struct stat st;
        const pid_t pid = vfork();
        if (pid == 0) {
            if (stat("f", &st) || stat("none", &st) == 0)
                _exit(9);
            execv(program, argv);
            _exit(8);
        }
        NEED(pid > 0 && waitpid(pid, &status, 0) == pid);
        NEED(WIFEXITED(status) && WEXITSTATUS(status) == 0);
        make(&reading[i]);
    }
    return unused;
}

static void way_vfork(void)
{
    pthread_t t[4];
    const int before = descriptors();

    for (int i = 0; i < 4; i++)
        NEED(pthread_create(&t[i], NULL, spawn_some, NULL) == 0);
    for (int i = 0; i < 4; i++)
        NEED(pthread_join(t[i], NULL) == 0);
    printf("%d descriptors more\n", descriptors() - before);
}

int main(int argc, char **argv)
{
    const char *way = argc > 1 ? argv[1] : "";

    NEED(argc >= 3 && chdir(argv[2]) == 0);
    program = argc > 3 ? argv[3] : "/bin/true";
    b_fd = open("b", O_RDONLY | O_DIRECTORY);
    f_fd = open("f", O_RDONLY);
    NEED(b_fd >= 0 && f_fd >= 0);
    snprintf(f_link, sizeof f_link, "/proc/self/fd/%d", f_fd);
    alarm(strcmp(way, "signals") == 0 ? 0 : 100); /* a deadlock ends */
    if (strcmp(way, "handler") == 0)
        way_handler();
    else if (strcmp(way, "stack") == 0)
        way_stack();
    else if (strcmp(way, "small") == 0)
        way_small();
    else if (strcmp(way, "deferred") == 0)
        cancel(look_around);
    else if (strcmp(way, "polling") == 0)
        cancel(poll_for_a_file);
    else if (strcmp(way, "asynchronous") == 0)
        cancel(look_only);
    else if (strcmp(way, "signals") == 0)
        way_signals();
    else if (strcmp(way, "full") == 0)
        way_full();
    else if (strcmp(way, "vfork") == 0)
        way_vfork();
    else
        return 2;
    puts("done");
    return 0;
}
