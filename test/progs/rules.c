/* The rules that hold inside the user's process, tried from within one. Each check prints a line; the output is the same
 * natively and served. The last line is "done".
 *
 * usage: rules DIRECTORY   with a file "f", a directory "b" with a file "g", a symlink "to-f" to f, and no "none" */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;
extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);

static __thread unsigned allocations;

void *malloc(size_t n)
{
    allocations++;
    return __libc_malloc(n);
}

void *calloc(size_t n, size_t size)
{
    allocations++;
    return __libc_calloc(n, size);
}

void *realloc(void *p, size_t n)
{
    allocations++;
    return __libc_realloc(p, n);
}

static const char *dir;

static const char *in(char buf[PATH_MAX], const char *name)
{
    snprintf(buf, PATH_MAX, "%s/%s", dir, name);
    return buf;
}

/* Everything that reads, on one path; how many calls did what they should: f is there, none is not. */
static unsigned use(const char *f, const char *none)
{
    struct stat st;
    struct statx x;
    char buf[64];
    unsigned good = 0;
    int fd;

    good += stat(f, &st) == 0 && S_ISREG(st.st_mode);
    good += lstat(f, &st) == 0;
    good += statx(AT_FDCWD, f, 0, STATX_BASIC_STATS, &x) == 0;
    good += access(f, R_OK) == 0;
    good += readlink(f, buf, sizeof buf) == -1 && errno == EINVAL;
    good += stat(none, &st) == -1 && errno == ENOENT;
    good += access(none, F_OK) == -1 && errno == ENOENT;
    good += open(none, O_RDONLY) == -1 && errno == ENOENT;
    fd = open(f, O_RDONLY | O_CLOEXEC);
    good += fd >= 0 && read(fd, buf, 4) == 4 && fstat(fd, &st) == 0;
    if (fd >= 0)
        close(fd);
    return good;
}
#define ALL 9u

static void no_heap_and_errno(void)
{
    char f[PATH_MAX], none[PATH_MAX];
    struct stat st;
    char buf[PATH_MAX];

    in(f, "f");
    in(none, "none");
    use(f, none);
    allocations = 0;
    printf("all: %d\n", use(f, none) == ALL);
    printf("allocations: %u\n", allocations);
    char link[PATH_MAX];
    in(link, "to-f");
    errno = 1234;
    int rc = stat(f, &st) | lstat(link, &st) | access(f, R_OK);
    int fd = open(f, O_RDONLY);
    rc |= fstat(fd, &st) | close(fd) | (readlink(link, buf, sizeof buf) < 0);
    DIR *d = opendir(dir);
    rc |= !d;
    while (d && readdir(d))
        ;
    if (d)
        closedir(d);
    FILE *file = fopen(f, "r");
    if (file)
        fclose(file);
    printf("rc %d, errno after success: %d\n", rc, errno);
}

static void bad_pointers(void)
{
    char *two = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char *none = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct stat st;
    char buf[64];

    if (two == MAP_FAILED || none == MAP_FAILED || munmap(two + 4096, 4096) != 0)
        exit(1);
    memset(two, '/', 4096);
    char *edge = two + 4096 - 10; /* no NUL before the end of what is mapped */
    memcpy(edge, "/usr/lib/x", 10);
    const char *const bad[] = {NULL, edge, none, (char *)1};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        /* Through a volatile: a compiler may think what it likes of NULL. */
        const char *volatile p = bad[i];
        int n = 0;
        printf("bad pointer %zu:", i);
#define TRY(call) printf(" %d:%d", n++, ((errno = 0, (call)) == -1 ? errno : 0))
        TRY(stat(p, &st));
        TRY(lstat(p, &st));
        TRY(fstatat(AT_FDCWD, p, &st, 0));
        TRY(open(p, O_RDONLY));
        TRY(openat(AT_FDCWD, p, O_RDONLY | O_DIRECTORY));
        TRY(open(p, O_WRONLY | O_CREAT, 0600));
        TRY(access(p, R_OK));
        TRY((int)readlink(p, buf, sizeof buf));
        TRY(unlink(p));
        TRY(mkdir(p, 0700));
        TRY(rename(p, p));
        TRY(chdir(p));
        puts("");
    }
    /* A path that ends just before the page does is none of these. */
    memcpy(two + 4096 - 10, "/usr/lib/", 10);
    printf("at the edge: %d\n", stat(two + 4096 - 10, &st));
}

/* --- signals ---------------------------------------------------------------------------------------------------- */

static volatile sig_atomic_t signals, wrong;
static char signal_f[PATH_MAX], signal_none[PATH_MAX];

static void on_alarm(int number)
{
    const int saved = errno;

    (void)number;
    signals = signals + 1;
    if (use(signal_f, signal_none) != ALL)
        wrong = wrong + 1;
    errno = saved;
}

