/* Makes every reading call of the C library that the shim stands before, in each of its forms, on each path given, and
 * prints what came back: the same natively and served, or the shim shows.
 *
 * usage: calls [-k] DIRECTORY PATH...   paths are used as they are, and relative to a descriptor of DIRECTORY, too
 *
 * -k: without what only the kernel can tell: whether one may write, and flags that nobody knows */
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

static const char *form;
static int known_only;

static void say_errno(const char *what, long rc)
{
    const int e = errno;
    printf("%s %s: %ld", form, what, rc);
    if (rc < 0)
        printf(" errno %d (%s)", e, strerror(e));
    putchar('\n');
}

static void say_stat(const char *what, int rc, const struct stat *st)
{
    say_errno(what, rc);
    if (rc == 0)
        printf("    dev %lx ino %lu mode %o nlink %lu uid %u gid %u rdev %lx size %ld blksize %ld blocks %ld mtime "
               "%ld.%09ld ctime %ld.%09ld\n",
               st->st_dev, st->st_ino, st->st_mode, (unsigned long)st->st_nlink, st->st_uid, st->st_gid, st->st_rdev,
               st->st_size, (long)st->st_blksize, (long)st->st_blocks, st->st_mtim.tv_sec, st->st_mtim.tv_nsec,
               st->st_ctim.tv_sec, st->st_ctim.tv_nsec);
}

static void say_statx(const char *what, int rc, const struct statx *x)
{
    say_errno(what, rc);
    if (rc == 0)
        printf("    dev %u:%u ino %llu mode %o nlink %u size %llu blocks %llu mtime %lld.%09u btime %lld.%09u attr %llx\n",
               x->stx_dev_major, x->stx_dev_minor, (unsigned long long)x->stx_ino, x->stx_mode, x->stx_nlink,
               (unsigned long long)x->stx_size, (unsigned long long)x->stx_blocks, (long long)x->stx_mtime.tv_sec,
               x->stx_mtime.tv_nsec, (long long)x->stx_btime.tv_sec, x->stx_btime.tv_nsec,
               (unsigned long long)x->stx_attributes);
}

/* The contents behind a descriptor: length, a sum, and what fstat says; closes it. */
static void say_fd(const char *what, int fd, int flags)
{
    say_errno(what, fd < 0 ? -1 : 0);
    if (fd < 0)
        return;
    struct stat st;
    int rc = fstat(fd, &st);
    say_stat("fstat of it", rc, &st);
    struct stat64 st64;
    rc = fstat64(fd, &st64);
    say_errno("fstat64 of it", rc);
    rc = fstatat(fd, "", &st, AT_EMPTY_PATH);
    say_stat("fstatat of it", rc, &st);
    struct statx x;
    rc = statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_BTIME, &x);
    say_statx("statx of it", rc, &x);
    printf("    status flags %o, descriptor flags %o\n", fcntl(fd, F_GETFL), fcntl(fd, F_GETFD));
    char link[64], name[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, name, sizeof name);
    printf("    is %.*s\n", (int)(n < 0 ? 0 : n), name);
    if (!(flags & O_PATH) && rc == 0 && S_ISREG(st.st_mode)) {
        unsigned char buf[4096];
        unsigned long sum = 0, bytes = 0;
        while ((n = read(fd, buf, sizeof buf)) > 0)
            for (ssize_t i = 0; i < n; i++, bytes++)
                sum = sum * 31 + buf[i];
        printf("    %lu bytes, sum %lx\n", bytes, sum);
    }
    close(fd);
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static int no_dots(const struct dirent *d)
{
    return d->d_name[0] != '.';
}

static void say_names(const char *what, struct dirent **list, int n)
{
    say_errno(what, n);
    for (int i = 0; i < n; i++) {
        printf("    %s ino %lu type %d\n", list[i]->d_name, list[i]->d_ino, list[i]->d_type);
        free(list[i]);
    }
    if (n >= 0)
        free(list);
}

