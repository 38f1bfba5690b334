#include "replayer/stage/state.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "facts/memory.h"
#include "facts/mounts.h"
#include "libdlcache/attach.h"

#define TLS_MOST (64u << 20)
#define TLS_OF_OTHERS 6144

static uint64_t inode_buckets(const struct image *im)
{
    uint64_t n = 8;

    while (n < 2 * (uint64_t)im->node_count)
        n *= 2;
    return n;
}

/* Where each table begins; the end is returned. */
static uint64_t layout(const struct image *im, struct dlc_state *h)
{
    h->mirror_off = sizeof *h;
    h->inode_off = h->mirror_off + im->node_count * sizeof(struct dlc_mirror);
    h->inode_count = inode_buckets(im);
    h->mount_off = (h->inode_off + h->inode_count * sizeof(uint32_t) + 7) & ~7ull;
    h->dirty_off = h->mount_off + im->mount_count * sizeof(struct dlc_mount_state);
    h->loader_off = (h->dirty_off + im->node_count + 7) & ~7ull;
    h->counts_off = (h->loader_off + sizeof(struct dlc_loader) + 127) & ~127ull;
    return h->counts_off + DLC_COUNT_SLOTS * sizeof(struct dlc_counts);
}

uint64_t state_bytes(const struct image *im)
{
    struct dlc_state h;
    return layout(im, &h);
}

static void put_inodes(const struct image *im, const struct dlc_mirror *mirror, uint32_t *buckets, uint64_t count)
{
    for (uint32_t i = 1; i < im->node_count; i++) {
        if (!mirror[i].ino)
            continue;
        uint64_t b = (uint32_t)(mirror[i].ino * 0x9e3779b97f4a7c15ull >> 32) & (count - 1);
        /* Of hard links, the first is told for all. */
        while (buckets[b] && mirror[buckets[b]].ino != mirror[i].ino)
            b = (b + 1) & (count - 1);
        if (!buckets[b])
            buckets[b] = i;
    }
}

static bool text_is(const struct image *im, uint32_t off, uint32_t len, const char *text)
{
    return strlen(text) == len && memcmp(im->strings + off, text, len) == 0;
}

/* Of the deepest directory of the path that is there. */
static uint64_t device_at(const char *path)
{
    char *p = memory_text(path);
    struct stat st;

    while (stat(p, &st) != 0 && strcmp(p, "/") != 0)
        *(strrchr(p, '/') == p ? p + 1 : strrchr(p, '/')) = '\0';
    free(p);
    return st.st_dev;
}

static void put_mounts(const struct image *im, const struct mounts *mounts, struct dlc_mount_state *out,
                       struct dlc_state *h)
{
    char host[64] = "";

    gethostname(host, sizeof host - 1);
    h->all_agree = 1;
    for (uint32_t i = 0; i < im->mount_count; i++) {
        const struct dlc_mount *m = &im->mounts[i];
        struct mount_point *here;
        HASH_FIND(hh, mounts->by_point, im->strings + m->point, m->point_len, here);
        out[i].agrees = here && text_is(im, m->type, m->type_len, here->type) &&
                        text_is(im, m->source, m->source_len, here->source) &&
                        text_is(im, m->root, m->root_len, here->root);
        if (text_is(im, m->type, m->type_len, DLC_MOUNT_BUNDLE)) {
            out[i] = (struct dlc_mount_state){.dev = device_at(im->strings + m->point), .agrees = 1};
            continue;
        }
        out[i].dev = here && m->dev == m->mi_dev ? here->dev : m->dev;
        if (!out[i].agrees) {
            h->all_agree = 0;
            fprintf(stderr, "dlcache: warning: %s: nothing on %s is served: it is not what is mounted there on the node "
                    "that read\n", host, im->strings + m->point);
        }
    }
}

/* A lookup could answer from the image at this node, or below it. */
static bool is_answered(const struct dlc_node *n)
{
    return n->flags & (DLC_N_STAT | DLC_N_FROZEN) || n->children > 0;
}

/* Whatever is mounted there, all that the image says of what is below holds: it comes from a bundle. */
static bool is_above_bundle(const struct image *im, uint32_t dir)
{
    for (uint32_t i = dir; i < im->node_count; i++) {
        uint32_t up = i;
        if ((im->nodes[i].flags & (DLC_N_STAT | DLC_N_MADE)) != DLC_N_STAT && i != dir)
            continue;
        while (up > dir) /* parents come before their children */
            up = im->nodes[up].parent;
        if (up == dir && im->nodes[i].flags & (DLC_N_STAT | DLC_N_MADE))
            return false;
    }
    return true;
}

static bool is_at_or_below(const struct image *im, uint32_t node, uint32_t top)
{
    while (node != top && node != 0)
        node = im->nodes[node].parent;
    return node == top;
}

