/* Makes random calls on a random tree, all of them from one seed, and prints a line for each: natively on one copy of
 * the tree and served on another, at a path of the same length, the lines are the same, or the shim shows.
 *
 * usage: differ [-w] [-g] SEED COUNT TREE   COUNT calls that read; -w: also calls that change something
 *        differ -t SEED TREE                makes the tree, and its parent directory
 *        differ -p TREE                     the pilot: looks at everything below
 *        differ -r SEED ROUNDS TREE         threads and processes that write and read at once; says what went wrong
 *
 * Paths are printed with @ for TREE. What lies outside of TREE's parent directory is left alone: before each call the
 * kernel is asked, past the C library, where its path leads. -g: without that question, and only calls that are
 * served as a rule, for counting system calls.
 * Inodes are printed as "the first path that had it"; in a tree that changes, where numbers come again, only whether
 * two are equal. */
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>
#include <utime.h>

#if !__GLIBC_PREREQ(2, 32)
#define strerrorname_np strerror
#endif

/* --- chance --------------------------------------------------------------------------------------------------- */

static uint64_t state;

static uint64_t chance(void)
{
    uint64_t z = state += 0x9e3779b97f4a7c15ull;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ z >> 27) * 0x94d049bb133111ebull;
    return z ^ z >> 31;
}

static unsigned below(unsigned n)
{
    return (unsigned)(chance() % n);
}

static bool one_in(unsigned n)
{
    return below(n) == 0;
}

#define COUNT(a) (sizeof(a) / sizeof *(a))
#define PICK(a) ((a)[below(COUNT(a))])

/* --- the tree that a seed stands for -------------------------------------------------------------------------- */

#define ENTRIES 160
static char long_name[256]; /* the longest that there may be: filled in by main */

static const char *const names[] = {"a", "b", "c", "d", "f", "g", "h", "mod.py", "lib.so", "\xff\xfe", "new\nline",
                                    "sp ace", "\"q\"", "caf\xc3\xa9", long_name, ".hidden", "...", "au", "bu"};

struct entry {
    char *path; /* relative to TREE */
    char kind;  /* d, f, l, h(ard link), p(ipe) */
    mode_t mode;
    char *text; /* a link's target; a file's contents */
};
static struct entry entries[ENTRIES];
static unsigned entry_count;
static char tree[PATH_MAX], sandbox[PATH_MAX];
static size_t tree_len, sandbox_len;
static bool writing, guarded = true;

static char *text(const char *format, ...) __attribute__((format(printf, 1, 2)));
static char *text(const char *format, ...)
{
    char *s;
    va_list ap;
    va_start(ap, format);
    if (vasprintf(&s, format, ap) < 0)
        abort();
    va_end(ap);
    return s;
}

static bool taken(const char *path)
{
    for (unsigned i = 0; i < entry_count; i++)
        if (strcmp(entries[i].path, path) == 0)
            return true;
    return false;
}

static unsigned depth_of(const char *path)
{
    unsigned n = *path != '\0';
    for (; *path; path++)
        n += *path == '/';
    return n;
}

static const char *some_entry(char kind)
{
    for (unsigned tries = 0; entry_count && tries < 50; tries++) {
        const struct entry *e = &entries[below(entry_count)];
        if (kind == 0 || e->kind == kind)
            return e->path;
    }
    return "";
}

/* Up from the directory that holds `path`, times more than there are levels where `above` is set. */
static char *up_from(const char *path, const char *to, bool above)
{
    char up[3 * 64 + 1] = "";
    for (unsigned i = above ? 40 : depth_of(path) - 1; i > 0; i--)
        strcat(up, "../");
    return text("%s%s", up, to);
}

static char *link_target(const char *path)
{
    switch (below(9)) {
    case 0: return text("nowhere");
    case 1: return text("%s", PICK(names));
    case 2: return text("%s/", PICK(names));
    case 3: return text("%s/%s", tree, some_entry(0));
    case 4: return text("%s/%s/", tree, some_entry('d'));
    case 5: return up_from(path, some_entry(0), false);
    case 6: return up_from(path, tree + 1, true);
    case 7: return text("%s", strrchr(path, '/') ? strrchr(path, '/') + 1 : path); /* itself */
    default: return up_from(path, some_entry('l'), false);
    }
}

static void plan_entry(const char *dir, char kind)
{
    static const mode_t odd[] = {0000, 0444, 0111, 0700, 0555, 0200, 04755, 0311};
    char *path = text("%s%s%s", dir, *dir ? "/" : "", PICK(names));
    struct entry *e = &entries[entry_count];

    if (taken(path) || strlen(path) > 1500) {
        free(path);
        return;
    }
    *e = (struct entry){path, kind, kind == 'd' ? 0755 : 0644, NULL};
    if (one_in(8) && depth_of(path) > 1)
        e->mode = PICK(odd);
    if (kind == 'f')
        e->text = one_in(5) ? text("%s", "") : text("%0*u contents of %s\n", (int)below(one_in(9) ? 9000 : 90),
                                                    below(1000), path);
    else if (kind == 'l')
        e->text = link_target(path);
    else if (kind == 'h')
        e->text = text("%s", some_entry('f'));
    entry_count++;
}

