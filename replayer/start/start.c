#include "replayer/start/start.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "facts/memory.h"
#include "libdlcache/attach.h"

/* What a launcher tells the ranks that it starts. */
static const char *const rank_variables[] = {"PMI_RANK", "PMI_FD", "PMIX_RANK", "OMPI_COMM_WORLD_RANK",
                                              "FLUX_TASK_RANK"};

/* Step ids from here on are Slurm's own: the batch script, and the shell of an interactive job. */
#define SLURM_FIRST_SPECIAL_STEP 0xfffffff0ul

static const char *value(char *const *envp, const char *name)
{
    const char *text = env_value(envp, name);
    return text && *text ? text : NULL;
}

static unsigned long number(char *const *envp, const char *name)
{
    const char *text = value(envp, name);
    return text ? strtoul(text, NULL, 10) : 0;
}

__attribute__((format(printf, 2, 3))) static void word(struct start_plan *p, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    if (vasprintf(&p->words[p->count++], format, args) < 0)
        memory_check(NULL);
    va_end(args);
}

static void words(struct start_plan *p, const char *const *list)
{
    for (; *list; list++)
        word(p, "%s", *list);
}

static void refuse(struct start_plan *p, const char *why)
{
    p->kind = START_REFUSE;
    p->why = memory_text(why);
}

/* The different lines of a file; 0 where it cannot be read. */
static unsigned long count_hosts(const char *file)
{
    char **seen = NULL, *line = NULL;
    size_t count = 0, room = 0, size = 0;
    FILE *f = fopen(file, "re");

    while (f && getline(&line, &size, f) > 0) {
        line[strcspn(line, " \t\r\n:")] = '\0'; /* "host:8", "host slots=8" */
        size_t i = 0;
        while (i < count && strcmp(seen[i], line) != 0)
            i++;
        if (!*line || *line == '#' || i < count)
            continue;
        seen = memory_grow(seen, &room, count + 1, sizeof *seen);
        seen[count++] = memory_text(line);
    }
    if (f)
        fclose(f);
    for (size_t i = 0; i < count; i++)
        free(seen[i]);
    free(seen);
    free(line);
    return count;
}

/* A job given with -n would have it that --ntasks-per-node is the most; with the number of tasks it is the number. The
 * step needs no memory of its own, no processor of its own, not the script's standard input, and has to have the
 * script's environment. The others of a task that was killed would wait for it for ever. (--kill-on-bad-exit would
 * kill them before they have said why they end.) */
static void plan_slurm(struct start_plan *p, unsigned long nodes)
{
    p->kind = START_LAUNCH;
    p->manager = "Slurm";
    word(p, "srun");
    word(p, "--nodes=%lu", nodes);
    word(p, "--ntasks=%lu", nodes);
    words(p, (const char *const[]){"--ntasks-per-node=1", "--overlap", "--mem=0", "--input=none", "--export=ALL",
                                   "--wait=5", "--job-name=dlcache", NULL});
}

static void plan_mpiexec(struct start_plan *p, const char *manager, unsigned long nodes, const char *hosts,
                         const char *mpiexec)
{
    p->kind = START_LAUNCH;
    p->manager = manager;
    word(p, "%s", mpiexec);
    if (hosts) {
        word(p, OPEN_MPI ? "--hostfile" : "-f");
        word(p, "%s", hosts);
    }
    word(p, "-n");
    word(p, "%lu", nodes);
    words(p, OPEN_MPI ? (const char *const[]){"--map-by", "ppr:1:node", NULL} : (const char *const[]){"-ppn", "1", NULL});
}

static bool in_step(char *const *envp)
{
    const char *step = value(envp, "SLURM_STEP_ID");
    return step && strtoul(step, NULL, 10) < SLURM_FIRST_SPECIAL_STEP;
}

static bool is_rank(char *const *envp)
{
    for (size_t i = 0; i < sizeof rank_variables / sizeof *rank_variables; i++)
        if (value(envp, rank_variables[i]))
            return true;
    return in_step(envp);
}

static void plan_slurm_job(struct start_plan *p, char *const *envp)
{
    const unsigned long nodes = number(envp, "SLURM_JOB_NUM_NODES") ?: number(envp, "SLURM_NNODES");

    if (value(envp, "SLURM_HET_SIZE"))
        refuse(p, "in a heterogeneous job, start it with srun --het-group=..., one task a node");
    else if (nodes == 0)
        refuse(p, "SLURM_JOB_ID is set, but not SLURM_JOB_NUM_NODES: start it with srun, one task a node");
    else
        plan_slurm(p, nodes);
}

/* In a prolog, an epilog or a housekeeping script of Flux there is a job's id; a script of an instance (flux batch,
 * flux alloc, flux start) has none. Nodes that are lost or drained do not count: a task would wait for them. */
