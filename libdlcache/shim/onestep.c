/* One step: DLCACHE_MANIFEST instead of DLCACHE_STAGE. The job has no stage yet, and its ranks stage inside themselves,
 * here, before anything of the program ran; then it goes on as if DLCACHE_STAGE had been there. All that needs heap,
 * threads or MPI is in a library that is loaded for that alone (onestep.h).
 *
 * In which processes: in the rank itself, and in no other that inherits the variable. A rank is a process that the
 * launcher itself has started, so that a child of one is none; and whose program is the manifest's, so that a shell or
 * a launcher in between is none: it passes the variable on, to what it then becomes. */
#include "onestep.h"

#include <dlfcn.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include "libdlcache/log.h"
#include "libdlcache/onestep.h"
#include "libdlcache/sys.h"
#include "shim.h"

#define HEAD_MOST 65536u /* bytes that the head of a manifest is looked for in */
#define WAIT_SECONDS 600
#define SLURM_FIRST_SPECIAL_STEP 0xfffffff0ul

static bool is_set(char *const *envp, const char *name)
{
    const char *value = env_value(envp, name);
    return value && *value;
}

static unsigned long number(char *const *envp, const char *name, unsigned long without)
{
    const char *p = env_value(envp, name);
    unsigned long n = 0;

    if (!p || !*p)
        return without;
    for (; *p >= '0' && *p <= '9' && n < 1ul << 40; p++)
        n = n * 10 + (unsigned long)(*p - '0');
    return *p ? without : n;
}

/* --- whether ----------------------------------------------------------------------------------------------------- */

static const char *put_number(unsigned long n, char *end)
{
    *--end = '\0';
    do
        *--end = (char)('0' + n % 10);
    while (n /= 10);
    return end;
}

static long read_text(const char *path, char *text, size_t room)
{
    const int fd = sys_openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
    size_t n = 0;
    long k = 0;

    if (fd < 0)
        return fd;
    while (n < room - 1 && (k = sys_read(fd, text + n, room - 1 - n)) > 0)
        n += (size_t)k;
    sys_close(fd);
    text[n] = '\0';
    return k < 0 ? k : (long)n;
}

/* MPICH's mpiexec starts ranks by a helper on each node. */
static bool is_of_mpiexec(char *const *envp)
{
    char path[64] = "/proc/", comm[32], digits[24];
    const char *const ppid = put_number((unsigned long)sys_call(__NR_getppid, 0, 0, 0, 0), digits + sizeof digits);

    strcat(strcat(path, ppid), "/comm");
    return (is_set(envp, "PMI_FD") || is_set(envp, "PMI_PORT")) && read_text(path, comm, sizeof comm) > 0 && strcmp(comm, "hydra_pmi_proxy\n") == 0;
}

/* Slurm says which process it has started; it does so in the script of a job, too, which is none of its steps'. */
static bool in_slurm_step(char *const *envp)
{
    return number(envp, "SLURM_STEP_ID", SLURM_FIRST_SPECIAL_STEP) < SLURM_FIRST_SPECIAL_STEP;
}

static bool is_task(char *const *envp)
{
    return in_slurm_step(envp) &&
           number(envp, "SLURM_TASK_PID", 0) == (unsigned long)sys_call(__NR_getpid, 0, 0, 0, 0);
}

/* The script of a Slurm job has a rank's variable, too. */
static bool is_below_rank(const struct settings *set, char *const *envp)
{
    return set->rank >= 0 && (!is_set(envp, "SLURM_PROCID") || is_set(envp, "PMI_RANK") || in_slurm_step(envp));
}

/* Where the value of the member "interpreter" begins; as `dlcache record` writes it, at the beginning of a line, where no
 * text of another member can be. */
static const char *interpreter_in(const char *head)
{
    static const char name[] = "\"interpreter\"";

    for (const char *line = head; (line = strchr(line, '\n'));) {
        line++;
        const char *p = line + strspn(line, " \t");
        if (strncmp(p, name, sizeof name - 1) != 0)
            continue;
        p += sizeof name - 1;
        p += strspn(p, " \t");
        if (*p++ != ':')
            continue;
        p += strspn(p, " \t");
        return *p == '"' ? p + 1 : NULL;
    }
    return NULL;
}

/* NULL where this program is the manifest's; "" where it is another's matter; or what is wrong. */
static const char *compare(const char *manifest, char *head)
{
    char exe[PATH_MAX];
    const long n = sys_readlinkat(AT_FDCWD, "/proc/self/exe", exe, sizeof exe);

    if (read_text(manifest, head, HEAD_MOST) < 0)
        return "it cannot be read";
    const char *const program = interpreter_in(head);
    if (!program)
        return "it does not name its program (\"interpreter\")";
    if (n <= 0 || n == sizeof exe)
        return "";
    if (strncmp(program, exe, (size_t)n) == 0 && program[n] == '"')
        return NULL;
    /* A Python, but not that Python, is a mistake; anything else may be a wrapper. */
    exe[n] = '\0';
    const char *const name = strrchr(exe, '/');
    return name && strncmp(name, "/python", 7) == 0 ? "it is of another Python" : "";
}