static void plan(uint64_t seed)
{
    state = seed;
    while (entry_count < 12)
        plan_entry(one_in(2) ? "" : some_entry('d'), one_in(3) ? 'f' : 'd');
    while (entry_count < ENTRIES) {
        static const char kinds[] = "ffffffddlllllhp";
        const char *dir = one_in(9) ? "" : some_entry('d');
        plan_entry(dir, kinds[below(sizeof kinds - 1)]);
    }
}

static void must(int rc, const char *path)
{
    if (rc < 0) {
        fprintf(stderr, "differ: %s: %s\n", path, strerror(errno));
        exit(2);
    }
}

#include "differ-race.h"

/* The stager could not see the name: some directory above it may not be read, or not searched. A file of which the image
 * has one name and not another is a limit (doc/how-it-works.md). */
static bool hidden(const char *path)
{
    for (unsigned i = 0; i < entry_count && geteuid() != 0; i++) {
        const size_t n = strlen(entries[i].path);
        if (entries[i].kind == 'd' && (entries[i].mode & 0500) != 0500 && strncmp(path, entries[i].path, n) == 0 &&
            path[n] == '/')
            return true;
    }
    return false;
}

static void make_entry(const struct entry *e)
{
    char *path = text("%s/%s", tree, e->path);
    int fd;

    switch (e->kind) {
    case 'd': must(mkdir(path, 0700), path); break;
    case 'p': must(mkfifo(path, 0600), path); break;
    case 'l': must(symlink(*e->text ? e->text : ".", path), path); break; /* never empty: ENOENT */
    case 'h': {
        char *from = text("%s/%s", tree, e->text);
        if (*e->text == '\0' || hidden(e->path) || hidden(e->text) || link(from, path) != 0)
            must(mkfifo(path, 0600), path);
        free(from);
        break;
    }
    default:
        must(fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600), path);
        must((int)write(fd, e->text, strlen(e->text)), path);
        close(fd);
    }
    free(path);
}

#define OLD 1000000000 /* the time that everything has until it is changed */

static void make_tree(void)
{
    umask(022);
    must(mkdir(sandbox, 0755), sandbox);
    must(mkdir(tree, 0755), tree);
    make_race();
    for (unsigned i = 0; i < entry_count; i++)
        make_entry(&entries[i]);
    for (unsigned i = entry_count; i-- > 0;) {
        const struct timespec old[2] = {{OLD, 0}, {OLD + i, 5}};
        char *path = text("%s/%s", tree, entries[i].path);
        must(utimensat(AT_FDCWD, path, old, AT_SYMLINK_NOFOLLOW), path);
        if (entries[i].kind != 'l')
            must(chmod(path, entries[i].mode), path);
        free(path);
    }
    must(utimensat(AT_FDCWD, tree, (struct timespec[2]){{OLD, 0}, {OLD, 0}}, 0), tree);
}

/* --- the pilot ------------------------------------------------------------------------------------------------ */

static int look(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    char buf[4096];
    const size_t len = strlen(path);

    (void)ftw;
    (void)type;
    if (path[len - 1] == 'u') /* a name that the pilot does not touch */
        return 0;
    if (S_ISLNK(st->st_mode) && readlink(path, buf, sizeof buf) > 0 && stat(path, &(struct stat){0}) != 0)
        return 0;
    if (S_ISREG(st->st_mode)) {
        const int fd = open(path, O_RDONLY);
        while (fd >= 0 && read(fd, buf, sizeof buf) > 0)
            ;
        if (fd >= 0)
            close(fd);
    }
    return 0;
}

/* --- saying --------------------------------------------------------------------------------------------------- */

static unsigned long call_number;

/* What stands for the text at s in a line, so that it does not depend on where the tree is; its length in *used. */
static const char *short_for(const char *s, size_t left, size_t *used)
{
    const struct {
        const char *text, *sign;
        size_t len;
    } all[] = {{tree, "@", tree_len}, {sandbox, "@@", sandbox_len}, {long_name, "#", sizeof long_name - 1}};

    for (unsigned i = 0; i < COUNT(all); i++)
        if (left >= all[i].len && memcmp(s, all[i].text, all[i].len) == 0) {
            *used = all[i].len;
            return all[i].sign;
        }
    return NULL;
}

/* Long strings are cut, and told by their sum. */
static void say_text(const char *s, size_t len)
{
    uint32_t sum = 0;
    size_t used, n = 0;

    for (size_t i = 0; i < len; i += used, n++) {
        const char *sign = short_for(s + i, len - i, &used);
        if (!sign)
            used = 1;
        sum = sum * 31 + (unsigned char)(sign ? *sign : s[i]);
        if (n > 300)
            continue;
        if (sign)
            fputs(sign, stdout);
        else if ((unsigned char)s[i] <= ' ' || (unsigned char)s[i] > 126)
            printf("%%%02x", (unsigned char)s[i]);
        else
            putchar(s[i]);
    }
    if (n > 300)
        printf("...%zu,%08x", n, sum);
}

static void say_path(const char *s)
{
    if ((uintptr_t)s < 4096)
        printf("(%lu)", (unsigned long)(uintptr_t)s);
    else
        say_text(s, strlen(s));
}

static void say_rc(long rc)
{
    const int e = errno;
    printf(" = %ld", rc);
    if (rc < 0)
        printf(" %s", strerrorname_np(e) ? strerrorname_np(e) : "?");
}

