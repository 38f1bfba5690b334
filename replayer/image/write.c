#include "replayer/image/write.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "facts/memory.h"
#include "facts/mounts.h"
#include "libdlcache/hash.h"
#include "libdlcache/image.h"

/* --- planning --------------------------------------------------------------------------------------------------- */

struct inode_key {
    uint64_t dev, ino;
};

struct planned_inode {
    struct inode_key key;
    uint64_t data;
    UT_hash_handle hh;
};

static uint64_t dev_of(const struct tree_node *n)
{
    return makedev(n->st.stx_dev_major, n->st.stx_dev_minor);
}

void plan_data(struct image_plan *p, struct tree_node *n, const char *path)
{
    const struct inode_key key = {dev_of(n), n->ino};
    struct planned_inode *same;

    HASH_FIND(hh, p->inodes, &key, sizeof key, same);
    p->data = memory_grow(p->data, &p->data_capacity, p->data_count + 1, sizeof *p->data);
    struct planned_data *d = &p->data[p->data_count++];
    *d = (struct planned_data){.node = n, .path = memory_text(path), .again = same != NULL, .fd = -1};
    if (!same) {
        same = memory_new(1, sizeof *same);
        same->key = key;
        same->data = p->data_size;
        HASH_ADD(hh, p->inodes, key, sizeof same->key, same);
        /* An empty file has a place of its own, too: equal offsets mean hard links. */
        const uint64_t size = n->st.stx_size ? n->st.stx_size : 1;
        p->data_size += (size + 7) & ~7ull;
    }
    d->data = same->data;
    n->data = same->data;
    n->flags |= DLC_N_DATA;
}

void plan_object(struct image_plan *p, struct tree_node *n, const struct elf_facts *facts)
{
    p->objects = memory_grow(p->objects, &p->object_capacity, p->object_count + 1, sizeof *p->objects);
    n->object = true;
    n->object_index = (uint32_t)p->object_count;
    const uint64_t align = facts->tls_align > 1 && facts->tls_align <= 4096 ? facts->tls_align : 1;
    if (facts->tls_size < (1u << 24))
        p->tls_size += (facts->tls_size + align - 1) / align * align;
    p->objects[p->object_count++] =
        (struct planned_object){.node = n, .facts = *facts,
                                .soname = facts->soname ? memory_text(facts->soname) : NULL};
}

void plan_free(struct image_plan *p)
{
    struct planned_inode *i, *next;

    for (size_t k = 0; k < p->data_count; k++) {
        if (p->data[k].fd >= 0)
            close(p->data[k].fd);
        free(p->data[k].path);
    }
    for (size_t k = 0; k < p->object_count; k++)
        free(p->objects[k].soname);
    HASH_ITER(hh, p->inodes, i, next) {
        HASH_DEL(p->inodes, i);
        free(i);
    }
    free(p->data);
    free(p->objects);
    *p = (struct image_plan){0};
}

/* --- strings ---------------------------------------------------------------------------------------------------- */

/* Each text once. The key is the text where it lies for as long as the writer works. */
struct text {
    uint32_t off;
    UT_hash_handle hh;
};

struct strings {
    struct text *known;
    char *bytes;
    size_t size, capacity;
};

static uint32_t put_string(struct strings *s, const char *text, size_t len)
{
    struct text *t;

    HASH_FIND(hh, s->known, text, len, t);
    if (t)
        return t->off;
    s->bytes = memory_grow(s->bytes, &s->capacity, s->size + len + 1, 1);
    t = memory_new(1, sizeof *t);
    t->off = (uint32_t)s->size;
    memcpy(s->bytes + s->size, text, len);
    s->bytes[s->size + len] = '\0';
    s->size += len + 1;
    HASH_ADD_KEYPTR(hh, s->known, text, len, t);
    return t->off;
}

static void free_strings(struct strings *s)
{
    struct text *t, *next;

    HASH_ITER(hh, s->known, t, next) {
        HASH_DEL(s->known, t);
        free(t);
    }
    free(s->bytes);
}

/* --- nodes ------------------------------------------------------------------------------------------------------ */

