/* What single calls cost: answered from the stage, and by the kernel, in turn, in one attached process. The kernel is
 * asked by the C library's own functions, which a handle of libc leads to past any preload.
 *
 *     D/run micro TREE REPETITIONS
 *
 * TREE is what micro.py makes. A line for each case and repetition: NAME SERVED NATIVE, in ns of processor time a call
 * (none of them waits for anything); and at last the private memory of the libraries of the stage in this process, in
 * kB: "memory NAME KB". */
#include <dirent.h>
#include <dlfcn.h>
#include <err.h>
#include <fcntl.h>
#include <inttypes.h>
#include <link.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static struct calls {
    int (*stat)(const char *, struct stat *);
    int (*fstatat)(int, const char *, struct stat *, int);
    int (*open)(const char *, int, ...);
    int (*access)(const char *, int);
    ssize_t (*readlink)(const char *, char *, size_t);
    DIR *(*opendir)(const char *);
    struct dirent *(*readdir)(DIR *);
    int (*closedir)(DIR *);
} served, native;

static char module[4096], deep[4096], absent[4096], file[4096], list[4096], symlink_[4096];
static int dirfd_of[2]; /* of the tree: the stage's, the kernel's */

static void *function(void *handle, const char *name)
{
    void *p = dlsym(handle, name);
    if (!p)
        errx(1, "%s", dlerror());
    return p;
}

static void find(struct calls *c, void *handle)
{
    c->stat = function(handle, "stat");
    c->fstatat = function(handle, "fstatat");
    c->open = function(handle, "open");
    c->access = function(handle, "access");
    c->readlink = function(handle, "readlink");
    c->opendir = function(handle, "opendir");
    c->readdir = function(handle, "readdir");
    c->closedir = function(handle, "closedir");
}

static void expect(bool is, const char *what)
{
    if (!is)
        err(1, "%s", what);
}

static void do_stat(const struct calls *c)
{
    struct stat st;
    expect(c->stat(module, &st) == 0, module);
}

static void do_deep(const struct calls *c)
{
    struct stat st;
    expect(c->stat(deep, &st) == 0, deep);
}

static void do_absent(const struct calls *c)
{
    struct stat st;
    expect(c->stat(absent, &st) != 0, absent);
}

static void do_access(const struct calls *c)
{
    expect(c->access(module, R_OK) == 0, module);
}

static void do_relative(const struct calls *c)
{
    struct stat st;
    expect(c->stat("dir-0/module-0.py", &st) == 0, "dir-0/module-0.py");
}

static void do_relative_absent(const struct calls *c)
{
    struct stat st;
    expect(c->stat("dir-0/none", &st) != 0, "dir-0/none");
}

static void do_at(const struct calls *c)
{
    struct stat st;
    expect(c->fstatat(dirfd_of[c == &native], "dir-0/module-0.py", &st, 0) == 0, "fstatat");
}

static void do_readlink(const struct calls *c)
{
    char buf[256];
    expect(c->readlink(symlink_, buf, sizeof buf) > 0, symlink_);
}

static void do_open(const struct calls *c)
{
    const int fd = c->open(file, O_RDONLY | O_CLOEXEC);
    expect(fd >= 0, file);
    close(fd);
}

static void do_open_absent(const struct calls *c)
{
    expect(c->open(absent, O_RDONLY | O_CLOEXEC) < 0, absent);
}

static void do_list(const struct calls *c)
{
    DIR *d = c->opendir(list);
    expect(d != NULL, list);
    while (c->readdir(d))
        ;
    c->closedir(d);
}

static const struct one {
    const char *name;
    void (*run)(const struct calls *c);
    unsigned times;
} cases[] = {
    {"stat", do_stat, 20000},
    {"stat-absent", do_absent, 20000},
    {"stat-deep", do_deep, 20000},
    {"access", do_access, 20000},
    {"readlink", do_readlink, 20000},
    {"open-absent", do_open_absent, 20000},
    {"open-close", do_open, 5000},
    {"list-100", do_list, 500},
    {"stat-relative", do_relative, 10000},
    {"stat-relative-absent", do_relative_absent, 10000},
    {"fstatat-fd", do_at, 10000},
};