/* Which one it is: a number in the order of first sight. */
static unsigned long inode_class(uint64_t dev, uint64_t ino)
{
    static struct {
        uint64_t dev, ino;
    } seen[8 * ENTRIES];
    static unsigned count;

    if (writing)
        return 0;
    for (unsigned i = 0; i < count; i++)
        if (seen[i].dev == dev && seen[i].ino == ino)
            return i + 1;
    if (count < COUNT(seen)) {
        seen[count].dev = dev;
        seen[count++].ino = ino;
    }
    return count;
}

/* Times that nobody set are the hour of the run. */
static long known_time(long t)
{
    return t >= 0 && t < OLD + 1000000 ? t : -1;
}

static void say_stat(const struct stat *st)
{
    if (st->st_nlink == 0) { /* a deliberate limit: the rest is as it was staged */
        fputs(" {n0}", stdout);
        return;
    }
    printf(" {%o n%lu u%u g%u", st->st_mode, (unsigned long)st->st_nlink, st->st_uid, st->st_gid);
    if (!S_ISDIR(st->st_mode) || !writing)
        printf(" s%ld", S_ISDIR(st->st_mode) ? 0l : (long)st->st_size);
    printf(" t%ld i%lu}", known_time(st->st_mtim.tv_sec), inode_class(st->st_dev, st->st_ino));
}

/* --- where a path leads, asked past the C library ------------------------------------------------------------- */

static bool fd_is_inside(int fd, bool strictly)
{
    char link[40], to[PATH_MAX];

    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    const long n = syscall(SYS_readlinkat, AT_FDCWD, link, to, sizeof to - 1);
    syscall(SYS_close, fd);
    if (n <= 0)
        return false;
    to[n] = '\0';
    if (strncmp(to, sandbox, sandbox_len) != 0 || (to[sandbox_len] != '/' && to[sandbox_len] != '\0'))
        return false;
    return !strictly || (to[sandbox_len] == '/' && strncmp(to, tree, (size_t)n) != 0);
}

static bool inside(int dirfd, const char *path, bool change);

/* A link that leads nowhere: what would be made there would be made in the sandbox. */
static bool target_is_inside(const char *path, char *target, size_t len)
{
    const char *slash = strrchr(path, '/');
    char *to;

    target[len] = '\0';
    to = *target == '/' || !slash ? text("%s", target) : text("%.*s/%s", (int)(slash - path), path, target);
    const bool in = inside(AT_FDCWD, to, true);
    free(to);
    return in;
}

/* The call's path leads to something in the sandbox, or to nothing in a directory of it. `change`: and is neither
 * TREE nor above. Relative to what the kernel says, whatever the shim made of the descriptor. */
static bool inside(int dirfd, const char *path, bool change)
{
    const int saved = errno;
    const char *slash;
    char text_of[PATH_MAX];
    bool in = true;
    long fd, n;

    if (!guarded || (uintptr_t)path < 4096 || strlen(path) >= PATH_MAX)
        return true;
    if (path[0] != '/' && dirfd != AT_FDCWD) {
        /* The descriptor may be one of the mirror: by the path that the C library gives to it. */
        char link[40], whole[3 * PATH_MAX];
        snprintf(link, sizeof link, "/proc/self/fd/%d", dirfd);
        n = readlink(link, whole, PATH_MAX);
        if (n > 0) {
            snprintf(whole + n, sizeof whole - (size_t)n, "/%s", path);
            in = strlen(whole) >= PATH_MAX || inside(AT_FDCWD, whole, change);
        }
        errno = saved;
        return in;
    }
    if ((fd = syscall(SYS_openat, dirfd, path, O_PATH | O_CLOEXEC)) >= 0)
        in = fd_is_inside((int)fd, change);
    else if (errno == ENOENT && change && (n = syscall(SYS_readlinkat, dirfd, path, text_of, PATH_MAX - 1)) > 0)
        in = target_is_inside(path, text_of, (size_t)n);
    else if ((slash = strrchr(path, '/')) == path)
        in = false; /* to be made in the root */
    else if (slash) {
        char *parent = strndup(path, (size_t)(slash - path));
        in = inside(dirfd, parent, false);
        free(parent);
    } else if (change) {
        in = inside(dirfd, ".", false);
    }
    errno = saved;
    return in;
}

/* --- what the calls are made on ------------------------------------------------------------------------------- */

#define SLOTS 12
static struct slot {
    int fd;
    char *path; /* of the plan, relative to TREE */
    char *real; /* where that was when it was opened, or NULL */
    bool dir, writable;
    const char *how;
    struct timespec since; /* mtime when it was opened */
    off_t size;
} slots[SLOTS];
static struct {
    DIR *dir;
    char *path;
} streams[4];
static char *cwd; /* relative to TREE, as far as we know */

struct where {
    int dirfd;
    const char *form; /* how it is given: for the line */
    char *path;
};

static char *relative_to(const char *from, const char *to)
{
    const size_t n = strlen(from);
    if (n && strncmp(to, from, n) == 0 && to[n] == '/')
        return text("%s", to + n + 1);
    char up[3 * 64 + 4] = "";
    for (unsigned i = depth_of(from); i > 0 && i < 64; i--)
        strcat(up, "../");
    return text("%s%s", up, to);
}

static char *replaced(char *old, char *new)
{
    free(old);
    return new;
}

