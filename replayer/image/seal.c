/* An index that is whole: sealing it, and taking something away from it. */
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "facts/memory.h"
#include "libdlcache/hash.h"
#include "libdlcache/image.h"
#include "replayer/image/build.h"

static struct dlc_node *nodes_of(void *index)
{
    return (void *)((char *)index + ((struct dlc_header *)index)->nodes.off);
}

void image_digest(const void *index, uint8_t digest[16])
{
    const struct dlc_header *h = index;
    const char *base = index;
    const struct dlc_node *nodes = (const void *)(base + h->nodes.off);
    const uint64_t end = h->nodes.off + h->nodes.count * sizeof *nodes;
    XXH3_state_t *state = memory_check(XXH3_createState());
    XXH128_canonical_t canonical;

    XXH3_128bits_reset(state);
    XXH3_128bits_update(state, base + h->size, h->nodes.off - h->size);
    for (uint64_t i = 0; i < h->nodes.count; i++) {
        /* Reading a file changes its time of access, and not the file. */
        struct dlc_node n = nodes[i];
        n.atime = 0;
        n.atime_ns = 0;
        XXH3_128bits_update(state, &n, sizeof n);
    }
    XXH3_128bits_update(state, base + end, h->index_size - end);
    XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest(state));
    XXH3_freeState(state);
    memcpy(digest, canonical.digest, 16);
}

void image_seal(void *index)
{
    struct dlc_header *h = index;

    image_digest(index, h->digest);
    h->check = dlc_hash64(0, h, offsetof(struct dlc_header, check));
}

static int by_number(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

/* Inodes are of nodes with contents only. */
static void drop_inodes(void *index)
{
    struct dlc_header *h = index;
    const struct dlc_node *node = nodes_of(index);
    struct dlc_inode *inode = (void *)((char *)index + h->inodes.off);
    uint64_t out = 0;

    for (uint64_t i = 0; i < h->inodes.count; i++)
        if (node[inode[i].node].flags & DLC_N_DATA)
            inode[out++] = inode[i];
    memset(inode + out, 0, (h->inodes.count - out) * sizeof *inode);
    h->inodes.count = out;
}

void image_drop_data(void *index, const uint32_t *nodes, size_t count)
{
    const struct dlc_header *h = index;
    struct dlc_node *node = nodes_of(index);
    uint64_t *data = memory_new(count, sizeof *data);
    size_t n = 0;

    for (size_t i = 0; i < count; i++)
        if (node[nodes[i]].flags & DLC_N_DATA)
            data[n++] = node[nodes[i]].data;
    qsort(data, n, sizeof *data, by_number);
    for (uint64_t k = 0; k < h->nodes.count; k++)
        if (node[k].flags & DLC_N_DATA && bsearch(&node[k].data, data, n, sizeof *data, by_number))
            node[k].flags &= ~(uint32_t)DLC_N_DATA;
    free(data);
    drop_inodes(index);
    image_seal(index);
}

void built_drop_data(struct built *b, const uint32_t *nodes, size_t count)
{
    size_t dropped = 0;

    if (count)
        image_drop_data(b->index, nodes, count);
    for (size_t i = 0; i < b->source_count && dropped < count; i++) {
        if (b->sources[i].node != nodes[dropped])
            continue;
        dropped++;
        b->report.files--;
        b->report.unreadable++;
        b->report.bytes -= b->sources[i].size;
    }
}

size_t image_drop_long(void *index, size_t most, char **first)
{
    const struct dlc_header *h = index;
    struct dlc_node *node = nodes_of(index);
    size_t *length = memory_new(h->nodes.count, sizeof *length), count = 0, n = 0;
    uint32_t *dropped = memory_new(h->nodes.count, sizeof *dropped);

    *first = NULL;
    for (uint64_t i = 1; i < h->nodes.count; i++) {
        length[i] = length[node[i].parent] + 1 + node[i].name_len;
        if (length[i] <= most)
            continue;
        if (count++ == 0) {
            struct image im;
            *first = memory_new(1, length[i] + 1);
            if (image_open(&im, index, h->index_size) == 0)
                image_path(&im, (uint32_t)i, *first, length[i] + 1);
        }
        node[node[i].parent].flags &= ~(uint32_t)DLC_N_FROZEN;
        node[i].flags &= ~(uint32_t)DLC_N_FROZEN;
        if (node[i].flags & DLC_N_DATA)
            dropped[n++] = (uint32_t)i;
    }
    if (count)
        image_drop_data(index, dropped, n);
    free(length);
    free(dropped);
    return count;
}