static double measure(const struct one *one, const struct calls *c)
{
    struct timespec a, b;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &a);
    for (unsigned i = 0; i < one->times; i++)
        one->run(c);
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &b);
    return ((double)(b.tv_sec - a.tv_sec) * 1e9 + (double)(b.tv_nsec - a.tv_nsec)) / one->times;
}

/* Pages of a library that are this process's alone, of those that its headers say it has in memory. */
static unsigned own_pages(const char *file, uint64_t base)
{
    enum { PAGE = 4096 };
    const uint64_t present = 1ull << 63, of_file = 1ull << 61, exclusive = 1ull << 56; /* Documentation/admin-guide/mm/pagemap.rst */
    char head[4096];
    uint64_t end = 0, entry;
    unsigned pages = 0;

    int fd = native.open(file, O_RDONLY | O_CLOEXEC);
    expect(fd >= 0 && read(fd, head, sizeof head) > (ssize_t)sizeof(ElfW(Ehdr)), file);
    close(fd);
    const ElfW(Ehdr) *eh = (const void *)head;
    const ElfW(Phdr) *ph = (const void *)(head + eh->e_phoff);
    for (unsigned i = 0; i < eh->e_phnum; i++)
        if (ph[i].p_type == PT_LOAD && ph[i].p_vaddr + ph[i].p_memsz > end)
            end = ph[i].p_vaddr + ph[i].p_memsz;
    fd = native.open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    expect(fd >= 0, "/proc/self/pagemap");
    for (uint64_t at = base; at < base + end; at += PAGE) {
        expect(pread(fd, &entry, sizeof entry, (off_t)(at / PAGE * sizeof entry)) == sizeof entry, "/proc/self/pagemap");
        pages += entry & present && !(entry & of_file) && entry & exclusive;
    }
    close(fd);
    return pages;
}

static void tell_memory(void)
{
    FILE *f = fopen("/proc/self/maps", "re");
    char line[8192], last[8192] = "";
    uint64_t base;
    int at;

    expect(f != NULL, "/proc/self/maps");
    while (fgets(line, sizeof line, f)) {
        if (sscanf(line, "%" SCNx64 "-%*x %*s %*s %*s %*s %n", &base, &at) != 1)
            continue;
        char *const file = line + at;
        file[strcspn(file, "\n")] = '\0';
        if (strstr(file, "/libdlcache") && strcmp(file, last) != 0) {
            printf("memory %s %u\n", strrchr(file, '/') + 1, own_pages(file, base) * 4);
            strcpy(last, file);
        }
    }
    fclose(f);
}

int main(int argc, char **argv)
{
    if (argc != 3)
        errx(2, "usage: micro TREE REPETITIONS");
    const char *top = argv[1];
    snprintf(module, sizeof module, "%s/dir-0/module-0.py", top);
    snprintf(deep, sizeof deep, "%s/dir-0/a/b/c/d/e/f/module.py", top);
    snprintf(absent, sizeof absent, "%s/dir-1/none.py", top);
    snprintf(file, sizeof file, "%s/dir-0/module-1.py", top);
    snprintf(list, sizeof list, "%s/dir-1", top);
    snprintf(symlink_, sizeof symlink_, "%s/link", top);

    void *libc = dlopen("libc.so.6", RTLD_LAZY | RTLD_NOLOAD);
    if (!libc)
        errx(1, "%s", dlerror());
    find(&served, RTLD_DEFAULT);
    find(&native, libc);
    expect(chdir(top) == 0, top);
    dirfd_of[0] = served.open(top, O_RDONLY | O_DIRECTORY);
    dirfd_of[1] = native.open(top, O_RDONLY | O_DIRECTORY);
    for (int r = -1; r < atoi(argv[2]); r++) {
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
            const bool first = r & 1;
            const double a = measure(&cases[i], first ? &native : &served);
            const double b = measure(&cases[i], first ? &served : &native);
            if (r >= 0) /* once for nothing */
                printf("%s %f %f\n", cases[i].name, first ? b : a, first ? a : b);
        }
    }
    tell_memory();
    return 0;
}
