/* Attaching. Runs before main, and in the dynamic loader: raw system calls, no heap. */
#include "attach.h"

#include <errno.h>

#include "log.h"
#include "sys.h"

const char *env_value(char *const *envp, const char *name)
{
    const size_t n = dlc_strlen(name);

    for (; envp && *envp; envp++) {
        size_t i = 0;
        while (i < n && (*envp)[i] == name[i])
            i++;
        if (i == n && (*envp)[n] == '=')
            return *envp + n + 1;
    }
    return NULL;
}

static int text_is(const char *a, const char *b)
{
    while (*a && *a == *b)
        a++, b++;
    return *a == *b;
}

static const char *env_text(char *const *envp, const char *name)
{
    const char *value = env_value(envp, name);
    return value && *value ? value : NULL;
}

static long env_number(char *const *envp, const char *name)
{
    const char *p = env_text(envp, name);
    long n = 0;

    if (!p)
        return -1;
    for (; *p; p++) {
        if (*p < '0' || *p > '9' || n > 1000000000)
            return -1;
        n = n * 10 + (*p - '0');
    }
    return n;
}

void settings_read(struct settings *set, char *const *envp)
{
    static const char *const ranks[] = {"PMI_RANK", "PMIX_RANK", "OMPI_COMM_WORLD_RANK", "SLURM_PROCID"};

    *set = (struct settings){.audit = 1, .rank = -1};
    const char *off = env_text(envp, "DLCACHE_DISABLE");
    if (off && !text_is(off, "0"))
        return;
    set->stage = env_text(envp, "DLCACHE_STAGE");
    set->record = env_text(envp, "DLCACHE_RECORD");
    if (!set->stage && !set->record)
        return;
    const char *log = env_text(envp, "DLCACHE_LOG");
    set->log = log && !text_is(log, "0");
    const char *audit = env_text(envp, "DLCACHE_AUDIT");
    set->audit = !(audit && text_is(audit, "off"));
    for (size_t i = 0; i < sizeof ranks / sizeof *ranks && set->rank < 0; i++)
        set->rank = env_number(envp, ranks[i]);
}

int attach_same_view(const struct dlc_state *state)
{
    struct stat st;

    if (sys_fstatat(AT_FDCWD, "/", &st, 0) != 0 || st.st_dev != state->root_dev || st.st_ino != state->root_ino)
        return 0;
    return sys_fstatat(AT_FDCWD, "/proc/self/ns/mnt", &st, 0) == 0 && st.st_ino == state->mnt_ns;
}

int attach(struct stage *s, const struct settings *set)
{
    int rc = stage_open(s, set->stage);

    if (rc == 0 && !attach_same_view(s->view.state)) {
        stage_close(s);
        rc = -EXDEV;
    }
    if (rc && set->log) {
        log_line((const char *const[]){"the stage ", set->stage, " is not used: ",
                                       rc == -EXDEV ? "this process sees another root or other mounts than its node"
                                                    : stage_error(rc),
                                       NULL});
    }
    return rc;
}
