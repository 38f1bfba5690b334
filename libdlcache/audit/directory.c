/* One directory of a search path. Rules: audit.h.
 *
 * As ld.so, each directory is remembered for ever, and which of its subdirectories for hardware there are not: ld.so
 * looks once. What the index says of it is remembered until something in the stage changes, so that a search over many
 * directories costs one look into the index for each. */
#include "audit.h"
#include "libdlcache/hash.h"
#include "libdlcache/sys.h"
#include "libdlcache/loader/rtld.h"

#define BUCKETS 512u

enum source {
    SOURCE_NONE,   /* not looked for yet */
    SOURCE_INDEX,  /* a frozen directory */
    SOURCE_KERNEL, /* the index does not know it all */
    SOURCE_GONE    /* there is no such directory */
};

/* Bit i stands for subdirectory i of the loader, the one after the last for the directory itself. */
struct directory {
    struct directory *next;
    uint64_t missing, existing; /* what ld.so would have seen when it first looked */
    uint64_t changes;           /* of the stage, when the rest was looked up */
    enum source source;
    uint32_t node;
    uint64_t subdirs;           /* those that the frozen directory could have */
    bool fixed;                 /* an absolute path: what is missing stays so */
    size_t len;
    char name[];
};

static struct directory *buckets[BUCKETS] DLC_LARGE;

struct directory *directory_of(const char *dir, size_t len)
{
    struct directory **bucket = &buckets[dlc_hash64(0, dir, len) & (BUCKETS - 1)], *d;

    for (d = *bucket; d; d = d->next)
        if (d->len == len && dlc_same(d->name, dir, len))
            return d;
    d = arena_take(sizeof *d + len + 1);
    if (!d)
        return NULL;
    *d = (struct directory){.next = *bucket, .fixed = len > 0 && dir[0] == '/', .len = len};
    __builtin_memcpy(d->name, dir, len);
    d->name[len] = '\0';
    *bucket = d;
    return d;
}

/* What the index says of the absolute path. */
static void resolve(struct directory *d, const char *path, size_t len)
{
    const struct view *v = &audit.stage.view;
    struct found found;

    d->changes = __atomic_load_n(&v->state->changes, __ATOMIC_ACQUIRE);
    d->source = SOURCE_KERNEL;
    switch (lookup(v, path, len, 0, &found)) {
    case VERDICT_UNKNOWN: return;
    case VERDICT_DIR: break;
    default: d->source = SOURCE_GONE; return;
    }
    if (!(v->image.nodes[found.node].flags & DLC_N_FROZEN) || (!rtld.known && rtld_has_hardware(&v->image, found.node)))
        return;
    d->source = SOURCE_INDEX;
    d->node = found.node;
    d->subdirs = 0;
    for (uint32_t i = 0; i < rtld.subdirs; i++) {
        const bool first = (rtld.same_top[i] & ((1ull << i) - 1)) == 0;
        if (first && image_find(&v->image, d->node, rtld.subdir[i].p, rtld.top_len[i]) != DLC_NONE)
            d->subdirs |= rtld.same_top[i];
    }
}

/* What the index says of the first `len` bytes of the absolute path: 1 a directory, 0 none, -1 the kernel is to be
 * asked. */
static int known(const char *path, size_t len)
{
    struct found found;

    switch (lookup(&audit.stage.view, path, len, 0, &found)) {
    case VERDICT_DIR: return 1;
    case VERDICT_UNKNOWN: return -1;
    default: return 0;
    }
}

static bool is_directory(char *path, size_t len)
{
    const int is = known(path, len);
    const size_t below = lookup_prefix(&audit.stage.view, path, len);
    const char kept = path[len];
    struct stat st;

    if (is >= 0)
        return is;
    path[len] = '\0';
    const bool there = sys_fstatat(AT_FDCWD, below == len ? "/" : path + below, &st, 0) == 0 && S_ISDIR(st.st_mode);
    path[len] = kept;
    return there;
}

