/* The preloaded library comes to life: the real functions, the stage, the spool. */
#include <dlfcn.h>
#include <link.h>
#include <sys/prctl.h>

#include "libdlcache/attach.h"
#include "libdlcache/execute.h"
#include "libdlcache/sys.h"
#include "next.h"
#include "onestep.h"
#include "restart.h"
#include "shim.h"

struct shim shim;
DLC_LARGE struct recorder shim_recorder;
struct real shim_real;

/* The library's entry point. */
struct handover shim_handover = {HANDOVER_MAGIC, sizeof(struct stage), NULL, 0};

static const char *const names[SYMBOLS] = {
#define SYM(ret, name, params) #name,
#include "symbols.def"
#undef SYM
};

/* The C library at hand lacks this function, nothing stands for it, and something calls it all the same. Every function
 * of the table returns a number, a pointer, or nothing: all of them are told by one register. */
static long missing_number(void)
{
    errno = ENOSYS;
    return -1;
}

static void *missing_pointer(void)
{
    errno = ENOSYS;
    return NULL;
}

static const bool gives_pointer[SYMBOLS] = {
#define SYM(ret, name, params) _Generic((ret *)NULL, int *: false, ssize_t *: false, void *: false, default: true),
#include "symbols.def"
#undef SYM
};

static void *missing(enum symbol symbol)
{
    void *const older = shim_older(symbol);

    return older ? older : gives_pointer[symbol] ? (void *)missing_pointer : (void *)missing_number;
}

/* Of a function with several versions dlsym may give the oldest, which is not what a program is linked with today:
 * realpath@GLIBC_2.2.5 wants a buffer. Where a C library has one version alone, this finds none, and dlsym that one. */
static void *by_dlsym(enum symbol symbol)
{
    static const struct {
        enum symbol symbol;
        const char *version;
    } newest[] = {
        {SYMBOL_realpath, "GLIBC_2.3"},
        {SYMBOL_posix_spawn, "GLIBC_2.15"},
        {SYMBOL_posix_spawnp, "GLIBC_2.15"},
    };
    void *p = NULL;

    for (size_t i = 0; i < sizeof newest / sizeof newest[0]; i++)
        if (newest[i].symbol == symbol)
            p = dlvsym(RTLD_NEXT, names[symbol], newest[i].version);
    return p ? p : dlsym(RTLD_NEXT, names[symbol]);
}

/* `found`: as next_find gives it. */
static void resolve(enum symbol symbol, void *found)
{
    void *p = found ? found : by_dlsym(symbol);

    if (!p || p == NEXT_NOWHERE)
        p = missing(symbol);
    __atomic_store_n((void **)&shim_real + symbol, p, __ATOMIC_RELEASE);
}

/* Before our constructor, for another's, or for ld.so. In C libraries before 2.34 dlsym takes memory in a thread's first
 * call: an allocator that reads a file when it is first asked would ask here, and wait for itself. And it takes away the
 * error that dlerror is asked for. */
void shim_resolve(enum symbol symbol)
{
    const int saved = errno;
    void *found;

    next_find(_DYNAMIC, &names[symbol], 1, &found);
    resolve(symbol, found);
    errno = saved;
}

_Static_assert(SYMBOLS <= NEXT_MAX, "all names at once");

/* All of them: dlsym takes the loader's lock, which a later call, in a signal handler, may not. */
static void resolve_all(void)
{
    void *found[SYMBOLS];
    const int saved = errno;
    bool asked = false;

    next_find(_DYNAMIC, names, SYMBOLS, found);
    for (int i = 0; i < SYMBOLS; i++) {
        resolve((enum symbol)i, found[i]);
        asked = asked || !found[i];
    }
    if (!asked)
        return;
    /* Of what dlsym did not find, the program is told nothing; the second call frees the text. */
    REAL(dlerror)();
    REAL(dlerror)();
    errno = saved;
}

enum { TOLD_MAX = sizeof((struct execution *)0)->comm };

static ElfW(auxv_t) *find_execfn(char **envp)
{
    while (*envp)
        envp++;
    while (!*envp) /* one more for each variable that a constructor before ours took out */
        envp++;
    for (ElfW(auxv_t) *aux = (void *)envp; aux->a_type != AT_NULL; aux++)
        if (aux->a_type == AT_EXECFN)
            return aux;
    return NULL;
}

