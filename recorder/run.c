#include "run.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "facts/memory.h"

/* What a process takes for its spool to begin with. */
#define ROOM ((off_t)1 << 20)

/* An auditor leaves less of the static TLS for libraries that must have theirs there. Bytes. */
#define STATIC_TLS "16384"
#define STATIC_TLS_NAME "glibc.rtld.optional_static_tls"
#define LINK_ORDER_NAME "verify_asan_link_order"

static char *say(const char *what, int error)
{
    char *text;
    return asprintf(&text, "%s: %s", what, strerror(error)) < 0 ? memory_text(what) : text;
}

/* A file system can be full although a directory can still be made in it. */
static int try_room(const char *dir)
{
    char *file = memory_join(dir, "room", 4);
    int fd = open(file, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    int rc = fd < 0 ? errno : posix_fallocate(fd, 0, ROOM);

    if (fd >= 0) {
        close(fd);
        unlink(file);
    }
    free(file);
    return rc;
}

char *run_make_spool(const char *base, char **error)
{
    char *resolved = realpath(base, NULL); /* the command may go elsewhere */
    char *dir;
    int rc;

    if (!resolved) {
        *error = say(base, errno);
        return NULL;
    }
    dir = memory_join(resolved, "dlcache-record-XXXXXX", 21);
    free(resolved);
    if (!mkdtemp(dir)) {
        *error = say(base, errno);
        free(dir);
        return NULL;
    }
    if ((rc = try_room(dir)) != 0) {
        *error = say(base, rc);
        rmdir(dir);
        free(dir);
        return NULL;
    }
    return dir;
}

static int empty(const char *dir)
{
    DIR *d = opendir(dir);
    struct dirent *e;

    if (!d)
        return -errno;
    while ((e = readdir(d)))
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            unlinkat(dirfd(d), e->d_name, 0);
    closedir(d);
    return 0;
}

int run_remove_spool(const char *dir)
{
    int rc = -ENOTEMPTY;

    /* A child that outlives the command may be adding a file. */
    for (int try = 0; try < 5 && rc == -ENOTEMPTY; try++) {
        rc = empty(dir);
        if (rc == 0 && rmdir(dir) != 0)
            rc = errno == EEXIST ? -ENOTEMPTY : -errno;
    }
    return rc;
}

static bool has_mapped(const char *pid, const char *dir)
{
    char *file, *line = NULL;
    const size_t n = strlen(dir);
    size_t capacity = 0;
    bool found = false;

    if (asprintf(&file, "/proc/%s/maps", pid) < 0)
        memory_check(NULL);
    FILE *f = fopen(file, "re");
    while (f && !found && getline(&line, &capacity, f) > 0) {
        const char *path = strchr(line, '/');
        found = path && strncmp(path, dir, n) == 0 && path[n] == '/';
    }
    if (f)
        fclose(f);
    free(line);
    free(file);
    return found;
}

unsigned run_still_noting(const char *dir)
{
    DIR *d = opendir("/proc");
    const struct dirent *e;
    unsigned count = 0;

    while (d && (e = readdir(d)))
        count += e->d_name[0] >= '1' && e->d_name[0] <= '9' && has_mapped(e->d_name, dir);
    if (d)
        closedir(d);
    return count;
}

/* What follows the last slash among the n bytes at path. */
static const char *last_of(const char *path, size_t n)
{
    const char *slash = memrchr(path, '/', n);
    return slash ? slash + 1 : path;
}

char *run_list_prepend(const char *list, const char *item, const char *separators)
{
    const size_t n = strlen(item);
    const char *name = last_of(item, n);
    const size_t name_len = n - (size_t)(name - item);
    char *out = memory_check(malloc(n + (list ? strlen(list) : 0) + 3));
    char *end = out + n;

    memcpy(out, item, n + 1);
    while (list && *list) {
        const size_t len = strcspn(list, separators);
        const char *last = last_of(list, len);
        if (len && (len - (size_t)(last - list) != name_len || strncmp(last, name, name_len) != 0)) {
            *end++ = separators[0];
            memcpy(end, list, len);
            end += len;
        }
        list += len + (list[len] != '\0');
    }
    *end = '\0';
    return out;
}

char *run_find_program(const char *name)
{
    const char *path = getenv("PATH");
    struct stat st;

    if (strchr(name, '/')) {
        char *cwd = name[0] == '/' ? memory_text("") : getcwd(NULL, 0);
        char *whole = !cwd ? NULL : name[0] == '/' ? memory_text(name) : memory_join(cwd, name, strlen(name));
        free(cwd);
        return whole;
    }
    for (const char *p = path ? path : "/bin:/usr/bin"; *name; p++) {
        const size_t len = strcspn(p, ":");
        char *dir = len ? memory_bytes(p, len) : memory_text(".");
        char *file = memory_join(dir, name, strlen(name));
        free(dir);
        if (stat(file, &st) == 0 && S_ISREG(st.st_mode) && access(file, X_OK) == 0) {
            char *whole = file[0] == '/' ? memory_text(file) : run_find_program(file);
            free(file);
            return whole;
        }
        free(file);
        p += len;
        if (*p == '\0')
            break;
    }
    return NULL;
}

/* ---------------------------------------------------------------------------------------------------- the command */

static const int handled[] = {SIGINT, SIGQUIT, SIGTERM, SIGHUP};
#define HANDLED (sizeof handled / sizeof *handled)
static struct sigaction before[HANDLED];
static bool taken;
static volatile sig_atomic_t command_pid;

static void hand_on(int sig)
{
    const int saved = errno;

    if (command_pid > 0)
        kill((pid_t)command_pid, sig);
    errno = saved;
}

static void take_signals(void)
{
    taken = true;
    for (size_t i = 0; i < HANDLED; i++) {
        struct sigaction sa = {.sa_handler = handled[i] == SIGINT || handled[i] == SIGQUIT ? SIG_IGN : hand_on};
        sigemptyset(&sa.sa_mask);
        sa.sa_flags = SA_RESTART;
        sigaction(handled[i], NULL, &before[i]);
        if (before[i].sa_handler != SIG_IGN) /* nohup */
            sigaction(handled[i], &sa, NULL);
    }
}

void run_restore_signals(void)
{
    if (!taken)
        return;
    taken = false;
    for (size_t i = 0; i < HANDLED; i++)
        sigaction(handled[i], &before[i], NULL);
}

static void set(const char *name, char *value)
{
    memory_check(setenv(name, value, 1) == 0 ? value : NULL);
    free(value);
}

static void set_environment(const struct run_options *o)
{
    const char *tunables = getenv("GLIBC_TUNABLES");
    const char *sanitizer = getenv("ASAN_OPTIONS");

    set("DLCACHE_RECORD", memory_text(o->spool));
    set("LD_PRELOAD", run_list_prepend(getenv("LD_PRELOAD"), o->preload, ": "));
    /* Otherwise a program of AddressSanitizer refuses to start behind a library that is preloaded. */
    if (!sanitizer || !strstr(sanitizer, LINK_ORDER_NAME))
        set("ASAN_OPTIONS", run_list_prepend(sanitizer, LINK_ORDER_NAME "=0", ":"));
    if (!o->audit)
        return;
    set("LD_AUDIT", run_list_prepend(getenv("LD_AUDIT"), o->audit, ":"));
    if (!tunables || !strstr(tunables, STATIC_TLS_NAME))
        set("GLIBC_TUNABLES", run_list_prepend(tunables, STATIC_TLS_NAME "=" STATIC_TLS, ":"));
}

/* In the child. When the program cannot be executed, the reason goes to the parent. */
static _Noreturn void become(const struct run_options *o, int report)
{
    set_environment(o);
    execvp(o->argv[0], o->argv);
    const int error = errno;
    if (write(report, &error, sizeof error) != sizeof error)
        fprintf(stderr, "dlcache: %s: %s\n", o->argv[0], strerror(error));
    _exit(error == ENOENT ? 127 : 126);
}

static pid_t start(const struct run_options *options, int report)
{
    sigset_t block, mask;

    fflush(NULL);
    sigemptyset(&block);
    for (size_t i = 0; i < HANDLED; i++)
        sigaddset(&block, handled[i]);
    sigprocmask(SIG_BLOCK, &block, &mask);
    pid_t pid = fork();
    if (pid == 0) {
        /* Signals are still as this program found them: the command is to find the same. */
        sigprocmask(SIG_SETMASK, &mask, NULL);
        become(options, report);
    }
    const int error = errno;
    command_pid = pid > 0 ? (sig_atomic_t)pid : 0;
    take_signals();
    sigprocmask(SIG_SETMASK, &mask, NULL);
    errno = error;
    return pid;
}

int run_command(const struct run_options *options, int *status, int *refused)
{
    int report[2], wait_status;
    pid_t got;

    *refused = 0;
    if (pipe2(report, O_CLOEXEC) != 0)
        return -errno;
    const pid_t pid = start(options, report[1]);
    const int error = errno;
    close(report[1]);
    if (pid > 0)
        while (read(report[0], refused, sizeof *refused) < 0 && errno == EINTR)
            ;
    close(report[0]);
    if (pid < 0)
        return -error;
    do
        got = waitpid(pid, &wait_status, 0);
    while (got < 0 && errno == EINTR);
    const int wait_error = errno;
    command_pid = 0;
    if (got < 0)
        return -wait_error;
    *status = WIFSIGNALED(wait_status) ? 128 + WTERMSIG(wait_status) : WEXITSTATUS(wait_status);
    return 0;
}
