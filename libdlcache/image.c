/* Reading an image. Runs inside the user's process too: no heap, no lock, no libc beyond memcpy and memcmp. */
#include "image.h"

#include <dirent.h>
#include <errno.h>

#include "hash.h"

static int section_fits(const struct dlc_header *h, const struct dlc_section *s, uint64_t record)
{
    if (s->off < h->size || s->off > h->index_size || s->off % 8)
        return 0;
    return s->count <= (h->index_size - s->off) / record;
}

int image_open(struct image *im, const void *p, uint64_t bytes)
{
    const struct dlc_header *h = p;

    if (bytes < sizeof h->magic || __builtin_memcmp(h->magic, DLC_IMAGE_MAGIC, sizeof h->magic) != 0)
        return -EPROTO;
    if (bytes < sizeof *h)
        return -EBADMSG;
    if (h->version != DLC_FORMAT_VERSION || h->incompat & ~DLC_INCOMPAT_KNOWN)
        return -EPROTONOSUPPORT;
    if (h->size != sizeof *h || h->check != dlc_hash64(0, h, offsetof(struct dlc_header, check)))
        return -EBADMSG;
    if (h->index_size > bytes || !section_fits(h, &h->nodes, sizeof(struct dlc_node)) ||
        !section_fits(h, &h->buckets, sizeof(struct dlc_bucket)) || !section_fits(h, &h->strings, 1) ||
        !section_fits(h, &h->mounts, sizeof(struct dlc_mount)) ||
        !section_fits(h, &h->objects, sizeof(struct dlc_object)) ||
        !section_fits(h, &h->inodes, sizeof(struct dlc_inode)))
        return -EBADMSG;
    if (h->nodes.count == 0 || h->nodes.count >= DLC_NONE || h->buckets.count > (uint64_t)1 << 32 ||
        h->buckets.count < 2 * h->nodes.count || (h->buckets.count & (h->buckets.count - 1)) ||
        h->strings.count == 0 || h->mounts.count >= DLC_NONE || h->objects.count >= DLC_NONE)
        return -EBADMSG;

    const char *base = p;
    *im = (struct image){
        .header = h,
        .nodes = (const void *)(base + h->nodes.off),
        .buckets = (const void *)(base + h->buckets.off),
        .strings = base + h->strings.off,
        .mounts = (const void *)(base + h->mounts.off),
        .objects = (const void *)(base + h->objects.off),
        .inodes = (const void *)(base + h->inodes.off),
        .node_count = (uint32_t)h->nodes.count,
        .bucket_mask = (uint32_t)(h->buckets.count - 1),
        .mount_count = (uint32_t)h->mounts.count,
        .object_count = (uint32_t)h->objects.count,
        .inode_count = h->inodes.count,
        .string_bytes = h->strings.count,
    };
    return 0;
}

/* A string of the image: inside the section, and with its NUL where the format puts it. */
static int string_fits(const struct image *im, uint32_t off, uint32_t len)
{
    return (uint64_t)off + len < im->string_bytes && im->strings[off + len] == '\0';
}

static const char *check_node(const struct image *im, uint32_t i)
{
    const struct dlc_node *n = &im->nodes[i];
    const uint64_t data_size = im->header->data_size;

    if (!string_fits(im, n->name, n->name_len))
        return "a name lies outside the strings";
    if (i == 0) {
        if (n->parent != 0 || n->name_len != 0 || n->kind != DT_DIR)
            return "the first node is not the root";
    } else {
        /* Parents come first: so that every way up ends at the root. */
        if (n->parent >= i || im->nodes[n->parent].kind != DT_DIR)
            return "a node's parent is not a directory before it";
        const struct dlc_node *up = &im->nodes[n->parent];
        if (i < up->first || i - up->first >= up->children)
            return "a node is not among its parent's children";
        if (n->name_len == 0 || n->name_len > 255 || __builtin_memchr(im->strings + n->name, '/', n->name_len) ||
            __builtin_memchr(im->strings + n->name, '\0', n->name_len))
            return "a name is empty, too long, or holds a slash";
        if (image_find(im, n->parent, im->strings + n->name, n->name_len) != i)
            return "a name cannot be found through the hash table";
    }
    if (n->children && (n->kind != DT_DIR || n->first <= i || (uint64_t)n->first + n->children > im->node_count))
        return "a directory's children lie outside the nodes";
    if (n->flags & DLC_N_FROZEN && n->kind != DT_DIR)
        return "something frozen is not a directory";
    if (n->flags & DLC_N_STAT) {
        if (n->mount >= im->mount_count)
            return "a node's mount is not in the table";
        if ((n->mode & 0170000) >> 12 != n->kind)
            return "a node's kind and mode disagree";
        if (n->kind == DT_LNK && (n->target_len == 0 || !string_fits(im, n->target, n->target_len)))
            return "a symlink's target lies outside the strings";
    }
    if (n->flags & DLC_N_DATA) {
        if (n->kind != DT_REG || !(n->flags & DLC_N_STAT))
            return "contents belong to something that is not a regular file";
        if (n->data > data_size || n->size > data_size - n->data)
            return "contents lie outside the image";
    }
    if (n->object != DLC_NONE && (n->object >= im->object_count || im->objects[n->object].node != i))
        return "a node's object is not its own";
    return NULL;
}