/* A path of the plan with something done to it. */
static char *twisted(void)
{
    char *p = text("%s", one_in(30) ? "." : some_entry(0));
    for (unsigned i = one_in(2) ? 0 : 1 + below(3); i > 0; i--) {
        char *slash = strrchr(p, '/');
        switch (below(13)) {
        case 0: p = replaced(p, text("%s/.", p)); break;
        case 1: p = replaced(p, text("%s/..", p)); break;
        case 2: p = replaced(p, text("%s/", p)); break;
        case 3: p = replaced(p, text("%s//%s", p, PICK(names))); break;
        case 4: p = replaced(p, text("%s/none", p)); break;
        case 5: p = replaced(p, text("%s/../%s", p, PICK(names))); break;
        case 6: p = replaced(p, text("%s/%s", p, PICK(names))); break;
        case 7: p = replaced(p, text("%s/%s", some_entry('d'), PICK(names))); break;
        case 8: p = replaced(p, text("%s/%s/", some_entry('l'), PICK(names))); break;
        case 9: p = replaced(p, text("%s/%s", some_entry('l'), PICK(names))); break;
        case 10:
            if (slash)
                p = replaced(p, text("%.*s/.//%s", (int)(slash - p), p, slash + 1));
            break;
        case 11:
            if (one_in(6))
                p = replaced(p, text("%s%s", p, "-that-makes-a-name-of-more-than-two-hundred-fifty-five-bytes-"
                                                "so-that-it-cannot-be-there-012345678901234567890123456789012345678"
                                                "0123456789012345678901234567890123456789012345678901234567890123456"
                                                "01234567890123456789012345678901234567890123456789012345678"));
            break;
        default: p = replaced(p, text("%s/u/v", p)); break;
        }
    }
    return p;
}

static char *odd_path(void)
{
    switch (below(3)) {
    case 0: return text("%s", "");
    case 1: {
        char *p = malloc(5001);
        for (unsigned i = 0; i < 5000; i += 2)
            memcpy(p + i, "./", 2);
        p[5000] = '\0';
        return p;
    }
    default: return text("/");
    }
}

/* `at`: the call takes a descriptor. */
static struct where somewhere(bool at)
{
    struct where w = {AT_FDCWD, "", NULL};

    if (one_in(60)) {
        w.path = odd_path();
        w.form = "odd ";
    }
    const struct slot *s = &slots[below(SLOTS)];
    char *rel = w.path ? NULL : twisted();
    if (at && one_in(40))
        w.dirfd = (int[]){-1, -7, 999}[below(3)], w.form = "bad ";
    else if (at && s->fd >= 0 && (s->dir ? !one_in(3) : one_in(8)))
        w.dirfd = s->fd, w.form = s->how;
    if (!w.path) {
        if (w.dirfd >= 0 && w.dirfd < 999)
            w.path = one_in(3) ? text("%s", PICK(names)) : relative_to(s->path, rel);
        else if (one_in(2) && cwd)
            w.path = relative_to(cwd, rel), w.form = *w.form ? w.form : "cwd ";
        else
            w.path = text("%s/%s", tree, rel);
    }
    free(rel);
    return w;
}

static void begin(const char *name, const struct where *w)
{
    printf("%lu %s %s", call_number, name, w->form);
    say_path(w->path);
}

/* False, and said so, where the call must not be made. */
static bool allowed(const struct where *w, bool change)
{
    if (inside(w->dirfd, w->path, change))
        return true;
    fputs(" outside", stdout);
    return false;
}

/* --- contents and lists --------------------------------------------------------------------------------------- */

static void say_contents(int fd)
{
    static char buf[16384] __attribute__((aligned(4096))); /* for O_DIRECT, too */
    const ssize_t n = pread(fd, buf, sizeof buf, 0);

    say_rc(n);
    if (n > 0) {
        putchar(' ');
        say_text(buf, (size_t)n);
    }
}

struct list {
    char *lines[4096];
    size_t n;
};

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void add(struct list *l, const char *name, unsigned type, uint64_t ino)
{
    (void)ino; /* the number's class is that of a file: an entry gives no device */
    if (l->n < COUNT(l->lines))
        l->lines[l->n++] = text("%s:%u", name, type);
}

static void say_list(struct list *l)
{
    qsort(l->lines, l->n, sizeof *l->lines, by_text);
    printf(" %zu[", l->n);
    for (size_t i = 0; i < l->n; i++) {
        putchar(' ');
        say_text(l->lines[i], strlen(l->lines[i]));
        free(l->lines[i]);
    }
    fputs(" ]", stdout);
    l->n = 0;
}

static struct list list;

static void read_stream(DIR *d)
{
    struct dirent *e;
    for (errno = 0; (e = readdir(d)) != NULL; errno = 0)
        add(&list, e->d_name, e->d_type, e->d_ino);
    if (errno)
        say_rc(-1);
    say_list(&list);
}

/* Whether an entry's number is that of the file. */
static void say_numbers(DIR *d)
{
    unsigned wrong = 0;
    struct dirent *e;

    rewinddir(d);
    while ((e = readdir(d)) != NULL) {
        struct stat st;
        if (strcmp(e->d_name, "..") != 0 && fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
            st.st_ino != e->d_ino)
            wrong++;
    }
    printf(" wrong%u", wrong);
}

/* --- the calls that read -------------------------------------------------------------------------------------- */

static const int stat_flags[] = {0, 0, AT_SYMLINK_NOFOLLOW, AT_SYMLINK_NOFOLLOW, AT_NO_AUTOMOUNT, AT_EMPTY_PATH,
                                 AT_SYMLINK_FOLLOW, 0x8000, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH};
