/* Attaching. Runs before main, and in the dynamic loader: raw system calls, no heap. */
#include "attach.h"

#include <errno.h>

#include "log.h"
#include "mounts.h"
#include "sys.h"

/* Where a process is. */
struct where {
    uint64_t root_dev, root_ino, mnt_ns, root_mount;
};

/* For attach_same_view. */
static struct {
    const struct dlc_state *state;
    struct where where;
} elsewhere;

/* What the view of a process elsewhere points to. */
static struct own_mounts own_mounts DLC_LARGE;

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

long settings_rank(char *const *envp)
{
    static const char *const names[] = {"PMI_RANK", "PMIX_RANK", "OMPI_COMM_WORLD_RANK"};
    long rank = -1;

    for (size_t i = 0; i < sizeof names / sizeof *names && rank < 0; i++)
        rank = env_number(envp, names[i]);
    /* A batch script has a SLURM_PROCID too, and is no task of a step. */
    return rank < 0 && env_text(envp, "SLURM_STEP_ID") ? env_number(envp, "SLURM_PROCID") : rank;
}

void settings_read(struct settings *set, char *const *envp)
{
    *set = (struct settings){.audit = 1, .part = 1, .rank = -1};
    const char *off = env_text(envp, "DLCACHE_DISABLE");
    if (off && !text_is(off, "0"))
        return;
    set->stage = env_text(envp, "DLCACHE_STAGE");
    set->record = env_text(envp, "DLCACHE_RECORD");
    set->manifest = env_text(envp, "DLCACHE_MANIFEST");
    if (!set->stage && !set->record && !set->manifest)
        return;
    const char *log = env_text(envp, "DLCACHE_LOG");
    set->log = log && !text_is(log, "0");
    const char *stats = env_text(envp, "DLCACHE_STATS");
    set->stats = stats && !text_is(stats, "0");
    const char *audit = env_text(envp, "DLCACHE_AUDIT");
    set->audit = !(audit && text_is(audit, "off"));
    set->rank = settings_rank(envp);
}

uint64_t attach_root_mount(uint64_t *dev, uint64_t *ino)
{
    enum { UNIQUE = 0x4000, AT = 144 }; /* STATX_MNT_ID_UNIQUE, and where stx_mnt_id lies: newer than some headers */
    struct statx stx;
    uint64_t mount;

    _Static_assert(sizeof stx >= AT + sizeof mount, "stx_mnt_id lies inside");
    if (sys_statx(AT_FDCWD, "/", 0, STATX_INO | UNIQUE, &stx) != 0 || !(stx.stx_mask & UNIQUE))
        return 0;
    *dev = dlc_device(stx.stx_dev_major, stx.stx_dev_minor);
    *ino = stx.stx_ino;
    __builtin_memcpy(&mount, (const char *)&stx + AT, sizeof mount);
    return mount;
}

/* Where that can be told without /proc, which takes longer than all the rest of attaching. */
static int same_root(const struct where *then)
{
    uint64_t dev, ino;
    const uint64_t mount = then->root_mount ? attach_root_mount(&dev, &ino) : 0;

    return mount && mount == then->root_mount && dev == then->root_dev && ino == then->root_ino;
}

static int look_around(struct where *w)
{
    struct stat root, ns;
    uint64_t dev, ino;

    if (sys_fstatat(AT_FDCWD, "/", &root, 0) != 0 || sys_fstatat(AT_FDCWD, "/proc/self/ns/mnt", &ns, 0) != 0)
        return 0;
    *w = (struct where){root.st_dev, root.st_ino, ns.st_ino, attach_root_mount(&dev, &ino)};
    return 1;
}

static int same_place(const struct where *a, const struct where *b)
{
    return a->root_dev == b->root_dev && a->root_ino == b->root_ino && a->mnt_ns == b->mnt_ns;
}

int attach_same_view(const struct dlc_state *state)
{
    const struct where staged = {state->root_dev, state->root_ino, state->mnt_ns, state->root_mount};
    const struct where *then = elsewhere.state == state ? &elsewhere.where : &staged;
    struct where here;

    return same_root(then) || (look_around(&here) && same_place(&here, then));
}

/* What of the stage a process elsewhere may serve. */
static int attach_elsewhere(struct stage *s)
{
    if (!look_around(&elsewhere.where) || own_mounts_apply(&own_mounts, &s->view) != 0)
        return -EXDEV;
    elsewhere.state = s->view.state;
    return 0;
}

/* "not below /, below /sw": as many as there is room for in a line. */
static void log_part(const struct stage *s)
{
    char list[800];
    size_t at = 0;

    for (uint32_t i = 0; i < s->view.spot_count; i++) {
        const char *word = s->view.spots[i].agrees ? ", below " : ", not below ";
        const size_t n = dlc_strlen(word);
        if (at + n >= sizeof list)
            break;
        __builtin_memcpy(list + at, word, n);
        const long len = image_path(&s->view.image, s->view.spots[i].node, list + at + n, sizeof list - at - n);
        if (len < 0)
            break;
        at += n + (size_t)len;
    }
    list[at] = '\0';
    log_line((const char *const[]){"the stage ", s->dir, " is used in part: ", at ? list + 2 : list, NULL});
}

int attach_taken(struct stage *s, const struct stage *given, const struct settings *set)
{
    if (!text_is(given->dir, set->stage) || given->view.spots || !attach_same_view(given->view.state))
        return 0;
    *s = *given;
    return 1;
}

int attach(struct stage *s, const struct settings *set)
{
    int rc = stage_open(s, set->stage);

    elsewhere.state = NULL;
    if (rc == 0 && !attach_same_view(s->view.state)) {
        rc = set->part ? attach_elsewhere(s) : -EXDEV;
        if (rc)
            stage_close(s);
        else if (set->log && !s->view.all_agree)
            log_part(s);
    }
    if (rc && set->log) {
        log_line((const char *const[]){"the stage ", set->stage, " is not used: ",
                                       rc == -EXDEV ? "this process sees another root or other mounts than its node"
                                                    : stage_error(rc),
                                       NULL});
    }
    return rc;
}