static void plan_flux(struct start_plan *p, char *const *envp)
{
    if (value(envp, "FLUX_JOB_ID"))
        return;
    p->kind = START_ASK;
    p->manager = "Flux";
    p->in_no_job = !value(envp, "FLUX_ENCLOSING_ID");
    words(p, (const char *const[]){"flux", "resource", "list", "--states=up", "--no-header", "--format={nnodes}", NULL});
}

/* Flux spreads tasks evenly. A task is given one core, and need not stay on it. The stage does not belong to the job
 * that lays it down, which is soon over: about.c takes the instance for it, where that is a job. */
void start_answer(struct start_plan *p, const char *text)
{
    const unsigned long nodes = text ? strtoul(text, NULL, 10) : 0;

    while (p->count)
        free(p->words[--p->count]);
    if (nodes == 0) {
        refuse(p, "Flux does not tell how many nodes there are: start it with flux run -N NODES -n NODES");
        return;
    }
    p->kind = START_LAUNCH;
    words(p, (const char *const[]){"flux", "run", NULL});
    word(p, "--nodes=%lu", nodes);
    word(p, "--ntasks=%lu", nodes);
    words(p, (const char *const[]){"--job-name=dlcache", "-o", "cpu-affinity=off", NULL});
    if (p->in_no_job)
        word(p, "--env=FLUX_ENCLOSING_ID=");
}

void start_ask(struct start_plan *p)
{
    char *nobody[] = {NULL}, *text = NULL;

    start_answer(p, start_run(p, nobody, &text) == 0 ? text : NULL);
    free(text);
}

/* These managers' MPI finds the hosts itself; how many they are is in a file. */
static bool plan_file(struct start_plan *p, char *const *envp, const char *manager, const char *job, const char *file,
                      const char *mpiexec)
{
    const char *path = value(envp, file);

    if (!value(envp, job) || !path)
        return false;
    const unsigned long nodes = count_hosts(path);
    if (nodes)
        plan_mpiexec(p, manager, nodes, NULL, mpiexec);
    else if (asprintf(&p->why, "%s, which %s names, cannot be read: start it with mpiexec, one rank a node", path,
                      file) < 0)
        memory_check(NULL);
    else
        p->kind = START_REFUSE;
    return true;
}

void start_plan(struct start_plan *p, char *const *envp, const char *hosts, const char *mpiexec)
{
    *p = (struct start_plan){.kind = START_HERE};
    if (!mpiexec)
        mpiexec = value(envp, "DLCACHE_MPIEXEC") ?: DLCACHE_MPIEXEC;
    if (hosts) {
        const unsigned long nodes = count_hosts(hosts);
        if (nodes)
            plan_mpiexec(p, "a file of hosts", nodes, hosts, mpiexec);
        else if (asprintf(&p->why, "%s: no host can be read from it", hosts) < 0)
            memory_check(NULL);
        else
            p->kind = START_REFUSE;
        return;
    }
    if (value(envp, "SLURM_SCRIPT_CONTEXT"))
        return; /* a prolog or an epilog, which Slurm runs on every node itself */
    if (is_rank(envp)) {
        if (in_step(envp) && number(envp, "SLURM_STEP_NUM_TASKS") == 1 && number(envp, "SLURM_JOB_NUM_NODES") > 1)
            p->why = memory_text("this step of the job has one task: it is done on this node alone");
    } else if (value(envp, "SLURM_JOB_ID")) {
        plan_slurm_job(p, envp);
    } else if (!plan_file(p, envp, "PBS", "PBS_JOBID", "PBS_NODEFILE", mpiexec) &&
               !plan_file(p, envp, "LSF", "LSB_JOBID", "LSB_DJOB_HOSTFILE", mpiexec) && value(envp, "FLUX_URI")) {
        plan_flux(p, envp);
    }
}

void start_free(struct start_plan *p)
{
    for (size_t i = 0; i < p->count; i++)
        free(p->words[i]);
    free(p->why);
}

/* srun takes options from the environment as well (srun(1), "INPUT ENVIRONMENT VARIABLES"), and sbatch has set those
 * of the job. What says how MPI is started (SLURM_MPI_TYPE), and where (SLURM_CONF, the job's id), stays. */