/* Takes the variable, however often it is there, out of that environment; what the last one says is put into `told`. (One
 * that is not the last came from who knows where.) */
static void take_comm(char **envp, char told[TOLD_MAX])
{
    char **to = envp;

    for (char **var = envp; *var; var++) {
        char *text = *var + sizeof EXECUTE_COMM - 1;
        if (strncmp(*var, EXECUTE_COMM, sizeof EXECUTE_COMM - 1) != 0) {
            *to++ = *var;
            continue;
        }
        const size_t len = strlen(text);
        memset(told, 0, TOLD_MAX);
        memcpy(told, text, len < TOLD_MAX ? len : 0);
        memset(text, ' ', len);
    }
    while (*to)
        *to++ = NULL;
}

static size_t told_number(const char *digits)
{
    size_t n = 0;
    for (; *digits >= '0' && *digits <= '9' && n < EXECUTE_PATH; digits++)
        n = n * 10 + (size_t)(*digits - '0');
    return n;
}

/* The kernel calls a process by the last name of its path, as far as there is room (TASK_COMM_LEN). */
static bool is_named(const char *path, const char *name)
{
    const char *last = strrchr(path, '/');
    const size_t len = strlen(name);

    last = last ? last + 1 : path;
    return strncmp(last, name, len) == 0 && (len == 15 || last[len] == '\0');
}

/* Was this program executed from the stage: then the path that the kernel was given is put right where it lies. Of a
 * script it is the script's, and so is the name of the process. */
static void put_right(int argc, char **argv, char **envp)
{
    const struct view *v = &shim.stage.view;
    ElfW(auxv_t) *execfn = find_execfn(envp);
    char told[TOLD_MAX] = "", other[TOLD_MAX];

    take_comm(envp, told);
    if (environ && environ != envp) /* a constructor before ours put a variable in */
        take_comm(environ, other);
    if (!execfn)
        return;
    char *path = (char *)execfn->a_un.a_val;
    const size_t len = strlen(path), below = lookup_prefix(v, path, len);
    const int script = told[0] - '0';
    if ((script == 1 || script == 2) && script < argc && strcmp(argv[0], path + below) == 0 &&
        is_named(argv[script], told + 1)) {
        sys_call(__NR_prctl, PR_SET_NAME, told + 1, 0, 0);
        execfn->a_un.a_val = (uintptr_t)argv[script];
        return;
    }
    const size_t told_before = told[0] == '0' ? told_number(told + 1) : 0;
    const size_t before = told_before > below && told_before < len && path[told_before - 1] == '/' ? told_before : below;
    if (below && before < len)
        memmove(path, path + before, len - before + 1);
}

/* A program that was executed from the stage is noted as the original. */
static void note_original(void)
{
    char *exe = shim_recorder.spool->exe;
    const size_t len = strlen(exe), below = lookup_prefix(&shim.stage.view, exe, len);

    memmove(exe, exe + below, len - below + 1);
}

static _Alignas(64) struct recent recent;

static bool take_over(const struct settings *set)
{
    const struct handover *h = &shim_handover;
    return h->stage && h->euid == shim.euid && attach_taken(&shim.stage, h->stage, set);
}

static __attribute__((constructor(101))) void start(int argc, char **argv, char **envp)
{
    struct settings set;
    const int saved = errno;

    settings_read(&set, envp);
    shim.euid = sys_geteuid();
    shim.egid = (unsigned)sys_call(__NR_getegid, 0, 0, 0, 0);
    const bool staged_before = set.stage != NULL;
    if (!staged_before && set.manifest)
        set.stage = onestep(&set, envp);
    if (set.stage)
        shim.serving = take_over(&set) || attach(&shim.stage, &set) == 0;
    shim.stage.view.recent = &recent;
    if (shim.serving && staged_before)
        restart(&shim.stage, &set, argc, argv, envp);
    if (shim.serving && set.stats) {
        shim.counts = stage_counts(&shim.stage);
        stage_count(shim.counts, DLC_C_PROGRAMS);
    }
    resolve_all();
    errno = saved;
    shim_dlopen_start(envp);
    if (set.record)
        shim.recording = recorder_open(&shim_recorder, set.record, "preload", set.rank) == 0;
    if (set.stage)
        put_right(argc, argv, envp);
    if (shim.serving && shim.recording)
        note_original();
}