struct writer {
    const struct image_plan *plan;
    struct tree_node **order; /* breadth first */
    size_t count;
    struct strings strings;
    struct mounts mounts;
    char *bundle;             /* the path of its prefix; NULL: none */
    struct dlc_mount *mount;
    size_t mount_count, mount_capacity;
    struct dlc_node *nodes;
};

static int by_name(const void *a, const void *b)
{
    const struct tree_node *x = *(struct tree_node *const *)a, *y = *(struct tree_node *const *)b;
    const size_t n = x->name_len < y->name_len ? x->name_len : y->name_len;
    const int c = memcmp(x->name, y->name, n);

    return c ? c : (int)x->name_len - (int)y->name_len;
}

static void number(struct writer *w, struct tree *t)
{
    w->order = memory_new(t->count, sizeof *w->order);
    w->order[0] = t->root;
    w->count = 1;
    for (size_t i = 0; i < w->count; i++) {
        struct tree_node *child, *next;
        const size_t first = w->count;
        HASH_ITER(hh, w->order[i]->children, child, next)
            w->order[w->count++] = child;
        qsort(w->order + first, w->count - first, sizeof *w->order, by_name);
    }
    for (size_t i = 0; i < w->count; i++)
        w->order[i]->index = (uint32_t)i;
}

static uint32_t put_mount(struct writer *w, uint64_t dev, const struct mount_point *m)
{
    struct dlc_mount mount = {.dev = dev, .mi_dev = m->dev};

    mount.point = put_string(&w->strings, m->point, mount.point_len = (uint32_t)strlen(m->point));
    mount.type = put_string(&w->strings, m->type, mount.type_len = (uint32_t)strlen(m->type));
    mount.source = put_string(&w->strings, m->source, mount.source_len = (uint32_t)strlen(m->source));
    mount.root = put_string(&w->strings, m->root, mount.root_len = (uint32_t)strlen(m->root));
    for (size_t i = 0; i < w->mount_count; i++)
        if (w->mount[i].point == mount.point && w->mount[i].dev == mount.dev)
            return (uint32_t)i;
    w->mount = memory_grow(w->mount, &w->mount_capacity, w->mount_count + 1, sizeof *w->mount);
    w->mount[w->mount_count] = mount;
    return (uint32_t)w->mount_count++;
}

/* The mount that the node lies on, in the image's table. Files of one mount have several device numbers on btrfs. What
 * comes from a bundle is there on every node, whatever the node has mounted. */
static uint32_t mount_of(struct writer *w, const struct tree_node *n)
{
    const struct mount_point none = {.point = (char *)"/", .type = (char *)"", .source = (char *)"",
                                     .root = (char *)"/"};
    const struct mount_point bundle = {.point = w->bundle, .type = (char *)DLC_MOUNT_BUNDLE, .source = (char *)"",
                                       .root = (char *)"/", .dev = dev_of(n)};

    if (n->flags & DLC_N_MADE)
        return put_mount(w, dev_of(n), &bundle);
    char *path = tree_path(n);
    const struct mount_point *m = mounts_of(&w->mounts, path);
    free(path);
    return put_mount(w, dev_of(n), m ? m : &none);
}

static void put_stat(struct dlc_node *n, const struct statx *x)
{
    n->size = x->stx_size;
    n->blocks = x->stx_blocks;
    n->atime = x->stx_atime.tv_sec;
    n->mtime = x->stx_mtime.tv_sec;
    n->ctime = x->stx_ctime.tv_sec;
    n->btime = x->stx_btime.tv_sec;
    n->atime_ns = x->stx_atime.tv_nsec;
    n->mtime_ns = x->stx_mtime.tv_nsec;
    n->ctime_ns = x->stx_ctime.tv_nsec;
    n->btime_ns = x->stx_btime.tv_nsec;
    n->mode = x->stx_mode;
    n->uid = x->stx_uid;
    n->gid = x->stx_gid;
    n->nlink = x->stx_nlink;
    n->blksize = x->stx_blksize;
    n->rdev_major = x->stx_rdev_major;
    n->rdev_minor = x->stx_rdev_minor;
    n->attributes = (uint32_t)x->stx_attributes;
    n->attributes_mask = (uint32_t)x->stx_attributes_mask;
}