static const int access_modes[] = {F_OK, F_OK, R_OK, X_OK, R_OK | X_OK, W_OK, 8, -1};
static const int access_flags[] = {0, 0, AT_EACCESS, AT_SYMLINK_NOFOLLOW, 0x8000, AT_EACCESS | AT_SYMLINK_NOFOLLOW};
static const int read_flags[] = {0, 0, 0, O_CLOEXEC, O_DIRECTORY, O_DIRECTORY, O_NOFOLLOW, O_PATH,
                                 O_PATH | O_NOFOLLOW,
                                 O_DIRECTORY | O_NOFOLLOW, O_NOCTTY, O_NOATIME, O_DIRECT, O_SYNC, O_ASYNC,
                                 O_PATH | O_DIRECTORY, O_ACCMODE, 0x40000000, O_LARGEFILE};

typedef int (*xstat)(int, const char *, struct stat *);
typedef int (*xstatat)(int, int, const char *, struct stat *, int);

static void call_stat(void)
{
    static const char *const forms[] = {"stat", "lstat", "stat64", "lstat64", "__xstat", "__lxstat"};
    const unsigned form = below(COUNT(forms));
    struct where w = somewhere(false);
    struct stat st;
    int rc;

    if (one_in(100))
        w.path = replaced(w.path, NULL);
    begin(forms[form], &w);
    if (allowed(&w, false)) {
        xstat x = form > 3 ? (xstat)dlsym(RTLD_DEFAULT, forms[form]) : NULL;
        rc = form == 0   ? stat(w.path, &st)
             : form == 1 ? lstat(w.path, &st)
             : form == 2 ? stat64(w.path, (struct stat64 *)&st)
             : form == 3 || !x ? lstat64(w.path, (struct stat64 *)&st)
                         : x(1, w.path, &st);
        say_rc(rc);
        if (rc == 0)
            say_stat(&st);
    }
    free(w.path);
}

static void call_statat(void)
{
    const bool old = one_in(4);
    const int flags = PICK(stat_flags);
    struct where w = somewhere(true);
    struct stat st;

    begin(old ? "__fxstatat" : "fstatat", &w);
    printf(" %x", flags);
    if (allowed(&w, false)) {
        xstatat x = old ? (xstatat)dlsym(RTLD_DEFAULT, "__fxstatat") : NULL;
        const int rc = x ? x(1, w.dirfd, w.path, &st, flags) : fstatat(w.dirfd, w.path, &st, flags);
        say_rc(rc);
        if (rc == 0)
            say_stat(&st);
    }
    free(w.path);
}

static void call_statx(void)
{
    static const unsigned masks[] = {STATX_BASIC_STATS, STATX_BASIC_STATS, STATX_TYPE, STATX_MTIME, 0, 0x80000000u,
                                     STATX_ALL, STATX_BASIC_STATS | STATX_MNT_ID};
    const int flags = one_in(4) ? AT_STATX_DONT_SYNC : one_in(6) ? AT_STATX_SYNC_TYPE : PICK(stat_flags);
    const unsigned mask = PICK(masks);
    struct where w = somewhere(true);
    struct statx x;

    begin("statx", &w);
    printf(" %x %x", flags, mask);
    if (allowed(&w, false)) {
        const int rc = statx(w.dirfd, w.path, flags, mask, &x);
        say_rc(rc);
        if (rc == 0)
            /* Times that were not asked for are there or not, as the kernel's version and file system please. */
            printf(" {%o n%u u%u g%u s%llu t%ld i%lu}", x.stx_mode, x.stx_nlink, x.stx_uid, x.stx_gid,
                   S_ISDIR(x.stx_mode) ? 0 : x.stx_size,
                   mask & STATX_MTIME ? known_time((long)x.stx_mtime.tv_sec) : 0,
                   inode_class(makedev(x.stx_dev_major, x.stx_dev_minor), x.stx_ino));
    }
    free(w.path);
}

static void call_access(void)
{
    static const char *const forms[] = {"access", "faccessat", "euidaccess", "eaccess"};
    const unsigned form = below(COUNT(forms));
    const int mode = PICK(access_modes), flags = PICK(access_flags);
    struct where w = somewhere(form == 1);

    begin(forms[form], &w);
    printf(" %x %x", mode, form == 1 ? flags : 0);
    if (allowed(&w, false))
        say_rc(form == 0   ? access(w.path, mode)
               : form == 1 ? faccessat(w.dirfd, w.path, mode, flags)
               : form == 2 ? euidaccess(w.path, mode)
                           : eaccess(w.path, mode));
    free(w.path);
}

static void call_readlink(void)
{
    const bool at = one_in(2);
    const size_t size = one_in(4) ? below(12) : PATH_MAX;
    struct where w = somewhere(at);
    char buf[PATH_MAX];

    begin(at ? "readlinkat" : "readlink", &w);
    printf(" %zu", size);
    if (allowed(&w, false)) {
        const ssize_t n = at ? readlinkat(w.dirfd, w.path, buf, size) : readlink(w.path, buf, size);
        say_rc(n);
        if (n > 0 && size == PATH_MAX) {
            putchar(' ');
            say_text(buf, (size_t)n);
        }
    }
    free(w.path);
}