/* Looks, once, whether the directory with bit i is there. `start`: where it begins in c->full. */
static bool exists(struct directory *d, uint32_t i, struct candidate *c, size_t start)
{
    const uint64_t bit = 1ull << i;

    if (!d->fixed || d->existing & bit)
        return true;
    if (d->missing & bit)
        return false;
    if (i == rtld.subdirs) {
        if (is_directory(c->full, start ? start : 1)) {
            d->existing |= bit;
            return true;
        }
        d->missing |= bit;
        return false;
    }
    const size_t top = start + rtld.top_len[i], all = start + rtld.subdir[i].len;
    if (known(c->full, all) < 0 && !is_directory(c->full, top)) {
        d->missing |= rtld.same_top[i] & ~d->existing;
        return false;
    }
    if (is_directory(c->full, all)) {
        d->existing |= bit;
        return true;
    }
    d->missing |= bit;
    return false;
}

/* Puts together the path of `name` in the directory, or in its subdirectory i: false where it is too long. */
static bool compose(struct candidate *c, const struct directory *d, uint32_t i, const char *name, size_t len)
{
    const struct text sub = i < rtld.subdirs ? rtld.subdir[i] : (struct text){"", 0};
    const size_t n = d->len + sub.len + (sub.len != 0);

    if (n + len >= PATH_SIZE)
        return false;
    __builtin_memcpy(c->path, d->name, d->len);
    __builtin_memcpy(c->path + d->len, sub.p, sub.len);
    if (sub.len)
        c->path[n - 1] = '/';
    __builtin_memcpy(c->path + n, name, len + 1);
    c->len = n + len;
    return make_full(c);
}

static enum outcome search(struct directory *d, const char *name, struct candidate *c)
{
    const struct image *im = &audit.stage.view.image;
    const size_t len = dlc_strlen(name);
    const uint64_t subdirs = (1ull << rtld.subdirs) - 1;
    uint64_t look = subdirs;

    if (d->source == SOURCE_INDEX) {
        look &= d->subdirs;
    } else if (!rtld.known) {
        return DOUBT;
    }
    for (uint32_t i = 0; i < rtld.subdirs; i++) {
        if (!(look >> i & 1) || d->missing >> i & 1)
            continue;
        if (!compose(c, d, i, name, len))
            return DOUBT;
        /* A directory that has none of them is asked for that alone. */
        const size_t start = c->full_len - len - rtld.subdir[i].len - 1;
        if (!exists(d, i, c, start))
            continue;
        const enum outcome outcome = verify(c);
        if (outcome != NOT_HERE)
            return outcome;
    }
    if (d->fixed && d->source == SOURCE_INDEX) {
        d->missing |= subdirs & ~d->subdirs & ~d->existing;
        d->existing |= 1ull << rtld.subdirs;
        if (image_find(im, d->node, name, len) == DLC_NONE)
            return NOT_HERE;
    }
    if (!compose(c, d, rtld.subdirs, name, len))
        return DOUBT;
    return exists(d, rtld.subdirs, c, c->full_len - len - (c->full_len > len + 1)) ? verify(c) : NOT_HERE;
}

enum outcome directory_search(struct directory *d, const char *name, struct candidate *c)
{
    const struct view *v = &audit.stage.view;
    const uint64_t all = rtld.subdirs == 63 ? ~0ull : (2ull << rtld.subdirs) - 1;
    const size_t len = d->len;

    if ((d->missing & all) == all)
        return NOT_HERE;
    if (d->fixed) {
        if (d->source == SOURCE_NONE || d->changes != __atomic_load_n(&v->state->changes, __ATOMIC_ACQUIRE))
            resolve(d, d->name, len);
    } else {
        if (len >= PATH_SIZE)
            return DOUBT;
        __builtin_memcpy(c->path, d->name, len + 1);
        c->len = len;
        if (!make_full(c))
            return DOUBT;
        resolve(d, c->full, c->full_len);
    }
    if (d->source == SOURCE_GONE) {
        d->missing |= d->fixed ? all & ~d->existing : 0;
        return NOT_HERE;
    }
    /* A directory that is not there at all has no subdirectories to be asked for. */
    if (d->fixed && d->source == SOURCE_KERNEL && rtld.known && !(d->existing >> rtld.subdirs & 1) &&
        !(d->missing >> rtld.subdirs & 1)) {
        if (len >= PATH_SIZE)
            return DOUBT;
        __builtin_memcpy(c->full, d->name, len + 1);
        if (!is_directory(c->full, len > 1 ? len - 1 : len)) {
            d->missing |= all & ~d->existing;
            return NOT_HERE;
        }
        d->existing |= 1ull << rtld.subdirs;
    }
    return search(d, name, c);
}