static void write_nodes(struct writer *w)
{
    uint32_t next = 1;

    w->nodes = memory_new(w->count, sizeof *w->nodes);
    for (size_t i = 0; i < w->count; i++) {
        const struct tree_node *t = w->order[i];
        struct dlc_node *n = &w->nodes[i];
        n->parent = t->parent->index;
        n->name = put_string(&w->strings, t->name, t->name_len);
        n->name_len = t->name_len;
        n->kind = t->kind;
        n->flags = t->flags;
        n->mount = t->flags & DLC_N_STAT ? mount_of(w, t) : DLC_NONE;
        n->children = t->child_count;
        n->first = t->child_count ? next : 0;
        next += t->child_count;
        n->object = t->object ? t->object_index : DLC_NONE;
        n->data = t->flags & DLC_N_DATA ? t->data : 0;
        n->ino = t->ino;
        n->order = t->order;
        if (t->flags & DLC_N_STAT)
            put_stat(n, &t->st);
        if (t->target) {
            n->target_len = (uint32_t)strlen(t->target);
            n->target = put_string(&w->strings, t->target, n->target_len);
        }
    }
}

/* --- sections --------------------------------------------------------------------------------------------------- */

static struct dlc_object *write_objects(struct writer *w)
{
    const struct image_plan *p = w->plan;
    struct dlc_object *objects = memory_new(p->object_count, sizeof *objects);

    for (size_t i = 0; i < p->object_count; i++) {
        const struct planned_object *o = &p->objects[i];
        objects[i] = (struct dlc_object){
            .node = o->node->index,
            .machine = o->facts.machine,
            .elf_class = 2, /* ELFCLASS64: others are not taken */
            .type = (uint8_t)o->facts.type,
            .flags_1 = o->facts.flags_1,
            .flags = o->facts.flags,
            .tls_size = o->facts.tls_size,
            .tls_align = o->facts.tls_align,
        };
        if (o->soname) {
            objects[i].soname_len = (uint32_t)strlen(o->soname);
            objects[i].soname = put_string(&w->strings, o->soname, objects[i].soname_len);
        }
    }
    return objects;
}

static int by_inode(const void *a, const void *b)
{
    const struct dlc_inode *x = a, *y = b;

    if (x->dev != y->dev)
        return x->dev < y->dev ? -1 : 1;
    if (x->ino != y->ino)
        return x->ino < y->ino ? -1 : 1;
    return x->node < y->node ? -1 : x->node > y->node;
}

static struct dlc_inode *write_inodes(const struct writer *w, size_t *count)
{
    struct dlc_inode *inodes = memory_new(w->plan->data_count, sizeof *inodes);
    size_t n = 0, out = 0;

    for (size_t i = 0; i < w->plan->data_count; i++) {
        const struct tree_node *t = w->plan->data[i].node;
        inodes[n++] = (struct dlc_inode){dev_of(t), t->ino, t->index, w->nodes[t->index].mount};
    }
    qsort(inodes, n, sizeof *inodes, by_inode);
    for (size_t i = 0; i < n; i++)
        if (out == 0 || inodes[out - 1].dev != inodes[i].dev || inodes[out - 1].ino != inodes[i].ino)
            inodes[out++] = inodes[i];
    *count = out;
    return inodes;
}

static struct dlc_bucket *write_buckets(const struct writer *w, size_t *count)
{
    size_t n = 8;

    while (n < 2 * w->count)
        n *= 2;
    struct dlc_bucket *buckets = memory_new(n, sizeof *buckets);
    for (size_t i = 1; i < w->count; i++) {
        const struct tree_node *t = w->order[i];
        const uint64_t hash = dlc_name_hash(t->parent->index, t->name, t->name_len);
        size_t at = (uint32_t)hash & (n - 1);
        while (buckets[at].node)
            at = (at + 1) & (n - 1);
        buckets[at] = (struct dlc_bucket){(uint32_t)(hash >> 32), (uint32_t)i};
    }
    *count = n;
    return buckets;
}