static void call_realpath(void)
{
    const unsigned form = below(3);
    struct where w = somewhere(false);
    char buf[PATH_MAX] = "";

    begin(((const char *const[]){"realpath", "realpath+", "canonicalize"})[form], &w);
    if (allowed(&w, false)) {
        char *r = form == 0   ? realpath(w.path, NULL)
                  : form == 1 ? realpath(w.path, buf)
                              : canonicalize_file_name(w.path);
        say_rc(r ? 0 : -1);
        putchar(' ');
        say_path(r ? r : buf);
        if (r != buf)
            free(r);
    }
    free(w.path);
}

static void close_slot(struct slot *s)
{
    if (s->fd >= 0)
        close(s->fd);
    free(s->path);
    free(s->real);
    *s = (struct slot){.fd = -1};
}

/* Descriptors keep their numbers apart from those of the shim's own: the lines say none. */
static void keep(int fd, const struct where *w, bool writable)
{
    struct slot *s = &slots[below(SLOTS)];
    struct stat st;
    const bool in_tree = strncmp(w->path, tree, tree_len) == 0 && w->path[tree_len] == '/';
    const char *rel = in_tree ? w->path + tree_len + 1 : NULL;

    close_slot(s);
    if (fstat(fd, &st) != 0 || (!rel && S_ISDIR(st.st_mode))) {
        close(fd);
        return;
    }
    *s = (struct slot){.fd = fd, .path = text("%s", rel ? rel : "?"), .real = realpath(w->path, NULL),
                       .dir = S_ISDIR(st.st_mode), .writable = writable, .since = st.st_mtim, .size = st.st_size};
    s->how = s->dir ? "dir " : "file ";
}

static int open_form(unsigned form, const struct where *w, int flags, mode_t mode)
{
    switch (form) {
    case 0: return open(w->path, flags, mode);
    case 1: return open64(w->path, flags, mode);
    case 2: return openat64(w->dirfd, w->path, flags, mode);
    default: return openat(w->dirfd, w->path, flags, mode);
    }
}

static void call_open(void)
{
    const unsigned form = below(4);
    const int flags = PICK(read_flags) | O_NONBLOCK;
    struct where w = somewhere(form > 1);
    struct stat st;

    begin(((const char *const[]){"open", "open64", "openat64", "openat"})[form], &w);
    printf(" %x", flags);
    if (allowed(&w, false)) {
        const int fd = open_form(form, &w, flags, 0);
        say_rc(fd < 0 ? -1 : 0);
        if (fd >= 0) {
            if (fstat(fd, &st) == 0)
                say_stat(&st);
            if (!(flags & (O_DIRECT | O_PATH)) && (flags & O_ACCMODE) == O_RDONLY)
                say_contents(fd);
            keep(fd, &w, false);
        }
    }
    free(w.path);
}

/* A pipe would make fopen wait. */
static bool is_pipe(const char *path)
{
    struct stat st;
    return syscall(SYS_newfstatat, AT_FDCWD, path, &st, 0) == 0 && S_ISFIFO(st.st_mode);
}

static void call_fopen(void)
{
    static const char *const modes[] = {"r", "rb", "re", "r,ccs=UTF-8", "rm", "q"};
    const char *mode = PICK(modes);
    const unsigned form = below(3);
    struct where w = somewhere(false);
    char buf[100];

    begin(((const char *const[]){"fopen", "fopen64", "freopen"})[form], &w);
    printf(" %s", mode);
    if (allowed(&w, false) && !is_pipe(w.path)) {
        FILE *f = form == 0   ? fopen(w.path, mode)
                  : form == 1 ? fopen64(w.path, mode)
                              : freopen(w.path, mode, fopen("/dev/null", "r"));
        say_rc(f ? 0 : -1);
        if (f) {
            errno = 0;
            if (strchr(mode, ',') == NULL) {
                const size_t n = fread(buf, 1, sizeof buf, f);
                printf(" %zu %s ", n, errno ? strerrorname_np(errno) : "");
                say_text(buf, n > 60 ? 60 : n);
            }
            fclose(f);
        }
    }
    free(w.path);
}

static void call_opendir(void)
{
    struct where w = somewhere(false);

    begin("opendir", &w);
    if (allowed(&w, false)) {
        DIR *d = opendir(w.path);
        say_rc(d ? 0 : -1);
        if (d) {
            const unsigned i = below(COUNT(streams));
            read_stream(d);
            say_numbers(d);
            if (streams[i].dir)
                closedir(streams[i].dir);
            streams[i].dir = d;
            streams[i].path = replaced(streams[i].path, realpath(w.path, NULL));
        }
    }
    free(w.path);
}

/* A deliberate limit: what was open in the mirror cannot be opened again once it may not be read any more. */
static bool still_readable(const char *path)
{
    return path && access(path, R_OK) == 0;
}

static void call_stream(void)
{
    const unsigned i = below(COUNT(streams));
    DIR *d = streams[i].dir;

    printf("%lu rewinddir", call_number);
    if (!d || (writing && !still_readable(streams[i].path)))
        return;
    rewinddir(d);
    read_stream(d);
    rewinddir(d);
    /* Half of it, and from there again: the same number of entries. */
    for (unsigned i = 0; i < 3; i++)
        readdir(d);
    const long at = telldir(d);
    unsigned once = 0, twice = 0;
    while (readdir(d))
        once++;
    seekdir(d, at);
    while (readdir(d))
        twice++;
    printf(" %u %u", once, twice);
}

static int all(const struct dirent *e)
{
    return strcmp(e->d_name, "c") != 0;
}

