#include "policy.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

#include "facts/memory.h"
#include "places.h"

const char *const policy_verdict_names[POLICY_VERDICTS] = {
    [POLICY_KEEP] = "kept",   [POLICY_NEVER] = "never",     [POLICY_EXCLUDED] = "excluded",
    [POLICY_LOCAL] = "local", [POLICY_OUTSIDE] = "outside",
};

/* What a cache must not answer for. */
static const char *const never[] = {"/proc", "/sys", "/dev", "/run"};
/* What is mostly a scratch area, but where people do put software. */
static const char *const by_name_only[] = {"/tmp", "/var/tmp", "/dev/shm"};

#define COUNT(a) (sizeof(a) / sizeof *(a))

bool policy_is_shared(uint32_t fs_magic, const char *fs_type)
{
    static const uint32_t magics[] = {
        0x0bd00bd0, /* Lustre */
        0x47504653, /* GPFS */
        0x6969,     /* NFS */
        0x19830326, /* BeeGFS */
        0x00c36400, /* Ceph */
        0x65735546, /* FUSE, virtiofs */
        0xff534d42, /* CIFS */
        0xfe534d42, /* SMB2 */
        0x517b,     /* SMB */
        0xaad7aaea, /* PanFS */
        0x01021997, /* 9p */
        0x5346414f, /* AFS */
        0x6b414653, /* AFS in the kernel */
        0x73757245, /* Coda */
        0x20030528, /* OrangeFS */
        0x01161970, /* GFS2 */
        0x7461636f, /* OCFS2 */
        0xbeefdead, /* StorNext */
    };
    static const char *const types[] = {"wekafs", "dvs", "lustre", "gpfs", "beegfs", "panfs", "pvfs2", "orangefs"};

    /* Images and layers of containers, by FUSE: a file of this node. */
    static const char *const local[] = {"fuse.squashfuse", "fuse.squashfuse_ll", "fuse.fuse-overlayfs"};

    for (size_t i = 0; fs_type && i < COUNT(local); i++)
        if (strcmp(local[i], fs_type) == 0)
            return false;
    for (size_t i = 0; i < COUNT(magics); i++)
        if (magics[i] == fs_magic)
            return true;
    for (size_t i = 0; fs_type && i < COUNT(types); i++)
        if (strcmp(types[i], fs_type) == 0)
            return true;
    return false;
}

bool policy_below(const char *path, const char *dir)
{
    const size_t n = strlen(dir);

    if (n == 1)
        return path[0] == '/';
    return strncmp(path, dir, n) == 0 && (path[n] == '/' || path[n] == '\0');
}

/* The longest path of the list that takes `path`, or NULL. */
static const char *match(const struct policy_list *list, const char *path)
{
    const char *best = NULL;

    for (size_t i = 0; i < list->path_count; i++)
        if (policy_below(path, list->paths[i]) && (!best || strlen(list->paths[i]) > strlen(best)))
            best = list->paths[i];
    return best;
}

static const char *below_one_of(const char *path, const char *const *dirs, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (policy_below(path, dirs[i]))
            return dirs[i];
    return NULL;
}

enum policy_verdict policy_decide(const struct policy *p, const char *path, const struct policy_facts *facts)
{
    const char *included = match(&p->include, path);
    const char *excluded = match(&p->exclude, path);
    const char *scratch = below_one_of(path, by_name_only, COUNT(by_name_only));

    if (scratch ? !included || !policy_below(included, scratch) : !!below_one_of(path, never, COUNT(never)))
        return POLICY_NEVER;
    if (excluded && (!included || strlen(excluded) >= strlen(included)))
        return POLICY_EXCLUDED;
    if (included || p->all)
        return POLICY_KEEP;
    if (facts->on_root || !policy_is_shared(facts->fs_magic, facts->fs_type))
        return POLICY_LOCAL;
    return policy_prefix_of(p, path, facts->is_data) ? POLICY_KEEP : POLICY_OUTSIDE;
}

