/* The preloaded library comes to life: the real functions, the stage, the spool. */
#include <dlfcn.h>

#include "libdlcache/attach.h"
#include "libdlcache/sys.h"
#include "shim.h"

struct shim shim;
struct real shim_real;

static const char *const names[SYMBOLS] = {
#define SYM(ret, name, params) #name,
#include "symbols.def"
#undef SYM
};

/* The C library at hand lacks this function, and something calls it all the same. Every function of the table returns
 * a number, a pointer, or nothing: all of them are told by one register. */
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

void shim_resolve(enum symbol symbol)
{
    void **slot = (void **)&shim_real + symbol;
    const int saved = errno;
    void *p = dlsym(RTLD_NEXT, names[symbol]);

    if (!p)
        p = gives_pointer[symbol] ? (void *)missing_pointer : (void *)missing_number;
    errno = saved;
    __atomic_store_n(slot, p, __ATOMIC_RELEASE);
}

static __attribute__((constructor(101))) void start(int argc, char **argv, char **envp)
{
    struct settings set;

    (void)argc;
    (void)argv;
    /* All at once: dlsym takes the loader's lock, which a later call, in a signal handler, may not. */
    for (int i = 0; i < SYMBOLS; i++)
        shim_resolve((enum symbol)i);
    settings_read(&set, envp);
    if (set.record)
        shim.recording = recorder_open(&shim.recorder, set.record, "preload", set.rank) == 0;
    shim.euid = sys_geteuid();
    shim.egid = (unsigned)sys_call(__NR_getegid, 0, 0, 0, 0);
    if (set.stage)
        shim.serving = attach(&shim.stage, &set) == 0;
}