static const char *compare_with(const char *manifest)
{
    char *head = sys_mmap(HEAD_MOST, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    const char *const why = head ? compare(manifest, head) : "there is no memory";

    if (head)
        sys_munmap(head, HEAD_MOST);
    return why;
}

/* --- how --------------------------------------------------------------------------------------------------------- */

struct signals {
    struct sigaction actions[NSIG];
    sigset_t mask;
};

static void signals_keep(struct signals *s)
{
    for (int i = 1; i < NSIG; i++)
        sigaction(i, NULL, &s->actions[i]);
    sigprocmask(SIG_SETMASK, NULL, &s->mask);
}

static void signals_restore(const struct signals *s, int again)
{
    for (int i = 1; i < NSIG; i++) {
        struct sigaction now;
        if (sigaction(i, NULL, &now) == 0 && now.sa_handler != s->actions[i].sa_handler)
            sigaction(i, &s->actions[i], NULL);
    }
    sigprocmask(SIG_SETMASK, &s->mask, NULL);
    if (again)
        raise(again);
}

static void detach(void)
{
    shim.serving = false;
}

/* The library is beside this one. */
static const char *run(struct onestep *o)
{
    char path[PATH_MAX];
    Dl_info here;

    if (!dladdr(&shim, &here) || !here.dli_fname || strlen(here.dli_fname) + sizeof ONESTEP_LIBRARY > sizeof path)
        return "it is not known where " ONESTEP_LIBRARY " would be";
    strcpy(path, here.dli_fname);
    char *const name = strrchr(path, '/');
    strcpy(name ? name + 1 : path, ONESTEP_LIBRARY);
    struct stat st;
    if (sys_fstatat(AT_FDCWD, path, &st, 0) != 0)
        return "there is no " ONESTEP_LIBRARY " beside libdlcache.so: it is built where MPI has sessions (MPI-4)";
    void *const library = dlopen(path, RTLD_LAZY | RTLD_LOCAL);
    void *const entry = library ? dlsym(library, ONESTEP_ENTRY) : NULL;
    if (!entry)
        return dlerror();
    return ((onestep_entry *)(uintptr_t)entry)(o) == 0 ? NULL : "";
}

/* Children are attached by the stage's variable, and a program that this one becomes must not begin anew. */
static void replace_variable(char **envp, const char *text)
{
    static const char before[] = "DLCACHE_MANIFEST=";

    for (char **var = envp; var && *var; var++) {
        if (strncmp(*var, before, sizeof before - 1) != 0)
            continue;
        if (text)
            *var = (char *)(uintptr_t)text;
        else
            for (char **to = var; (to[0] = to[1]); to++)
                ;
        return;
    }
}

static void say(const struct settings *set, const char *why)
{
    log_line((const char *const[]){"one step: ", set->manifest, ": ", why, "; the program goes on natively", NULL});
}

/* Why a process that may be a rank, or a rank's child, does not stage: "" where nobody needs to know; NULL: it does. */
static const char *objection(const struct settings *set, char *const *envp, bool rank)
{
    const char *const why = compare_with(set->manifest);

    if (why || rank)
        return why;
    if (is_set(envp, "OMPI_COMM_WORLD_SIZE"))
        return "Open MPI's mpiexec has started this, whose ranks cannot stage inside themselves";
    return "the launcher (srun, MPICH's mpiexec) has not started this process itself, but one that started it: let that "
           "one exec it";
}

/* NULL, or what went wrong; "" where that was told. */
static const char *stage_inside(const struct settings *set, char *const *envp, bool of_mpiexec, struct onestep *o)
{
    const char *const places = env_value(envp, "DLCACHE_DIR");
    struct signals signals;

    *o = (struct onestep){.manifest = set->manifest, .places = places && *places ? places : NULL, .rank = set->rank,
                          .log = set->log, .finalize = of_mpiexec, .detach = detach,
                          .wait = (long)number(envp, "DLCACHE_WAIT", WAIT_SECONDS)};
    signals_keep(&signals);
    const char *const why = run(o);
    signals_restore(&signals, o->signal);
    return why;
}

const char *onestep(const struct settings *set, char **envp)
{
    static const char name[] = "DLCACHE_STAGE=";
    static char text[sizeof name + sizeof ((struct onestep *)0)->dir];
    const bool of_mpiexec = is_of_mpiexec(envp), rank = of_mpiexec || is_task(envp), first = set->rank <= 0;
    struct onestep o;

    /* Of the children of ranks, the first rank's are enough to tell that they are none. */
    if (!rank && (!first || !is_below_rank(set, envp)))
        return NULL;
    const char *why = objection(set, envp, rank);
    if (why) {
        if (set->log || (*why && first))
            say(set, *why ? why : "this is not its program");
        return NULL;
    }
    why = stage_inside(set, envp, of_mpiexec, &o);
    if (why && *why && first)
        say(set, why);
    if (!why)
        strcat(strcpy(text, name), o.dir);
    replace_variable(envp, why ? NULL : text);
    if (environ != envp) /* a constructor before ours put a variable in */
        replace_variable(environ, why ? NULL : text);
    return why ? NULL : text + sizeof name - 1;
}