static uint64_t place(struct dlc_section *s, uint64_t at, uint64_t count, uint64_t record)
{
    *s = (struct dlc_section){at, count};
    return (at + count * record + 7) & ~7ull;
}

static void copy(void *index, const struct dlc_section *s, const void *from, size_t record)
{
    if (s->count)
        memcpy((char *)index + s->off, from, s->count * record);
}

static struct image_source source_of(const struct planned_data *d)
{
    const struct statx *x = &d->node->st;

    return (struct image_source){
        .path = memory_text(d->path),
        .fd = d->fd,
        .size = x->stx_size,
        .file_size = x->stx_size,
        .data = d->data,
        .node = d->node->index,
        .ino = x->stx_ino,
        .mtime = x->stx_mtime.tv_sec,
        .mtime_ns = x->stx_mtime.tv_nsec,
        .ctime = x->stx_ctime.tv_sec,
        .ctime_ns = x->stx_ctime.tv_nsec,
    };
}

static void write_sources(struct writer *w, struct built *out)
{
    out->sources = memory_new(w->plan->data_count, sizeof *out->sources);
    for (size_t i = 0; i < w->plan->data_count; i++) {
        struct planned_data *d = &w->plan->data[i];
        if (d->again)
            continue;
        out->sources[out->source_count++] = source_of(d);
        d->fd = -1;
    }
}

int write_index(struct tree *t, const struct image_plan *p, struct built *out, char **error)
{
    struct writer w = {.plan = p};
    size_t inode_count, bucket_count;

    if (t->count >= DLC_NONE) {
        *error = memory_text("too many names for one image");
        return -1;
    }
    const int rc = mounts_read(&w.mounts, "/proc/self/mountinfo");
    if (rc) {
        if (asprintf(error, "/proc/self/mountinfo: %s", strerror(-rc)) < 0)
            memory_check(NULL);
        return -1;
    }
    number(&w, t);
    w.bundle = p->bundle ? tree_path(p->bundle) : NULL;
    put_string(&w.strings, "", 0);
    write_nodes(&w);
    struct dlc_object *objects = write_objects(&w);
    struct dlc_inode *inodes = write_inodes(&w, &inode_count);
    struct dlc_bucket *buckets = write_buckets(&w, &bucket_count);

    struct dlc_header h = {.version = DLC_FORMAT_VERSION, .size = sizeof h};
    memcpy(h.magic, DLC_IMAGE_MAGIC, sizeof h.magic);
    uint64_t at = place(&h.nodes, sizeof h, w.count, sizeof *w.nodes);
    at = place(&h.buckets, at, bucket_count, sizeof *buckets);
    at = place(&h.mounts, at, w.mount_count, sizeof *w.mount);
    at = place(&h.objects, at, p->object_count, sizeof *objects);
    at = place(&h.inodes, at, inode_count, sizeof *inodes);
    at = place(&h.strings, at, w.strings.size, 1);
    h.index_size = at;
    h.data_size = p->data_size;
    h.tls_size = p->tls_size;

    int result = -1;
    if (w.strings.size >= UINT32_MAX) {
        *error = memory_text("too many bytes of names for one image");
    } else {
        char *index = memory_new(1, at);
        memcpy(index, &h, sizeof h);
        copy(index, &h.nodes, w.nodes, sizeof *w.nodes);
        copy(index, &h.buckets, buckets, sizeof *buckets);
        copy(index, &h.mounts, w.mount, sizeof *w.mount);
        copy(index, &h.objects, objects, sizeof *objects);
        copy(index, &h.inodes, inodes, sizeof *inodes);
        copy(index, &h.strings, w.strings.bytes, 1);
        image_seal(index);
        out->index = index;
        out->index_size = h.index_size;
        out->data_size = h.data_size;
        write_sources(&w, out);
        result = 0;
    }
    free(objects);
    free(inodes);
    free(buckets);
    free(w.nodes);
    free(w.mount);
    free(w.order);
    free_strings(&w.strings);
    free(w.bundle);
    mounts_free(&w.mounts);
    return result;
}
