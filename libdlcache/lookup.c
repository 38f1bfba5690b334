/* Path resolution over an image. Runs inside the user's process: no heap, no lock, no system call. */
#include "lookup.h"

#include <dirent.h>

/* As the kernel: MAXSYMLINKS. One more, and the kernel is asked for its ELOOP. */
#define MAX_LINKS 40

/* What is left of a path after the component that is being looked at: a symlink's target is walked first, and then the
 * rest of the path that led to it. */
struct rest {
    const char *p, *end;
};

static inline unsigned dirty(const struct view *v, uint32_t node, unsigned flags)
{
    if (v->state == NULL || flags & LOOKUP_CHANGED)
        return 0;
    if (__builtin_expect(!__atomic_load_n(&v->state->any_dirty, __ATOMIC_RELAXED), 1))
        return 0;
    return __atomic_load_n(&v->dirty[node], __ATOMIC_ACQUIRE);
}

/* In a process that sees other mounts than its node: the nearest spot has a say. */
static __attribute__((noinline)) int spot_agrees(const struct view *v, uint32_t node)
{
    for (;;) {
        for (uint32_t i = 0; i < v->spot_count; i++)
            if (v->spots[i].node == node)
                return v->spots[i].agrees != 0;
        if (node == 0)
            return 0;
        node = v->image.nodes[node].parent;
    }
}

/* This node's mount is the reader's: what the image says of the node holds here. */
static inline int agrees(const struct view *v, uint32_t node)
{
    if (__builtin_expect(v->state == NULL || v->all_agree, 1))
        return 1;
    if (v->spot_count)
        return spot_agrees(v, node);
    const uint32_t mount = v->image.nodes[node].mount;
    return mount < v->image.mount_count && v->mounts[mount].agrees;
}

/* Something else is seen below the directory: who walks down from its mirror by calls of his own would miss it. */
static inline int hides_others(const struct view *v, uint32_t dir)
{
    if (__builtin_expect(v->state == NULL || v->all_agree, 1))
        return 0;
    for (uint32_t i = 0; i < v->spot_count; i++) {
        uint32_t node = v->spots[i].node;
        while (node > dir) /* parents come before their children */
            node = v->image.nodes[node].parent;
        if (node == dir && !v->spots[i].agrees)
            return 1;
    }
    return 0;
}

static enum verdict verdict_of(const struct view *v, uint32_t node, unsigned flags, struct found *found)
{
    const struct dlc_node *n = &v->image.nodes[node];

    if (flags & LOOKUP_CHANGED)
        found->node = node;
    if (!(n->flags & DLC_N_STAT) || !agrees(v, node) || dirty(v, node, flags))
        return VERDICT_UNKNOWN;
    if (n->kind == DT_DIR && hides_others(v, node))
        return VERDICT_UNKNOWN;
    found->node = node;
    if (n->kind == DT_DIR)
        return VERDICT_DIR;
    return n->flags & DLC_N_DATA ? VERDICT_FILE : VERDICT_META;
}

/* Nobody passes through a directory that he may not search, not even by "..": that is the kernel's to say. Of one
 * that is not frozen it is not known; but what was found below it was found through it. */
static inline int searchable(const struct dlc_node *dir, unsigned flags)
{
    return dir->flags & (DLC_N_STAT | DLC_N_EXEC) ? dir->flags & DLC_N_EXEC || flags & LOOKUP_CHANGED
                                                  : dir->children > 0 || flags & LOOKUP_CHANGED;
}

/* Where the next slash is, or the end: eight bytes at a time, of which the lowest comes first. */
static inline const char *component_end(const char *p, const char *end)
{
    const uint64_t ones = 0x0101010101010101ull;

    for (; end - p >= 8; p += 8) {
        uint64_t word;
        __builtin_memcpy(&word, p, 8);
        word ^= ones * '/';
        const uint64_t zeros = (word - ones) & ~word & ones * 0x80;
        if (zeros)
            return p + (__builtin_ctzll(zeros) >> 3);
    }
    while (p < end && *p != '/')
        p++;
    return p;
}

/* Where the last component begins, of a path that starts with a slash; NULL where it has none, or is "." or "..". */
static inline const char *last_component(const char *path, const char *end)
{
    const uint64_t low = 0x7f7f7f7f7f7f7f7full, slashes = 0x2f2f2f2f2f2f2f2full;
    const char *p = end;

    while (p - path >= 8) {
        uint64_t word;
        __builtin_memcpy(&word, p - 8, 8);
        word ^= slashes;
        const uint64_t zeros = ~(((word & low) + low) | word | low); /* exactly: the highest is wanted */
        if (zeros) {
            p -= __builtin_clzll(zeros) >> 3;
            break;
        }
        p -= 8;
    }
    while (p > path && p[-1] != '/')
        p--;
    const size_t n = (size_t)(end - p);
    return n == 0 || (p[0] == '.' && (n == 1 || (n == 2 && p[1] == '.'))) ? NULL : p;
}

/* What the image says holds for all of the path. */
static inline int holds_everywhere(const struct view *v, unsigned flags)
{
    return !(flags & LOOKUP_CHANGED) && v->all_agree && !__atomic_load_n(&v->state->any_dirty, __ATOMIC_RELAXED);
}

