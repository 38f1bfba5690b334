#include "execute.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "attach.h"
#include "sys.h"

/* The mirror's path of an executable node, by the name that was asked for: the kernel calls the process by it. */
static int mirror_path(const struct stage *s, const char *path, size_t len, uint32_t *node, char file[EXECUTE_PATH])
{
    const struct view *v = &s->view;
    struct found found;
    struct stat st;

    if (lookup_prefix(v, path, len) || lookup_from(v, 0, path, len, 0, &found) != VERDICT_FILE)
        return -1;
    if (!(v->image.nodes[found.node].flags & DLC_N_RUN) || v->prefix_len + len + 1 > EXECUTE_PATH)
        return -1;
    __builtin_memcpy(file, v->prefix, v->prefix_len);
    __builtin_memcpy(file + v->prefix_len, path, len);
    file[v->prefix_len + len] = '\0';
    /* Through directories that the mirror has not, the name leads nowhere, or elsewhere. */
    if (sys_fstatat(AT_FDCWD, file, &st, 0) != 0 || stage_node_of(s, &st) == DLC_NONE)
        return -1;
    *node = found.node;
    return 0;
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

static void name_process(struct execution *x, const char *path, size_t len)
{
    const size_t head = sizeof EXECUTE_COMM;
    size_t start = len, n;

    while (start > 0 && path[start - 1] != '/')
        start--;
    n = len - start < 15 ? len - start : 15; /* TASK_COMM_LEN */
    __builtin_memcpy(x->comm, EXECUTE_COMM, head - 1);
    x->comm[head - 1] = x->argument ? '2' : '1';
    __builtin_memcpy(x->comm + head, path + start, n);
    x->comm[head + n] = '\0';
}

int execute_plan(const struct stage *s, const char *path, size_t len, struct execution *x)
{
    uint32_t node;

    x->script = 0;
    x->interpreter = x->argument = NULL;
    if (len == 0 || path[0] != '/' || mirror_path(s, path, len, &node, x->file) != 0)
        return -1;
    if (s->view.image.nodes[node].object != DLC_NONE)
        return 0;
    if (execute_line(x, x->file) != 0 ||
        mirror_path(s, x->interpreter, dlc_strlen(x->interpreter), &node, x->file) != 0 ||
        s->view.image.nodes[node].object == DLC_NONE)
        return -1;
    x->script = 1;
    name_process(x, path, len);
    return 0;
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

int execute_attaches(const struct stage *s, char *const *envp)
{
    const char *off = env_value(envp, "DLCACHE_DISABLE");
    const char *stage = env_value(envp, "DLCACHE_STAGE");

    if ((off && *off && !(off[0] == '0' && !off[1])) || !stage || dlc_strlen(stage) != s->dir_len ||
        !dlc_same(stage, s->dir, s->dir_len))
        return 0;
    /* Objects of a program in the mirror are found through the loader's door alone. */
    return execute_names(s, env_value(envp, "LD_PRELOAD")) && execute_names(s, env_value(envp, "LD_AUDIT"));
}
