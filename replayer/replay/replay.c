#include "replayer/replay/replay.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "facts/memory.h"
#include "manifests/text.h"
#include "replayer/replay/act.h"

/* What a child does; never returns. */
static void child(struct plan *p, int fd, uint32_t process, char **argv, pid_t parent)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(1);
    if (argv) {
        char which[32];
        size_t last = 0;
        while (argv[last + 1])
            last++;
        snprintf(which, sizeof which, "%d:%u", fd, process);
        argv[last] = which;
        execv(argv[0], argv);
        _exit(127);
    }
    replay_process(p, process);
    _exit(0);
}

static char *how_it_ended(int status)
{
    char *text;
    const int rc = WIFSIGNALED(status)
                       ? asprintf(&text, "a process was ended by signal %d", WTERMSIG(status))
                       : asprintf(&text, "a process ended with status %d", WEXITSTATUS(status));
    return rc < 0 ? memory_check(NULL) : text;
}

struct crew {
    pid_t *pids; /* 0: it has ended */
    uint32_t started, running;
};

/* Takes a child that has ended, where there is one; of one that ended otherwise than well, the message. */
static char *reap(struct crew *crew, int flags)
{
    int status;
    const pid_t pid = waitpid(-1, &status, flags);

    for (uint32_t i = 0; pid > 0 && i < crew->started; i++) {
        if (crew->pids[i] != pid)
            continue;
        crew->pids[i] = 0;
        crew->running--;
        return status ? how_it_ended(status) : NULL;
    }
    if (pid < 0 && errno == ECHILD)
        crew->running = 0; /* whoever started us has told the kernel not to keep them */
    return NULL;
}

/* Until all stand at the barrier. */
static char *gather(struct plan *p, struct crew *crew)
{
    const struct timespec moment = {0, 20000000};
    uint32_t ready;

    while ((ready = __atomic_load_n(&p->ready, __ATOMIC_ACQUIRE)) < p->processes) {
        syscall(SYS_futex, &p->ready, FUTEX_WAIT, ready, &moment, NULL, 0);
        char *error = reap(crew, WNOHANG);
        if (error)
            return error;
        if (crew->running < p->processes)
            return memory_text("a process ended before it began");
    }
    return NULL;
}

int replay_run(struct plan *p, int fd, char **argv, char **error)
{
    struct crew crew = {.pids = memory_new(p->processes, sizeof(pid_t))};
    const pid_t self = getpid();
    pid_t pid = 0;

    *error = NULL;
    signal(SIGCHLD, SIG_DFL);
    while (crew.started < p->processes && (pid = fork()) > 0)
        crew.pids[crew.started++] = pid;
    if (pid == 0)
        child(p, fd, crew.started, argv, self);
    if (pid < 0 && asprintf(error, "process %u: fork: %s", crew.started + 1, strerror(errno)) < 0)
        memory_check(NULL);
    crew.running = crew.started;
    if (!*error)
        *error = gather(p, &crew);
    if (!*error) {
        __atomic_store_n(&p->go, 1, __ATOMIC_RELEASE);
        syscall(SYS_futex, &p->go, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
    }
    while (crew.running && !*error)
        *error = reap(&crew, 0);
    for (uint32_t i = 0; i < crew.started; i++)
        if (crew.pids[i])
            kill(crew.pids[i], SIGKILL);
    while (crew.running)
        free(reap(&crew, 0));
    free(crew.pids);
    for (uint32_t i = 0; i < p->processes && !*error; i++)
        if (!__atomic_load_n(&plan_slot(p, i)->done, __ATOMIC_ACQUIRE))
            *error = memory_text("a process ended before it was done");
    return *error ? -1 : 0;
}

static char *tell_first(const struct plan *p, const struct slot *s)
{
    char *path = text_plain(plan_text(p, s->first_path)), *text;

    if (asprintf(&text, "%s: %s", path, s->first_errno ? strerror((int)s->first_errno)
                                                       : "it is there, and was not in the pilot") < 0)
        memory_check(NULL);
    free(path);
    return text;
}

/* CLOCK_MONOTONIC's nanoseconds as seconds since 1970. */
static double since_1970(uint64_t ns)
{
    struct timespec real, monotonic;

    clock_gettime(CLOCK_REALTIME, &real);
    clock_gettime(CLOCK_MONOTONIC, &monotonic);
    return (double)(real.tv_sec - monotonic.tv_sec) + (double)(real.tv_nsec - monotonic.tv_nsec) / 1e9 +
           (double)ns / 1e9;
}

void replay_sum(struct plan *p, struct replayed *r)
{
    uint64_t first = UINT64_MAX, last = 0;

    r->processes = p->processes;
    r->rounds = p->rounds;
    for (uint32_t i = 0; i < p->processes; i++) {
        const struct slot *s = plan_slot(p, i);
        uint64_t errors = 0;
        first = s->start_ns < first ? s->start_ns : first;
        last = s->end_ns > last ? s->end_ns : last;
        for (unsigned k = 0; k < REPLAY_ERRORS; k++) {
            r->errors[k] += s->errors[k];
            errors += s->errors[k];
        }
        if (errors && !r->first)
            r->first = tell_first(p, s);
        for (unsigned k = 0; k < REPLAY_KINDS; k++) {
            histogram_merge(&r->times[k], &s->times[k]);
            histogram_merge(&r->all, &s->times[k]);
        }
    }
    r->began = since_1970(first);
    r->ended = r->began + (double)(last - first) / 1e9;
}