void start_clean_environment(void)
{
    static const char *const variables[] = {
        "SLURM_NTASKS", "SLURM_NPROCS", "SLURM_NNODES", "SLURM_NTASKS_PER_NODE", "SLURM_NTASKS_PER_CORE",
        "SLURM_NTASKS_PER_SOCKET", "SLURM_NTASKS_PER_GPU", "SLURM_NTASKS_PER_TRES", "SLURM_TASKS_PER_NODE",
        "SLURM_CPUS_PER_TASK", "SRUN_CPUS_PER_TASK", "SLURM_CPUS_PER_GPU", "SLURM_THREADS_PER_CORE",
        "SLURM_CORE_SPEC", "SLURM_HINT", "SLURM_EXCLUSIVE", "SLURM_EXACT", "SLURM_WHOLE", "SLURM_OVERCOMMIT",
        "SLURM_DISTRIBUTION", "SLURM_CPU_BIND", "SLURM_CPU_BIND_TYPE", "SLURM_CPU_BIND_LIST", "SLURM_CPU_FREQ_REQ",
        "SLURM_MEM_BIND", "SLURM_MEM_BIND_TYPE", "SLURM_MEM_BIND_LIST", "SLURM_MEM_PER_CPU", "SLURM_MEM_PER_GPU",
        "SLURM_MEM_PER_NODE", "SLURM_GPUS", "SLURM_GPUS_PER_NODE", "SLURM_GPUS_PER_SOCKET", "SLURM_GPUS_PER_TASK",
        "SLURM_GPU_BIND", "SLURM_GRES", "SLURM_GRES_FLAGS", "SLURM_STEP_GRES", "SLURM_TRES_PER_TASK",
        "SLURM_TRES_BIND", "SLURM_STDINMODE", "SLURM_STDOUTMODE", "SLURM_STDERRMODE", "SLURM_OPEN_MODE",
        "SLURM_LABELIO", "SLURM_UNBUFFEREDIO", "SLURM_PTY_WIN_COL", "SLURM_PTY_WIN_ROW", "SLURM_TIMELIMIT",
        "SLURM_THREADS", "SLURM_WAIT", "SLURM_IMMEDIATE", "SLURM_EXPORT_ENV", "SLURM_REMOTE_CWD", "SLURM_WORKING_DIR",
        "SLURM_ARBITRARY_NODELIST", "SLURM_RESV_PORTS", "SLURM_PROLOG", "SLURM_EPILOG", "SLURM_TASK_PROLOG",
        "SLURM_TASK_EPILOG", "SLURM_SPREAD_JOB", "SLURM_USE_MIN_NODES", "SLURM_HOSTFILE", "SLURM_MULTI_PROG",
    };

    for (size_t i = 0; i < sizeof variables / sizeof *variables; i++)
        unsetenv(variables[i]);
}

/* As a shell would have to read it. */
static void quote(FILE *f, const char *text)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=./:,@%";

    if (*text && text[strspn(text, plain)] == '\0') {
        fputs(text, f);
        return;
    }
    putc('\'', f);
    for (; *text; text++)
        if (*text == '\'')
            fputs("'\\''", f);
        else
            putc(*text, f);
    putc('\'', f);
}

char *start_text(const struct start_plan *p, char *const *argv)
{
    char *text = NULL;
    size_t size = 0;
    FILE *f = open_memstream(&text, &size);

    memory_check(f);
    for (size_t i = 0; i < p->count; i++) {
        quote(f, p->words[i]);
        putc(' ', f);
    }
    for (; *argv; argv++) {
        quote(f, *argv);
        if (argv[1])
            putc(' ', f);
    }
    fclose(f);
    return text;
}

void start_add(struct start_plan *p, const char *option)
{
    word(p, "%s", option);
}

/* The launcher's words and the program's: the array is heap, the words are not. */
static char **all_words(const struct start_plan *p, char *const *argv)
{
    size_t n = 0;

    while (argv[n])
        n++;
    char **all = memory_new(p->count + n + 1, sizeof *all);
    memcpy(all, p->words, p->count * sizeof *all);
    memcpy(all + p->count, argv, n * sizeof *all);
    return all;
}

static void read_whole(int fd, char **text)
{
    size_t n = 0, room = 0;

    *text = memory_grow(NULL, &room, 4096, 1);
    for (ssize_t k; (k = read(fd, *text + n, room - n - 1)) > 0;) {
        n += (size_t)k;
        *text = memory_grow(*text, &room, n + 2048, 1);
    }
    (*text)[n] = '\0';
}

int start_run(const struct start_plan *p, char *const *argv, char **output)
{
    posix_spawn_file_actions_t actions;
    int ends[2], status;
    pid_t pid;

    if (pipe2(ends, O_CLOEXEC) != 0)
        return -1;
    start_clean_environment();
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    if (output)
        posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
    char **all = all_words(p, argv);
    const int rc = posix_spawnp(&pid, all[0], &actions, NULL, all, environ);
    free(all);
    posix_spawn_file_actions_destroy(&actions);
    close(ends[1]);
    if (output && rc == 0)
        read_whole(ends[0], output);
    close(ends[0]);
    if (rc) {
        errno = rc;
        return -1;
    }
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

void start_launch(const struct start_plan *p, char *const *argv)
{
    char **all = all_words(p, argv);

    close(0);
    open("/dev/null", O_RDONLY);
    start_clean_environment();
    execvp(all[0], all);
    free(all);
}
