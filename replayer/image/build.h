/* From a manifest to an image: the names and stat data of what the manifest names, as the file system has them now,
 * and where the contents will lie. The contents themselves are read by the stager, later, in order. */
#ifndef DLCACHE_BUILD_H
#define DLCACHE_BUILD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "manifests/manifest.h"

/* A file to be read: its contents go to offset `data` behind the index. */
struct image_source {
    char *path;         /* canonical */
    uint64_t size;      /* bytes wanted */
    uint64_t offset;    /* of the first of them in the file */
    uint64_t file_size; /* when it was looked at, bytes */
    uint64_t data;      /* a multiple of 8; ascending */
    int fd;             /* it is open already; else -1 */
    uint32_t node;      /* the first of its names; DLC_NONE: a packed image, the contents of all */
    uint64_t ino;  /* as in the index: what is read has to be what was looked at */
    int64_t mtime, ctime; /* seconds */
    uint32_t mtime_ns, ctime_ns;
};

struct build_report {
    uint64_t files;   /* with contents */
    uint64_t bytes;   /* of contents */
    uint64_t gone;    /* entries of the manifest that are not there any more */
    uint64_t unreadable;
    uint64_t drifted; /* entries whose size or time of modification is not the manifest's */
    uint64_t frozen;  /* directories */
    uint64_t names;   /* nodes */
};

struct built {
    void *index; /* a whole index, sealed: heap */
    uint64_t index_size, data_size;
    struct image_source *sources;
    size_t source_count;
    uint8_t (*digests)[16]; /* of a packed image: one a chunk; else NULL: heap */
    struct bundle *bundle;  /* that holds the contents of all sources; else NULL */
    struct build_report report;
};

/* Builds the index. Warns on standard error (the first few of a kind, then their number). `strict`: an entry that is
 * gone or cannot be read is an error. 0, or -1 with *error (heap). */
int build_image(const struct manifest *m, bool strict, struct built *out, char **error);
void built_free(struct built *b);

/* Takes the contents away from these nodes, and from all other names of the same files, in an index in memory: their
 * contents could not be read. They keep their stat data. The index is sealed anew. */
void image_drop_data(void *index, const uint32_t *nodes, size_t count);

/* The same in *b, whose report then does not count them as staged: `nodes` are of its sources, in their order, or it has
 * no sources. */
void built_drop_data(struct built *b, const uint32_t *nodes, size_t count);

/* Takes what is needed for the mirror away from every name whose path is longer than `most` bytes: contents (from the
 * other names of the file, too), and from its directory the list. They keep their stat data. The number of names;
 * where it is not 0, *first (heap) is one of them, and the index is sealed anew. */
size_t image_drop_long(void *index, size_t most, char **first);

/* The digest of an index in memory: doc/FORMAT.md 2. The index has its tables inside itself. */
void image_digest(const void *index, uint8_t digest[16]);

/* Computes the digest and the header's checksum of an index in memory. */
void image_seal(void *index);

#endif