static void in_signal_handlers(void)
{
    char f[PATH_MAX], none[PATH_MAX];
    struct sigaction action = {.sa_handler = on_alarm, .sa_flags = SA_RESTART};
    const struct itimerval fast = {{0, 300}, {0, 300}}, off = {{0, 0}, {0, 0}};

    in(f, "f");
    in(none, "none");
    in(signal_f, "b/g");
    in(signal_none, "b/none");
    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &fast, NULL);
    unsigned bad = 0;
    for (int i = 0; i < 200000 && signals < 300; i++)
        bad += use(f, none) != ALL;
    setitimer(ITIMER_REAL, &off, NULL);
    printf("in signal handlers: enough %d, wrong %d, %u\n", signals >= 300, (int)wrong, bad);
}

/* --- threads, fork, vfork --------------------------------------------------------------------------------------- */

static void *thread(void *arg)
{
    char f[PATH_MAX], none[PATH_MAX];
    unsigned bad = 0;

    in(f, "f");
    in(none, "none");
    for (int i = 0; i < 300; i++) {
        DIR *d = opendir(dir);
        unsigned names = 0;
        for (struct dirent *e; d && (e = readdir(d));) {
            struct stat st;
            names++;
            bad += fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0;
            if (strcmp(e->d_name, "..") != 0)
                bad += e->d_ino != st.st_ino;
        }
        if (d)
            closedir(d);
        bad += names < 5 || use(f, none) != ALL;
    }
    *(unsigned *)arg = bad;
    return NULL;
}

static void with_threads(void)
{
    pthread_t threads[8];
    unsigned bad[8] = {0};
    char f[PATH_MAX], none[PATH_MAX];

    in(f, "f");
    in(none, "none");
    for (int i = 0; i < 8; i++)
        pthread_create(&threads[i], NULL, thread, &bad[i]);
    /* Children of a program with threads, in the midst of it. */
    int failed = 0;
    for (int i = 0; i < 30; i++) {
        const pid_t pid = fork();
        if (pid == 0) {
            alarm(20);
            _exit(use(f, none) != ALL);
        }
        int status;
        waitpid(pid, &status, 0);
        failed += status != 0;
    }
    unsigned sum = 0;
    for (int i = 0; i < 8; i++) {
        pthread_join(threads[i], NULL);
        sum += bad[i];
    }
    printf("threads: wrong %u, children failed %d\n", sum, failed);
}

static void with_vfork(void)
{
    struct stat before, after;
    char b[PATH_MAX];
    int status;

    in(b, "b");
    if (chdir(dir) != 0)
        exit(1);
    printf("relative: %d %d\n", stat("f", &before), stat("g", &after));
    const pid_t pid = vfork();
    if (pid == 0) {
        struct stat st;
        /* The child's current directory is its own, though the memory is its parent's. */
        if (chdir(b) != 0 || stat("g", &st) != 0 || stat("f", &st) == 0)
            _exit(1);
        _exit(0);
    }
    waitpid(pid, &status, 0);
    printf("vfork child: %d; parent: %d %d\n", status, stat("f", &before), stat("g", &after));
    char *argv[] = {(char *)"cat", (char *)"g", NULL};
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addchdir_np(&actions, b);
    pid_t spawned;
    fflush(stdout);
    const int rc = posix_spawnp(&spawned, "cat", &actions, NULL, argv, environ);
    waitpid(spawned, &status, 0);
    printf("posix_spawn: %d %d\n", rc, status);
}

#if !__GLIBC_PREREQ(2, 34)
static void closefrom(int first)
{
    const int last = (int)sysconf(_SC_OPEN_MAX);

    for (int fd = first; fd < last; fd++) close(fd);
}
#endif

static void without_descriptors(void)
{
    char f[PATH_MAX], none[PATH_MAX];

    in(f, "f");
    in(none, "none");
    closefrom(3);
    printf("after closefrom: %d\n", use(f, none) == ALL);
    const int fd = open(f, O_RDONLY);
    printf("next descriptor: %d\n", fd);
    close(fd);
}

/* After the shim's destructor, and before its constructor, there are others'. */
static __attribute__((constructor(101))) void early(void)
{
    struct stat st;
    printf("constructor: %d\n", stat("/usr", &st));
}

static __attribute__((destructor)) void late(void)
{
    struct stat st;
    char f[PATH_MAX], none[PATH_MAX];

    if (!dir)
        return;
    printf("destructor: %d %d\n", use(in(f, "f"), in(none, "none")) == ALL, stat("/usr", &st));
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: rules DIRECTORY\n");
        return 2;
    }
    dir = argv[1];
    no_heap_and_errno();
    bad_pointers();
    in_signal_handlers();
    with_threads();
    with_vfork();
    without_descriptors();
    puts("done");
    return 0;
}