/* Whether the first n bytes of `path` are a prefix's path; prefixes are sorted by bytes. */
static const struct policy_prefix *prefix_at(const struct policy *p, const char *path, size_t n)
{
    size_t low = 0, high = p->prefix_count;

    while (low < high) {
        const size_t mid = low + (high - low) / 2;
        const char *prefix = p->prefixes[mid].path;
        int order = strncmp(path, prefix, n);
        if (order == 0 && prefix[n] == '\0')
            return &p->prefixes[mid];
        if (order > 0)
            low = mid + 1;
        else
            high = mid;
    }
    return NULL;
}

const struct policy_prefix *policy_prefix_of(const struct policy *p, const char *path, bool is_data)
{
    for (size_t n = strlen(path); n > 0; n--) {
        if (path[n] != '/' && path[n] != '\0')
            continue;
        const struct policy_prefix *prefix = prefix_at(p, path, n);
        if (prefix && !(prefix->code_only && is_data))
            return prefix;
    }
    return NULL;
}

static void add_text(char ***list, size_t *count, size_t *capacity, char *text)
{
    *list = memory_grow(*list, capacity, *count + 1, sizeof **list);
    (*list)[(*count)++] = text;
}

int policy_ask(struct policy_list *list, const char *asked, bool must_exist)
{
    char *absolute = NULL, *resolved = realpath(asked, NULL);

    if (!resolved && must_exist)
        return -errno;
    if (asked[0] == '/') {
        absolute = places_collapse(asked);
    } else {
        char *cwd = getcwd(NULL, 0);
        if (!cwd) {
            free(resolved);
            return -errno;
        }
        char *whole = memory_join(cwd, asked, strlen(asked));
        absolute = places_collapse(whole);
        free(whole);
        free(cwd);
    }
    add_text(&list->asked, &list->asked_count, &list->asked_capacity, memory_text(asked));
    add_text(&list->canonical, &list->canonical_count, &list->canonical_capacity,
             memory_text(resolved ? resolved : absolute));
    if (resolved && strcmp(resolved, absolute) != 0)
        add_text(&list->paths, &list->path_count, &list->path_capacity, absolute);
    else if (resolved)
        free(absolute);
    add_text(&list->paths, &list->path_count, &list->path_capacity, resolved ? resolved : absolute);
    return 0;
}

void policy_add_prefix(struct policy *p, const char *path, bool code_only)
{
    if (path[0] != '/' || path[1] == '\0')
        return;
    p->prefixes = memory_grow(p->prefixes, &p->prefix_capacity, p->prefix_count + 1, sizeof *p->prefixes);
    p->prefixes[p->prefix_count++] = (struct policy_prefix){memory_text(path), code_only};
}

static int by_path(const void *a, const void *b)
{
    const struct policy_prefix *x = a, *y = b;
    int order = strcmp(x->path, y->path);

    return order ? order : (int)x->code_only - (int)y->code_only;
}

void policy_ready(struct policy *p)
{
    size_t kept = 0;

    if (p->prefix_count)
        qsort(p->prefixes, p->prefix_count, sizeof *p->prefixes, by_path);
    for (size_t i = 0; i < p->prefix_count; i++) {
        /* Of two with the same path, the one that takes everything comes first. */
        if (kept && strcmp(p->prefixes[kept - 1].path, p->prefixes[i].path) == 0)
            free(p->prefixes[i].path);
        else
            p->prefixes[kept++] = p->prefixes[i];
    }
    p->prefix_count = kept;
}

static void free_list(struct policy_list *list)
{
    for (size_t i = 0; i < list->asked_count; i++)
        free(list->asked[i]);
    for (size_t i = 0; i < list->path_count; i++)
        free(list->paths[i]);
    for (size_t i = 0; i < list->canonical_count; i++)
        free(list->canonical[i]);
    free(list->asked);
    free(list->paths);
    free(list->canonical);
}

void policy_free(struct policy *p)
{
    free_list(&p->include);
    free_list(&p->exclude);
    for (size_t i = 0; i < p->prefix_count; i++)
        free(p->prefixes[i].path);
    free(p->prefixes);
    *p = (struct policy){0};
}