/* All that the image answers at `top` and below is of mounts there and below, which put_mounts has compared: of what is
 * mounted on `top` itself (an automounter's directory: /cvmfs, /home) it says nothing. */
static bool is_only_passed(const struct image *im, uint32_t top, const char *point)
{
    const size_t len = strlen(point);

    for (uint32_t i = 0; i < im->node_count; i++) {
        const struct dlc_node *n = &im->nodes[i];
        const struct dlc_mount *m = n->mount == DLC_NONE ? NULL : &im->mounts[n->mount];
        if (!(n->flags & (DLC_N_STAT | DLC_N_FROZEN)) || !is_at_or_below(im, i, top))
            continue;
        if (!m || m->point_len <= len || memcmp(im->strings + m->point, point, len) != 0 ||
            im->strings[m->point + len] != '/')
            return false;
    }
    return true;
}

/* Something is mounted here where the reader had nothing mounted: what the image says of it does not hold. */
static void hide_mounts(const struct view *view, const struct mounts *mounts, uint8_t *dirty, struct dlc_state *h)
{
    const struct image *im = &view->image;
    struct mount_point *p, *next;

    HASH_ITER(hh, mounts->by_point, p, next) {
        struct found found;
        bool known = false;
        lookup(view, p->point, strlen(p->point), LOOKUP_NOFOLLOW | LOOKUP_CHANGED, &found);
        for (uint32_t i = 0; i < im->mount_count && !known; i++)
            known = text_is(im, im->mounts[i].point, im->mounts[i].point_len, p->point);
        if (found.node == DLC_NONE || found.node == 0 || known || !is_answered(&im->nodes[found.node]) ||
            is_above_bundle(im, found.node) || is_only_passed(im, found.node, p->point))
            continue;
        dirty[found.node] |= DLC_D_SELF;
        h->any_dirty = 1;
    }
}

/* The tunable replaces the 512 bytes that glibc sets aside by itself, and an auditor takes as much again. What is not
 * staged may need some, too, as it would find it natively: an allocator that is preloaded, a runtime of a compiler. Each
 * thread takes it from its stack: there is an end. */
static uint32_t ask_tls(uint64_t bytes)
{
    return bytes < TLS_MOST - TLS_OF_OTHERS ? (uint32_t)bytes + TLS_OF_OTHERS : TLS_MOST;
}

void *state_make(const struct view *view, const struct dlc_mirror *mirror, const char *root, const char *prefix,
                 uint32_t audit, const struct dlc_loader *loader, uint64_t *bytes, struct outcome *o)
{
    const struct image *im = &view->image;
    struct dlc_state h = {.version = DLC_FORMAT_VERSION, .size = sizeof h};
    struct stat mirror_st, root_st, ns_st;
    struct mounts mounts;
    uint64_t root_dev, root_ino;

    if (stat(root, &mirror_st) != 0 || stat("/", &root_st) != 0 || stat("/proc/self/ns/mnt", &ns_st) != 0) {
        outcome_fail(o, "%s, / or /proc/self/ns/mnt: %s", root, strerror(errno));
        return NULL;
    }
    if (strlen(prefix) >= sizeof h.prefix) {
        outcome_fail(o, "%s: the path is too long", prefix);
        return NULL;
    }
    const int rc = mounts_read(&mounts, "/proc/self/mountinfo");
    if (rc) {
        outcome_fail(o, "/proc/self/mountinfo: %s", strerror(-rc));
        return NULL;
    }
    memcpy(h.magic, DLC_STATE_MAGIC, sizeof h.magic);
    h.total = layout(im, &h);
    memcpy(h.digest, im->header->digest, sizeof h.digest);
    h.dev = mirror_st.st_dev;
    h.nodes = im->node_count;
    h.mnt_ns = ns_st.st_ino;
    h.root_dev = root_st.st_dev;
    h.root_ino = root_st.st_ino;
    h.root_mount = attach_root_mount(&root_dev, &root_ino);
    h.complete = 1;
    h.audit = audit;
    h.tls_size = ask_tls(im->header->tls_size);
    h.prefix_len = (uint32_t)strlen(prefix);
    memcpy(h.prefix, prefix, h.prefix_len);

    char *state = memory_new(1, h.total);
    memcpy(state + h.mirror_off, mirror, im->node_count * sizeof *mirror);
    put_inodes(im, mirror, (void *)(state + h.inode_off), h.inode_count);
    put_mounts(im, &mounts, (void *)(state + h.mount_off), &h);
    hide_mounts(view, &mounts, (void *)(state + h.dirty_off), &h);
    memcpy(state + h.loader_off, loader, sizeof *loader);
    memcpy(state, &h, sizeof h);
    mounts_free(&mounts);
    *bytes = h.total;
    return state;
}