static const char *check_tables(const struct image *im)
{
    const char *wrong;
    uint32_t used = 0;

    for (uint64_t b = 0; b <= im->bucket_mask; b++) {
        if (im->buckets[b].node >= im->node_count)
            return "the hash table names a node that is not there";
        used += im->buckets[b].node != 0;
    }
    if (used != im->node_count - 1)
        return "the hash table does not hold every node once";
    for (uint32_t i = 0; i < im->node_count; i++)
        if ((wrong = check_node(im, i)))
            return wrong;
    for (uint32_t i = 0; i < im->mount_count; i++) {
        const struct dlc_mount *m = &im->mounts[i];
        if (!string_fits(im, m->point, m->point_len) || !string_fits(im, m->type, m->type_len) ||
            !string_fits(im, m->source, m->source_len) || !string_fits(im, m->root, m->root_len))
            return "a mount's text lies outside the strings";
    }
    for (uint32_t i = 0; i < im->object_count; i++) {
        const struct dlc_object *o = &im->objects[i];
        if (o->node >= im->node_count || !string_fits(im, o->soname, o->soname_len))
            return "an object's node or soname is not there";
    }
    for (uint64_t i = 0; i < im->inode_count; i++) {
        const struct dlc_inode *n = &im->inodes[i];
        if (n->node >= im->node_count || n->mount >= im->mount_count)
            return "an inode's node or mount is not there";
        if (i && (n[-1].dev > n->dev || (n[-1].dev == n->dev && n[-1].ino >= n->ino)))
            return "the inodes are not in order";
    }
    return NULL;
}

int image_check(const struct image *im, const char **why)
{
    const char *wrong = check_tables(im);

    if (wrong && why)
        *why = wrong;
    return wrong ? -EBADMSG : 0;
}

const struct dlc_inode *image_inode(const struct image *im, uint64_t dev, uint64_t ino)
{
    uint64_t low = 0, high = im->inode_count;

    while (low < high) {
        const uint64_t mid = low + (high - low) / 2;
        const struct dlc_inode *n = &im->inodes[mid];
        if (n->dev == dev && n->ino == ino)
            return n;
        if (n->dev < dev || (n->dev == dev && n->ino < ino))
            low = mid + 1;
        else
            high = mid;
    }
    return NULL;
}

size_t image_path_room(const struct image *im, uint32_t node)
{
    size_t len = 0;

    for (uint32_t i = node; i != 0; i = im->nodes[i].parent)
        len += 1u + im->nodes[i].name_len;
    return (len ? len : 1) + 1;
}

long image_path(const struct image *im, uint32_t node, char *buf, size_t size)
{
    const size_t len = image_path_room(im, node) - 1;

    if (len >= size)
        return -ENAMETOOLONG;
    if (node == 0) {
        __builtin_memcpy(buf, "/", 2);
        return 1;
    }
    char *p = buf + len;
    *p = '\0';
    for (uint32_t i = node; i != 0; i = im->nodes[i].parent) {
        const struct dlc_node *n = &im->nodes[i];
        p -= n->name_len;
        __builtin_memcpy(p, im->strings + n->name, n->name_len);
        *--p = '/';
    }
    return (long)len;
}