static void call_scandir(void)
{
    const bool at = one_in(2);
    struct where w = somewhere(at);
    struct dirent **found = NULL;

    begin(at ? "scandirat" : "scandir", &w);
    if (allowed(&w, false)) {
        const int n = at ? scandirat(w.dirfd, w.path, &found, all, alphasort)
                         : scandir(w.path, &found, all, alphasort);
        say_rc(n);
        for (int i = 0; i < n; i++) {
            add(&list, found[i]->d_name, found[i]->d_type, found[i]->d_ino);
            free(found[i]);
        }
        if (n >= 0)
            free(found);
        say_list(&list);
    }
    free(w.path);
}

static struct slot *some_slot(bool dir)
{
    for (unsigned i = 0; i < 20; i++) {
        struct slot *s = &slots[below(SLOTS)];
        if (s->fd >= 0 && s->dir == dir)
            return s;
    }
    return NULL;
}

static void begin_slot(const char *name, const struct slot *s)
{
    printf("%lu %s fd ", call_number, name);
    say_path(s ? s->path : "-");
}

static void list_descriptor(int fd)
{
    char buf[8192] __attribute__((aligned(16)));
    ssize_t n;

    while ((n = getdents64(fd, buf, sizeof buf)) > 0)
        for (ssize_t at = 0; at < n;) {
            struct dirent64 *e = (struct dirent64 *)(buf + at);
            add(&list, e->d_name, e->d_type, e->d_ino);
            at += e->d_reclen;
        }
    say_rc(n);
    say_list(&list);
}

static void call_list_fd(void)
{
    struct slot *s = some_slot(true);
    const bool stream = one_in(2);

    begin_slot(stream ? "fdopendir" : "getdents64", s);
    if (!s)
        return;
    if (writing && !still_readable(s->real))
        return;
    if (lseek(s->fd, 0, SEEK_SET) != 0) { /* O_PATH */
        say_rc(-1);
        return;
    }
    if (!stream) {
        list_descriptor(s->fd);
        return;
    }
    DIR *d = fdopendir(dup(s->fd));
    say_rc(d ? 0 : -1);
    if (d) {
        read_stream(d);
        say_numbers(d);
        closedir(d);
    }
}

/* A deliberate limit: what was open for reading before the first change to a file reads what the file was. */
static bool was_written(const struct slot *s)
{
    struct stat st;
    return writing && fstat(s->fd, &st) == 0 &&
           (st.st_nlink == 0 || st.st_size != s->size || st.st_mtim.tv_sec != s->since.tv_sec ||
            st.st_mtim.tv_nsec != s->since.tv_nsec);
}

static void call_fd(void)
{
    struct slot *s = some_slot(one_in(3));
    const unsigned form = below(10);
    struct stat st, other;
    struct statfs fs;
    char link[40], buf[PATH_MAX];
    long rc;

    begin_slot(((const char *const[]){"fstat", "pread", "/proc", "flock", "lockf", "fstatfs", "fgetxattr",
                                      "fpathconf",
                                      "dup", "empty"})[form], s);
    if (!s)
        return;
    switch (form) {
    case 0:
        say_rc(rc = fstat(s->fd, &st));
        if (rc == 0) {
            say_stat(&st);
            if (!writing && guarded && s->path[0] != '?' && stat(text("%s/%s", tree, s->path), &other) == 0)
                printf(" same%d", st.st_ino == other.st_ino && st.st_dev == other.st_dev);
        }
        break;
    case 1:
        if (!s->writable && !was_written(s))
            say_contents(s->fd);
        break;
    case 2:
        snprintf(link, sizeof link, "/proc/self/fd/%d", s->fd);
        rc = readlink(link, buf, sizeof buf);
        if (writing) /* a deliberate limit: it does not follow a file that is given another name, or none */
            break;
        say_rc(rc);
        putchar(' ');
        say_text(buf, rc > 0 ? (size_t)rc : 0);
        break;
    case 3: say_rc(flock(s->fd, one_in(2) ? LOCK_SH | LOCK_NB : LOCK_UN)); break;
    case 4: say_rc(fcntl(s->fd, F_SETLK, &(struct flock){.l_type = F_RDLCK, .l_len = 1})); break;
    case 5:
        say_rc(rc = fstatfs(s->fd, &fs));
        if (rc == 0)
            printf(" %lx", (unsigned long)fs.f_type);
        break;
    case 6: say_rc(fgetxattr(s->fd, "user.none", buf, sizeof buf)); break;
    case 7: say_rc(fpathconf(s->fd, _PC_NAME_MAX)); break;
    case 8: {
        const int copy = dup(s->fd);
        say_rc(rc = fstat(copy, &st));
        if (rc == 0)
            say_stat(&st);
        close(copy);
        break;
    }
    default:
        say_rc(rc = fstatat(s->fd, "", &st, AT_EMPTY_PATH));
        if (rc == 0)
            say_stat(&st);
    }
}

static void say_cwd(void)
{
    char buf[PATH_MAX];
    putchar(' ');
    say_path(getcwd(buf, sizeof buf) ? buf : strerrorname_np(errno));
}

/* By paths that are known, so that what is relative leads somewhere. */
static void call_chdir(void)
{
    struct slot *s = one_in(2) ? some_slot(true) : NULL;
    const char *to = s ? s->path : one_in(4) ? "" : some_entry(one_in(6) ? 0 : 'd');
    struct where w = {AT_FDCWD, "", text("%s/%s", tree, to)};

    begin(s ? "fchdir" : "chdir", &w);
    if (allowed(&w, false)) {
        const int rc = s ? fchdir(s->fd) : chdir(w.path);
        say_rc(rc);
        if (rc == 0)
            cwd = replaced(cwd, text("%s", to));
        say_cwd();
    }
    free(w.path);
}

