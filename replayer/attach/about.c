#include "replayer/attach/about.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "libdlcache/attach.h"

enum { SLURM, PBS, LSF, FLUX, COBALT, SGE };

/* How each manager names a job, and what it says of one. Exit statuses and states: squeue(1), qstat(1B), bjobs(1),
 * flux-jobs(1). `over`: words of the answer, one of which a job that is over has; an answer of no words counts as well
 * where `silent`. `unknown`: what it says of a job that it has forgotten; Flux has many instances, and one that does not
 * know a job may not be the one that ran it. */
static const struct manager {
    const char *name, *variable;
    const char *ask[6]; /* the job's id goes where "%" is */
    const char *over[10], *unknown[3];
    bool silent;
} managers[] = {
    [SLURM] = {"Slurm", "SLURM_JOB_ID", {"squeue", "--noheader", "--format=%T", "--states=all", "--jobs=%"},
     {"COMPLETED", "CANCELLED", "FAILED", "TIMEOUT", "NODE_FAIL", "PREEMPTED", "BOOT_FAIL", "DEADLINE", "OUT_OF_MEMORY"},
     {"Invalid job id"}, true},
    [PBS] = {"PBS", "PBS_JOBID", {"qstat", "%"}, {NULL}, {"Unknown Job", "has finished"}, false},
    [LSF] = {"LSF", "LSB_JOBID", {"bjobs", "-noheader", "-o", "stat", "%"}, {"DONE", "EXIT"}, {"is not found"}, false},
    [FLUX] = {"Flux", "FLUX_JOB_ID", {"flux", "--root", "jobs", "-no", "{status_abbrev}", "%"},
     {"CD", "F", "CA", "TO"}, {NULL}, false},
    [COBALT] = {"Cobalt", "COBALT_JOBID", {NULL}, {NULL}, {NULL}, false},
    [SGE] = {"SGE", "JOB_ID", {NULL}, {NULL}, {NULL}, false},
};

/* A batch script of Flux is an instance of its own, and what it starts are jobs of that one: the job is the outermost
 * instance's. Where that is none, start.c says so by an id that is empty. */
static const char *flux_job(char id[64])
{
    const char *path = getenv("FLUX_JOB_ID_PATH"), *enclosing = getenv("FLUX_ENCLOSING_ID");

    if (enclosing && !*enclosing)
        return NULL;
    const char *job = path && *path == '/' ? path + 1 : enclosing ? enclosing : getenv("FLUX_JOB_ID");
    if (!job || strcspn(job, "/") >= 64)
        return NULL;
    /* The letter before an id is beyond ASCII or not, by the locale: Flux takes either. */
    const bool is_wide = strncmp(job, "\u0192", 2) == 0;
    snprintf(id, 64, "%s%.*s", is_wide ? "f" : "", (int)strcspn(job, "/") - 2 * is_wide, job + 2 * is_wide);
    return id;
}

bool about_job(struct about *a)
{
    char flux[64];

    for (size_t i = 0; i < sizeof managers / sizeof *managers; i++) {
        const char *id = i == FLUX ? flux_job(flux) : getenv(managers[i].variable);
        if (!id || !*id || strlen(id) >= sizeof a->job || strpbrk(id, " \t\r\n%"))
            continue;
        snprintf(a->manager, sizeof a->manager, "%s", managers[i].name);
        snprintf(a->job, sizeof a->job, "%s", id);
        return true;
    }
    return false;
}

void about_format(const struct about *a, char text[256])
{
    const int n = *a->manager ? snprintf(text, 256, "job %s %s\n", a->manager, a->job) : 0;

    snprintf(text + n, 256 - (size_t)n, "bytes %" PRIu64 "\n", a->bytes);
}

int about_read(struct about *a, int parent, const char *name)
{
    char path[600], text[256] = "";

    *a = (struct about){0};
    snprintf(path, sizeof path, "%s/" STAGE_ABOUT, name);
    const int fd = openat(parent, path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    const ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    if (n < 0)
        return -errno;
    char *rest = text, *line;
    while ((line = strsep(&rest, "\n"))) {
        sscanf(line, "job %15s %63s", a->manager, a->job);
        sscanf(line, "bytes %" SCNu64, &a->bytes);
    }
    return 0;
}

/* What the command prints, both outputs. Its exit status, or -1. */
static int run(char *const *argv, char *text, size_t size)
{
    posix_spawn_file_actions_t actions;
    int ends[2], status;
    size_t n = 0;
    pid_t pid;

    if (pipe2(ends, O_CLOEXEC) != 0)
        return -1;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
    posix_spawn_file_actions_adddup2(&actions, ends[1], 2);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    const int rc = posix_spawnp(&pid, argv[0], &actions, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    close(ends[1]);
    for (ssize_t k; rc == 0 && (k = read(ends[0], text + n, size - 1 - n)) > 0;)
        n += (size_t)k;
    text[n] = '\0';
    close(ends[0]);
    if (rc)
        return -1;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static bool is_one_of(const char *text, const char *const *words, size_t count)
{
    for (size_t i = 0; i < count && words[i]; i++)
        if (strstr(text, words[i]))
            return true;
    return false;
}

static int ask(const struct manager *m, const char *job)
{
    char words[6][128], text[4096], *argv[7] = {NULL};

    if (!m->ask[0])
        return -1;
    for (size_t i = 0; i < 6 && m->ask[i]; i++) {
        const char *mark = i ? strchr(m->ask[i], '%') : NULL;
        const bool is_mark = mark && !mark[1];
        snprintf(words[i], sizeof words[i], "%.*s%s", is_mark ? (int)(mark - m->ask[i]) : 127, m->ask[i],
                 is_mark ? job : "");
        argv[i] = words[i];
    }
    const int status = run(argv, text, sizeof text);
    if (status < 0 || status == 127)
        return -1;
    if (is_one_of(text, m->unknown, 3))
        return 1;
    if (status != 0)
        return -1;
    if (!*text)
        return m->silent ? 1 : -1;
    return is_one_of(text, m->over, 10);
}

/* The job of the epilog that this is, or NULL. Flux's prologs look the same, when there is no stage of the job yet. */
static const char *ending_job(size_t manager, char flux[64])
{
    const char *context = getenv("SLURM_SCRIPT_CONTEXT");

    if (manager == SLURM)
        return context && strncmp(context, "epilog", 6) == 0 ? getenv("SLURM_JOB_ID") ?: "" : NULL;
    return manager == FLUX && getenv("FLUX_JOB_USERID") && !getenv("FLUX_TASK_RANK") ? flux_job(flux) : NULL;
}

int about_is_over(const struct about *a)
{
    char flux[64];

    if (!*a->manager)
        return 0;
    for (size_t i = 0; i < sizeof managers / sizeof *managers; i++) {
        if (strcmp(managers[i].name, a->manager) != 0)
            continue;
        /* An epilog on each of many nodes asks nobody: it is there for its own job. */
        const char *ending = ending_job(i, flux);
        if (ending)
            return strcmp(ending, a->job) == 0;
        return ask(&managers[i], a->job);
    }
    return -1;
}
