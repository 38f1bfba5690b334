#include "execute.h"

#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <sys/stat.h>

#include "attach.h"
#include "sys.h"

/* The mirror's path of an executable node, by the name that was asked for: the kernel calls the process by it. Of a
 * relative one: below the working directory. Returns how many bytes stand before the name, or -1. */
static long mirror_path(const struct stage *s, const char *name, size_t len, uint32_t *node, char *file, size_t size)
{
    const struct view *v = &s->view;
    char *const path = file + v->prefix_len;
    size_t n = 0;
    struct found found;
    struct stat st;

    if (v->prefix_len + len + 2 > size || len == 0)
        return -1;
    if (*name != '/') {
        const long cwd = sys_getcwd(path, size - v->prefix_len - len - 1);
        if (cwd < 2 || *path != '/')
            return -1;
        n = (size_t)cwd - 1;
        if (n > 1)
            path[n++] = '/';
    }
    __builtin_memcpy(file, v->prefix, v->prefix_len);
    __builtin_memcpy(path + n, name, len);
    path[n + len] = '\0';
    if (lookup_prefix(v, path, n + len) || lookup_from(v, 0, path, n + len, 0, &found) != VERDICT_FILE ||
        !(v->image.nodes[found.node].flags & DLC_N_RUN))
        return -1;
    /* Through directories that the mirror has not, the name leads nowhere, or elsewhere. */
    if (sys_fstatat(AT_FDCWD, file, &st, 0) != 0 || stage_node_of(s, &st) == DLC_NONE)
        return -1;
    *node = found.node;
    return (long)(v->prefix_len + n);
}

/* "#!", blanks, the interpreter, and one argument: the rest of the line. As fs/binfmt_script.c. */
static int parse_line(struct execution *x, size_t n)
{
    char *p = x->line + 2, *end = x->line;

    while (end < x->line + n && *end != '\n')
        end++;
    if (end == x->line + n)
        return -1; /* longer than the kernel may read, or no line: let it see for itself */
    while (end > p && (end[-1] == ' ' || end[-1] == '\t'))
        end--;
    *end = '\0';
    while (*p == ' ' || *p == '\t')
        p++;
    if (*p != '/')
        return -1;
    x->interpreter = p;
    x->argument = NULL;
    while (*p && *p != ' ' && *p != '\t')
        p++;
    if (!*p)
        return 0;
    *p++ = '\0';
    while (*p == ' ' || *p == '\t')
        p++;
    x->argument = *p ? p : NULL;
    return 0;
}

int execute_line(struct execution *x, const char *path)
{
    const int fd = sys_openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK, 0);

    if (fd < 0)
        return -1;
    const long n = sys_read(fd, x->line, sizeof x->line);
    sys_close(fd);
    return n < 4 || x->line[0] != '#' || x->line[1] != '!' ? -1 : parse_line(x, (size_t)n);
}

static int same_text(const char *a, const char *b)
{
    while (*a && *a == *b)
        a++, b++;
    return *a == *b;
}

/* The kernel was given a name of that file. */
static int is_file(const char *path, const struct stat *file)
{
    struct stat st;
    return sys_fstatat(AT_FDCWD, path, &st, 0) == 0 && st.st_dev == file->st_dev && st.st_ino == file->st_ino;
}

int execute_in_front(const char *path, int argc, char **argv, struct execution *x)
{
    struct stat exe;

    if (sys_fstatat(AT_FDCWD, "/proc/self/exe", &exe, 0) != 0)
        return -1;
    if (is_file(path, &exe))
        return 0;
    if (execute_line(x, path) != 0 || !is_file(x->interpreter, &exe))
        return -1;
    const int n = x->argument ? 2 : 1;
    if (argc <= n || !same_text(argv[0], x->interpreter) || !same_text(argv[n], path) ||
        (x->argument && !same_text(argv[1], x->argument)))
        return -1;
    return n;
}

static char *put_told(struct execution *x, char digit)
{
    const size_t head = sizeof EXECUTE_COMM;

    __builtin_memcpy(x->comm, EXECUTE_COMM, head - 1);
    x->comm[head - 1] = digit;
    x->told = 1;
    return x->comm + head;
}

static void name_process(struct execution *x, const char *path, size_t len)
{
    char *const name = put_told(x, x->argument ? '2' : '1');
    size_t start = len, n;

    while (start > 0 && path[start - 1] != '/')
        start--;
    n = len - start < 15 ? len - start : 15; /* TASK_COMM_LEN */
    __builtin_memcpy(name, path + start, n);
    name[n] = '\0';
}

static void tell_offset(struct execution *x, size_t offset)
{
    char *const first = put_told(x, '0'), *digits = first + 5; /* of less than EXECUTE_PATH */

    *digits = '\0';
    for (; digits > first; offset /= 10)
        *--digits = (char)('0' + offset % 10);
}

/* glibc's, whose door our libraries open: "/lib64/ld-linux-x86-64.so.2", and on some machines "/lib64/ld64.so.1". */
static int is_glibc(const char *loader)
{
    const char *name = loader;

    while (*loader)
        if (*loader++ == '/')
            name = loader;
    return dlc_same(name, "ld-linux", 8) || dlc_same(name, "ld64.so.", 8);
}