/* A stream's entries, in the order of their names; closes it. */
static void say_stream(const char *what, DIR *dir, int use64)
{
    struct dirent *list[10000];
    int n = 0;

    say_errno(what, dir ? 0 : -1);
    if (!dir)
        return;
    for (;;) {
        struct dirent *e = use64 ? (struct dirent *)readdir64(dir) : readdir(dir);
        if (!e || n == 10000)
            break;
        list[n] = malloc(e->d_reclen);
        memcpy(list[n++], e, e->d_reclen);
    }
    struct stat st;
    say_stat("fstat of its descriptor", fstat(dirfd(dir), &st), &st);
    rewinddir(dir);
    int again = 0;
    while (readdir(dir))
        again++;
    printf("    %d entries, %d after rewinddir\n", n, again);
    qsort(list, (size_t)n, sizeof *list, (int (*)(const void *, const void *))by_name);
    for (int i = 0; i < n; i++) {
        printf("    %s ino %lu type %d\n", list[i]->d_name, list[i]->d_ino, list[i]->d_type);
        free(list[i]);
    }
    closedir(dir);
}

/* Functions of which the headers of some C libraries know nothing any more. */
#define OLD(name, type, ...)                                     \
    do {                                                         \
        type fn = (type)dlsym(RTLD_DEFAULT, #name);              \
        memset(&st, 0, sizeof st);                               \
        errno = 0;                                               \
        say_stat(#name, fn ? fn(__VA_ARGS__) : 0, &st);          \
    } while (0)

static void at(int dirfd, const char *path)
{
    static const int stat_flags[] = {0, AT_SYMLINK_NOFOLLOW, AT_NO_AUTOMOUNT, AT_EMPTY_PATH, 0x40000000};
    static const int open_flags[] = {O_RDONLY, O_RDONLY | O_CLOEXEC, O_RDONLY | O_NOFOLLOW, O_RDONLY | O_DIRECTORY,
                                     O_PATH, O_PATH | O_NOFOLLOW, O_RDONLY | O_NONBLOCK};
    struct stat st;
    struct statx x;
    char buf[PATH_MAX];

    for (size_t i = 0; i < sizeof stat_flags / sizeof *stat_flags; i++) {
        if (known_only && stat_flags[i] == 0x40000000)
            continue;
        say_stat("fstatat", fstatat(dirfd, path, &st, stat_flags[i]), &st);
        say_stat("fstatat64", fstatat64(dirfd, path, (struct stat64 *)&st, stat_flags[i]), &st);
        say_statx("statx", statx(dirfd, path, stat_flags[i], STATX_BASIC_STATS | STATX_BTIME, &x), &x);
        if (known_only && stat_flags[i] & ~AT_SYMLINK_NOFOLLOW)
            continue;
        say_errno("faccessat", faccessat(dirfd, path, R_OK, stat_flags[i]));
    }
    typedef int (*fxstatat)(int, int, const char *, struct stat *, int);
    OLD(__fxstatat, fxstatat, 1, dirfd, path, &st, 0);
    OLD(__fxstatat64, fxstatat, 1, dirfd, path, &st, AT_SYMLINK_NOFOLLOW);
    for (size_t i = 0; i < sizeof open_flags / sizeof *open_flags; i++) {
        say_fd("openat", openat(dirfd, path, open_flags[i]), open_flags[i]);
        say_fd("openat64", openat64(dirfd, path, open_flags[i]), open_flags[i]);
    }
    for (size_t size = 0; size < 20; size += 5) {
        memset(buf, '#', sizeof buf);
        ssize_t n = readlinkat(dirfd, path, buf, size);
        say_errno("readlinkat", n);
        printf("    %.20s\n", buf);
    }
    struct dirent **list = NULL;
    const int names = scandirat(dirfd, path, &list, no_dots, by_name);
    say_names("scandirat", list, names);
}

static void plain(const char *path)
{
    struct stat st;
    char buf[PATH_MAX];

    say_stat("stat", stat(path, &st), &st);
    say_stat("stat64", stat64(path, (struct stat64 *)&st), &st);
    say_stat("lstat", lstat(path, &st), &st);
    say_stat("lstat64", lstat64(path, (struct stat64 *)&st), &st);
    typedef int (*xstat)(int, const char *, struct stat *);
    OLD(__xstat, xstat, 1, path, &st);
    OLD(__xstat64, xstat, 1, path, &st);
    OLD(__lxstat, xstat, 1, path, &st);
    OLD(__lxstat64, xstat, 1, path, &st);
    for (int mode = 0; mode < 8; mode++) {
        if (known_only && mode & W_OK)
            continue;
        say_errno("access", access(path, mode));
        say_errno("euidaccess", euidaccess(path, mode));
        say_errno("eaccess", eaccess(path, mode));
    }
    say_fd("open", open(path, O_RDONLY), 0);
    say_fd("open64", open64(path, O_RDONLY | O_CLOEXEC), 0);
    typedef int (*open_2)(const char *, int);
    open_2 fn = (open_2)dlsym(RTLD_DEFAULT, "__open_2");
    say_fd("__open_2", fn(path, O_RDONLY), 0);
    fn = (open_2)dlsym(RTLD_DEFAULT, "__open64_2");
    say_fd("__open64_2", fn(path, O_RDONLY | O_DIRECTORY), 0);
    ssize_t n = readlink(path, buf, sizeof buf);
    say_errno("readlink", n);
    printf("    %.*s\n", (int)(n < 0 ? 0 : n), buf);
    char *p = realpath(path, NULL);
    say_errno("realpath", p ? 0 : -1);
    printf("    %s\n", p ? p : "-");
    free(p);
    memset(buf, 0, sizeof buf);
    p = realpath(path, buf);
    say_errno("realpath", p ? 0 : -1);
    printf("    %s\n", buf);
    p = canonicalize_file_name(path);
    say_errno("canonicalize_file_name", p ? 0 : -1);
    printf("    %s\n", p ? p : "-");
    free(p);
    static const char *const modes[] = {"r", "rb", "re", "r,ccs=UTF-8"};
    for (size_t i = 0; i < 4; i++) {
        FILE *f = i % 2 ? fopen64(path, modes[i]) : fopen(path, modes[i]);
        say_errno("fopen", f ? 0 : -1);
        if (f) {
            unsigned long sum = 0;
            if (i < 3)
                for (int c; (c = getc(f)) != EOF;)
                    sum = sum * 31 + (unsigned)c;
            printf("    sum %lx error %d\n", sum, ferror(f));
            say_stat("fstat of the stream", fstat(fileno(f), &st), &st);
            fclose(f);
        }
    }
    if (!known_only || access(path, F_OK) == 0) { /* it is the C library that closes the stream when there is nothing */
        FILE *f = fopen("/dev/null", "r");
        f = freopen(path, "r", f);
        say_errno("freopen", f ? 0 : -1);
        if (f)
            fclose(f);
    }
    say_stream("opendir", opendir(path), 0);
    say_stream("opendir, readdir64", opendir(path), 1);
    int fd = open(path, O_RDONLY | O_DIRECTORY);
    if (fd >= 0)
        say_stream("fdopendir", fdopendir(fd), 0);
    struct dirent **list = NULL;
    const int names = scandir(path, &list, NULL, alphasort);
    say_names("scandir", list, names);
    fd = open(path, O_RDONLY | O_DIRECTORY);
    if (fd >= 0) {
        say_errno("fchdir", fchdir(fd));
        close(fd);
        puts(getcwd(buf, sizeof buf) ? buf : "-");
        say_stat("stat of .", stat(".", &st), &st);
        say_stat("stat of ..", stat("..", &st), &st);
    }
}

int main(int argc, char **argv)
{
    char cwd[PATH_MAX];
    if (argc > 1 && strcmp(argv[1], "-k") == 0) {
        known_only = 1;
        argc--;
        argv++;
    }
    int dir = argc > 2 ? open(argv[1], O_RDONLY | O_DIRECTORY) : -1;

    if (dir < 0 || !getcwd(cwd, sizeof cwd)) {
        fprintf(stderr, "usage: calls [-k] DIRECTORY PATH...\n");
        return 2;
    }
    for (int i = 2; i < argc; i++) {
        printf("== %s\n", argv[i]);
        form = "plain";
        plain(argv[i]);
        if (chdir(argv[1]) != 0)
            return 1;
        form = "from the directory";
        plain(argv[i]);
        form = "AT_FDCWD";
        at(AT_FDCWD, argv[i]);
        if (chdir(cwd) != 0)
            return 1;
        form = "at its descriptor";
        at(dir, argv[i]);
    }
    return 0;
}