static void call_same(void)
{
    struct where w = somewhere(false), v = somewhere(false);
    struct stat a, b;

    begin("same", &w);
    putchar(' ');
    say_path(v.path);
    if (allowed(&w, false) && allowed(&v, false) && stat(w.path, &a) == 0 && stat(v.path, &b) == 0)
        printf(" %d", a.st_dev == b.st_dev && a.st_ino == b.st_ino);
    free(w.path);
    free(v.path);
}

/* Whether what was opened is in the place where it was opened. */
static bool in_place(int fd, const char *path)
{
    struct statx a, b;

    /* The number of what was removed comes again while it is open in the mirror; the time of birth does not. */
    return path && statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_BTIME, &a) == 0 &&
           statx(AT_FDCWD, path, 0, STATX_BASIC_STATS | STATX_BTIME, &b) == 0 && a.stx_ino == b.stx_ino &&
           a.stx_btime.tv_sec == b.stx_btime.tv_sec && a.stx_btime.tv_nsec == b.stx_btime.tv_nsec;
}

/* A deliberate limit: a descriptor in the mirror does not follow what is given another name. */
static void forget_moved(void)
{
    for (unsigned i = 0; i < SLOTS; i++)
        if (slots[i].fd >= 0 && !slots[i].writable && !in_place(slots[i].fd, slots[i].real))
            close_slot(&slots[i]);
    for (unsigned i = 0; i < COUNT(streams); i++)
        if (streams[i].dir && !in_place(dirfd(streams[i].dir), streams[i].path)) {
            closedir(streams[i].dir);
            streams[i].dir = NULL;
        }
}

#include "differ-write.h"

/* --- the sequence --------------------------------------------------------------------------------------------- */

static void call(void);

/* A child goes on with what it inherited. */
static void call_fork(void)
{
    const uint64_t seed = chance();

    printf("%lu fork", call_number);
    putchar('\n');
    fflush(stdout);
    const pid_t pid = fork();
    if (pid == 0) {
        state = seed;
        for (unsigned i = 0; i < 8; i++)
            call();
        fflush(stdout);
        _exit(0);
    }
    int status = -1;
    waitpid(pid, &status, 0);
    printf("%lu child %x", call_number, status);
}

static void (*const reading[])(void) = {
    call_stat, call_stat, call_stat, call_stat, call_statat, call_statat, call_statx, call_access, call_access,
    call_readlink, call_realpath, call_open, call_open, call_open, call_fopen, call_opendir, call_stream,
    call_scandir,
    call_list_fd, call_list_fd, call_fd, call_fd, call_fd, call_chdir, call_same,
};

/* Those that have a path; with any flags, and on what the pilot did not touch, too. */
static void (*const counted[])(void) = {call_stat, call_stat, call_stat, call_access, call_open, call_opendir};

static void call(void)
{
    call_number++;
    if (one_in(300))
        call_fork();
    else if (writing && one_in(3))
        PICK(changing)();
    else if (!guarded)
        PICK(counted)();
    else
        PICK(reading)();
    putchar('\n');
}

static void run(uint64_t seed, unsigned long count)
{
    for (unsigned i = 0; i < SLOTS; i++)
        slots[i].fd = -1;
    umask(022);
    signal(SIGPIPE, SIG_IGN); /* of pipes that nobody reads any more */
    state = seed ^ 0x5ca1ab1e;
    must(chdir(tree), tree);
    cwd = text("%s", "");
    /* A descriptor of each kind from before the first change. */
    for (unsigned i = 0; i < 4; i++) {
        call_open();
        putchar('\n');
    }
    for (unsigned long i = 0; i < count; i++)
        call();
}

static void set_tree(const char *path)
{
    snprintf(tree, sizeof tree, "%s", path);
    tree_len = strlen(tree);
    snprintf(sandbox, sizeof sandbox, "%.*s", (int)(strrchr(tree, '/') - tree), tree);
    sandbox_len = strlen(sandbox);
}

int main(int argc, char **argv)
{
    char what = 0;
    int c;

    while ((c = getopt(argc, argv, "wgtpr")) >= 0) {
        if (c == '?')
            return 2;
        writing |= c == 'w';
        guarded &= c != 'g';
        if (strchr("tpr", c))
            what = (char)c;
    }
    argv += optind;
    argc -= optind;
    if (argc < (what == 'p' ? 1 : what == 't' ? 2 : 3) || argv[argc - 1][0] != '/') {
        fputs("usage: differ [-w] [-g] SEED COUNT TREE | -t SEED TREE | -p TREE | -r SEED ROUNDS TREE\n", stderr);
        return 2;
    }
    memset(long_name, 'n', sizeof long_name - 1);
    set_tree(argv[argc - 1]);
    if (what == 'p')
        return nftw(tree, look, 16, FTW_PHYS) < 0;
    const uint64_t seed = strtoull(argv[0], NULL, 10);
    plan(seed);
    if (what == 't')
        make_tree();
    else if (what == 'r')
        return race((unsigned)atoi(argv[1]));
    else
        run(seed, strtoul(argv[1], NULL, 10));
    return 0;
}