/* The kernel starts it by a dynamic loader that our libraries are for. */
static int is_dynamic(int fd)
{
    extern const ElfW(Ehdr) __ehdr_start __attribute__((visibility("hidden")));
    ElfW(Ehdr) head;
    ElfW(Phdr) part;
    char loader[64 + 8] = "";

    if (sys_pread(fd, &head, sizeof head, 0) != sizeof head || !dlc_same((char *)head.e_ident, ELFMAG, SELFMAG) ||
        head.e_ident[EI_CLASS] != __ehdr_start.e_ident[EI_CLASS] || head.e_machine != __ehdr_start.e_machine ||
        head.e_phentsize != sizeof part)
        return 0;
    for (unsigned i = 0; i < head.e_phnum; i++) {
        if (sys_pread(fd, &part, sizeof part, head.e_phoff + i * sizeof part) != sizeof part)
            return 0;
        if (part.p_type == PT_INTERP)
            return part.p_filesz <= 64 && sys_pread(fd, loader, part.p_filesz, part.p_offset) == (long)part.p_filesz &&
                   is_glibc(loader);
    }
    return 0;
}

/* An interpreter that only the node has (/bin/sh, most often) is executed from where it lies, if the process will be
 * attached. The stage's is not asked to be: what the index knows of it speaks against it. */
static int native_interpreter(const struct stage *s, const char *path, char *file, size_t size)
{
    const size_t len = dlc_strlen(path);
    struct found found;
    struct stat st;

    if (len >= size || lookup_prefix(&s->view, path, len) ||
        lookup_from(&s->view, 0, path, len, 0, &found) != VERDICT_UNKNOWN)
        return -1;
    /* Whoever waits at a FIFO, and many a device, would be told of an open. */
    if (sys_fstatat(AT_FDCWD, path, &st, 0) != 0 || !S_ISREG(st.st_mode))
        return -1;
    const int fd = sys_openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK, 0);
    if (fd < 0)
        return -1;
    const int attaches = sys_fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && !(st.st_mode & 06000) &&
                         sys_call(__NR_fgetxattr, fd, "security.capability", 0, 0) < 0 && is_dynamic(fd);
    sys_close(fd);
    __builtin_memcpy(file, path, len + 1);
    return attaches ? 0 : -1;
}

int execute_plan(const struct stage *s, const char *path, size_t len, struct execution *x, char *file, size_t size)
{
    const struct dlc_node *const nodes = s->view.image.nodes;
    uint32_t node;

    x->file = file;
    x->script = x->told = 0;
    x->interpreter = x->argument = NULL;
    const long before = mirror_path(s, path, len, &node, file, size);
    if (before < 0)
        return -1;
    if (nodes[node].object != DLC_NONE) {
        if (*path != '/')
            tell_offset(x, (size_t)before);
        return 0;
    }
    if (execute_line(x, file) != 0)
        return -1;
    if (mirror_path(s, x->interpreter, dlc_strlen(x->interpreter), &node, file, size) < 0) {
        if (native_interpreter(s, x->interpreter, file, size) != 0)
            return -1;
    } else if (nodes[node].object == DLC_NONE) {
        return -1;
    }
    x->script = 1;
    name_process(x, path, len);
    return 0;
}

void execute_vectors(const struct execution *x, const char *path, char *const *argv, char *const *envp,
                     const char **args, const char **vars)
{
    if (x->script) {
        *args++ = x->interpreter;
        if (x->argument)
            *args++ = x->argument;
        *args++ = path;
        argv++;
    }
    while ((*args++ = *argv++))
        ;
    while (*envp)
        *vars++ = *envp++;
    /* The last one: programs that write a title over their arguments take the variables that follow without a gap. */
    if (x->told)
        *vars++ = x->comm;
    *vars = NULL;
}

int execute_names(const struct stage *s, const char *list)
{
    for (; list && *list; list++) {
        size_t n = 0;
        while (n < s->dir_len && list[n] == s->dir[n])
            n++;
        if (n == s->dir_len && list[n] == '/')
            return 1;
        while (*list && *list != ':' && *list != ' ')
            list++;
        if (!*list)
            break;
    }
    return 0;
}

/* ld.so takes the last LD_PRELOAD of an environment that has several. */
static int each_names(const struct stage *s, char *const *envp, const char *var)
{
    const char *list = env_value(envp, var);
    const int some = list != NULL;

    for (; list; list = env_value(envp, var)) {
        if (!execute_names(s, list))
            return 0;
        while (*envp + dlc_strlen(var) + 1 != list)
            envp++;
        envp++;
    }
    return some;
}

int execute_attaches(const struct stage *s, char *const *envp)
{
    const char *off = env_value(envp, "DLCACHE_DISABLE");
    const char *stage = env_value(envp, "DLCACHE_STAGE");

    if ((off && *off && !(off[0] == '0' && !off[1])) || !stage || dlc_strlen(stage) != s->dir_len ||
        !dlc_same(stage, s->dir, s->dir_len))
        return 0;
    /* Objects of a program in the mirror are found through the loader's door alone. */
    return each_names(s, envp, "LD_PRELOAD") && each_names(s, envp, "LD_AUDIT");
}