enum verdict lookup_from(const struct view *v, uint32_t start, const char *path, size_t len, unsigned flags,
                         struct found *found)
{
    const struct image *im = &v->image;
    struct rest stack[MAX_LINKS + 1]; /* and the last name, behind a text that is going to be kept */
    char text[8 * RECENT_WORDS];
    unsigned depth = 0, links = 0;
    const char *p = path, *end = path + len;
    const int absolute = len && path[0] == '/';
    uint32_t cur = absolute ? 0 : start;
    int slash = len && end[-1] == '/'; /* a trailing slash asks for a directory, and follows a symlink */

    found->node = found->parent = DLC_NONE;
    if (len == 0)
        return VERDICT_UNKNOWN;
    if (dirty(v, cur, flags) & DLC_D_SELF)
        return VERDICT_UNKNOWN;
    const char *last_name = v->recent && absolute && holds_everywhere(v, flags) ? last_component(path, end) : NULL;
    const size_t before = last_name ? (size_t)(last_name - path) : 0;
    if (before > sizeof text) {
        last_name = NULL;
    } else if (last_name && recent_find(v->recent, path, before, &cur, &links)) {
        p = last_name;
        last_name = NULL;
    } else if (last_name) {
        /* What is kept has to be what was walked along: another thread may be writing into the path. */
        __builtin_memcpy(text, path, before);
        stack[depth++] = (struct rest){last_name, end};
        p = text;
        end = text + before;
    }
    for (;;) {
        while (p < end && *p == '/')
            p++;
        if (p == end) {
            if (depth == 0)
                break;
            depth--;
            p = stack[depth].p;
            end = stack[depth].end;
            continue;
        }

        const char *name = p;
        p = component_end(p, end);
        const size_t n = (size_t)(p - name);
        const struct dlc_node *here = &im->nodes[cur];
        if (here->kind != DT_DIR) {
            /* Only the last component may be something else, and there is one more. */
            if (here->kind == DT_UNKNOWN || !(here->flags & DLC_N_STAT) || !agrees(v, cur) || dirty(v, cur, flags))
                return VERDICT_UNKNOWN;
            return VERDICT_NOTDIR;
        }
        if (!searchable(here, flags))
            return VERDICT_UNKNOWN;
        if (n == 1 && name[0] == '.')
            continue;
        if (n == 2 && name[0] == '.' && name[1] == '.') {
            /* Amid what is something else here, this could be a symlink. */
            if (v->spot_count && !(flags & LOOKUP_CHANGED) && !agrees(v, cur))
                return VERDICT_UNKNOWN;
            cur = here->parent;
            continue;
        }
        if (n > 255)
            return VERDICT_UNKNOWN;
        if (name == last_name)
            recent_keep(v->recent, text, before, cur, links);

        const uint32_t child = image_find(im, cur, name, n);
        found->parent = cur;
        if (child == DLC_NONE) {
            if (here->flags & DLC_N_FROZEN && agrees(v, cur) && !dirty(v, cur, flags))
                return VERDICT_ABSENT;
            return VERDICT_UNKNOWN;
        }
        if (dirty(v, child, flags) & DLC_D_SELF)
            return VERDICT_UNKNOWN;

        const struct dlc_node *c = &im->nodes[child];
        if (c->kind == DT_LNK) {
            const char *after = p;
            while (after < end && *after == '/')
                after++;
            const int last = after == end && depth == 0;
            if (!last || slash || !(flags & LOOKUP_NOFOLLOW)) {
                if (!(c->flags & DLC_N_STAT) || !agrees(v, child) || ++links > MAX_LINKS)
                    return VERDICT_UNKNOWN;
                if (after < end) {
                    if (depth == sizeof stack / sizeof *stack)
                        return VERDICT_UNKNOWN;
                    stack[depth++] = (struct rest){after, end};
                }
                p = im->strings + c->target;
                end = p + c->target_len;
                if (*p == '/')
                    cur = 0;
                if (last && end[-1] == '/')
                    slash = 1; /* as if the path itself had ended so */
                continue;
            }
        } else if (c->kind != DT_DIR && c->kind != DT_REG && !(c->flags & (DLC_N_STAT)) &&
                   !(flags & LOOKUP_CHANGED)) {
            return VERDICT_UNKNOWN; /* could be a symlink or a directory for all we know */
        }
        cur = child;
    }
    const enum verdict verdict = verdict_of(v, cur, flags, found);
    if (slash && (verdict == VERDICT_FILE || verdict == VERDICT_META)) {
        found->node = DLC_NONE;
        return VERDICT_NOTDIR;
    }
    return verdict;
}

size_t lookup_prefix(const struct view *v, const char *path, size_t len)
{
    const size_t n = v->prefix_len;

    if (n == 0 || len < n || path[1] != v->prefix[1] || __builtin_memcmp(path, v->prefix, n) != 0)
        return 0;
    return len == n || path[n] == '/' ? n : 0;
}

enum verdict lookup(const struct view *v, const char *path, size_t len, unsigned flags, struct found *found)
{
    if (len == 0 || path[0] != '/') {
        found->node = found->parent = DLC_NONE;
        return VERDICT_UNKNOWN;
    }
    const size_t below = lookup_prefix(v, path, len);
    if (below == len)
        return lookup_from(v, 0, "/", 1, flags, found);
    return lookup_from(v, 0, path + below, len - below, flags, found);
}
