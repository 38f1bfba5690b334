#include "replayer/image/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "facts/error.h"
#include "facts/memory.h"
#include "facts/whole.h"
#include "libdlcache/format.h"
#include "libdlcache/hash.h"
#include "libdlcache/image.h"
#include "replayer/image/source.h"

_Static_assert(sizeof(struct dlc_trailer) == 56, "doc/FORMAT.md 9");

static uint64_t chunks_of(uint64_t data_size)
{
    return (data_size + IMAGE_CHUNK - 1) / IMAGE_CHUNK;
}

/* --- writing ---------------------------------------------------------------------------------------------------- */

/* The contents, and the digests of their chunks. 0 or -errno. */
static int write_contents(int fd, struct source *source, const struct built *b, uint8_t (*digests)[16],
                          image_progress *progress)
{
    int rc = 0;

    for (uint64_t at = 0, n = 0; at < b->data_size && rc == 0; at += IMAGE_CHUNK, n++) {
        const uint64_t bytes = chunk_bytes(b->data_size, IMAGE_CHUNK, n);
        const char *chunk = source_next(source);
        rc = whole_write(fd, chunk, bytes, b->index_size + at);
        memcpy(digests[n], chunk + bytes, sizeof digests[n]);
        source_release(source);
        if (progress)
            progress(at + bytes, b->data_size);
    }
    return rc;
}

static int write_trailer(int fd, const struct built *b, uint8_t (*digests)[16])
{
    const uint64_t count = chunks_of(b->data_size), end = b->index_size + b->data_size;
    struct dlc_trailer t = {.version = DLC_FORMAT_VERSION, .size = sizeof t, .chunk = IMAGE_CHUNK, .count = count};

    memcpy(t.magic, DLC_TRAILER_MAGIC, sizeof t.magic);
    t.digests_check = dlc_hash64(0, digests, count * sizeof *digests);
    t.index_check = dlc_hash64(0, b->index, b->index_size);
    t.check = dlc_hash64(0, &t, offsetof(struct dlc_trailer, check));
    const uint64_t bytes = count * sizeof *digests;
    return whole_write(fd, digests, bytes, end) ?: whole_write(fd, &t, sizeof t, end + bytes);
}

static int fill(int fd, struct built *b, image_progress *progress, char **error)
{
    struct source *source = source_start(b, IMAGE_CHUNK, NULL, NULL);
    uint32_t *bad;
    size_t count;

    if (!source)
        return error_put(error, "no thread can be started to read with");
    uint8_t (*digests)[16] = memory_new(chunks_of(b->data_size), sizeof *digests);
    int rc = write_contents(fd, source, b, digests, progress);
    if (source_finish(source, &bad, &count, error) == 0 && rc == 0) {
        built_drop_data(b, bad, count);
        rc = whole_write(fd, b->index, b->index_size, 0) ?: write_trailer(fd, b, digests);
    }
    free(bad);
    free(digests);
    if (rc)
        error_put(error, "it cannot be written: %s", strerror(-rc));
    return *error ? -1 : 0;
}

int image_file_write(struct built *b, const char *path, image_progress *progress, char **error)
{
    char *temporary, *what = NULL;
    const mode_t mask = umask(0);

    umask(mask);
    *error = NULL;
    if (asprintf(&temporary, "%s.XXXXXX", path) < 0)
        memory_check(NULL);
    const int fd = mkostemp(temporary, O_CLOEXEC);
    if (fd < 0) {
        free(temporary);
        return error_put(error, "%s: %s", path, strerror(errno));
    }
    int rc = fill(fd, b, progress, &what);
    if (rc == 0 && (fchmod(fd, 0666 & ~mask) != 0 || fsync(fd) != 0))
        rc = error_put(&what, "it cannot be written: %s", strerror(errno));
    if (close(fd) != 0 && rc == 0)
        rc = error_put(&what, "it cannot be written: %s", strerror(errno));
    if (rc == 0 && rename(temporary, path) != 0)
        rc = error_put(&what, "%s", strerror(errno));
    if (rc) {
        unlink(temporary);
        error_put(error, "%s: %s", path, what);
    }
    free(temporary);
    free(what);
    return rc;
}

/* --- reading ---------------------------------------------------------------------------------------------------- */

bool image_file_is(const char *path)
{
    char magic[8];
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    const bool is = fd >= 0 && read(fd, magic, sizeof magic) == sizeof magic &&
                    memcmp(magic, DLC_IMAGE_MAGIC, sizeof magic) == 0;

    if (fd >= 0)
        close(fd);
    return is;
}

static int read_index(int fd, struct built *b, uint64_t size, char **error)
{
    struct dlc_header h;
    struct image im;
    const char *why = "its index is damaged";
    uint8_t digest[16];

    const int rc = whole_read(fd, &h, sizeof h, 0);
    if (rc)
        return error_put(error, rc > 0 ? "it is truncated" : "%s", strerror(-rc));
    if (memcmp(h.magic, DLC_IMAGE_MAGIC, sizeof h.magic) != 0)
        return error_put(error, "it is no image");
    if (h.version != DLC_FORMAT_VERSION)
        return error_put(error, "it is an image of version %u, and this program knows %u: pack it anew", h.version,
                    DLC_FORMAT_VERSION);
    if (h.index_size < sizeof h || h.index_size > size || h.data_size > size - h.index_size)
        return error_put(error, "it is truncated, or its header is damaged");
    b->index_size = h.index_size;
    b->data_size = h.data_size;
    b->index = memory_check(malloc(h.index_size));
    if (whole_read(fd, b->index, b->index_size, 0) != 0)
        return error_put(error, "its index cannot be read");
    if (image_open(&im, b->index, b->index_size) != 0 || image_check(&im, &why) != 0)
        return error_put(error, "it is damaged: %s", why);
    image_digest(b->index, digest);
    if (memcmp(digest, h.digest, sizeof digest) != 0)
        return error_put(error, "it is damaged: the index is not what its digest says");
    return 0;
}

static int read_trailer(int fd, struct built *b, uint64_t size, char **error)
{
    const uint64_t count = chunks_of(b->data_size), end = b->index_size + b->data_size;
    struct dlc_trailer t;

    if (size != end + count * sizeof *b->digests + sizeof t)
        return error_put(error, "it is truncated");
    b->digests = memory_new(count, sizeof *b->digests);
    if (whole_read(fd, b->digests, count * sizeof *b->digests, end) != 0 ||
        whole_read(fd, &t, sizeof t, size - sizeof t) != 0)
        return error_put(error, "it cannot be read to its end");
    if (memcmp(t.magic, DLC_TRAILER_MAGIC, sizeof t.magic) != 0 || t.version != DLC_FORMAT_VERSION ||
        t.size != sizeof t || t.chunk != IMAGE_CHUNK || t.count != count ||
        t.check != dlc_hash64(0, &t, offsetof(struct dlc_trailer, check)) ||
        t.digests_check != dlc_hash64(0, b->digests, count * sizeof *b->digests) ||
        t.index_check != dlc_hash64(0, b->index, b->index_size))
        return error_put(error, "it is damaged: its last bytes, or the index, are not what was written");
    return 0;
}

struct held {
    uint64_t data, size;
};

static int by_data(const void *a, const void *b)
{
    const struct held *x = a, *y = b;

    return x->data < y->data ? -1 : x->data > y->data;
}

static void count_nodes(struct built *b)
{
    const struct dlc_header *h = b->index;
    const struct dlc_node *nodes = (const void *)((const char *)b->index + h->nodes.off);
    struct held *held = memory_new(h->nodes.count, sizeof *held);
    size_t n = 0;

    b->report = (struct build_report){.names = h->nodes.count};
    for (uint64_t i = 0; i < h->nodes.count; i++) {
        b->report.frozen += (nodes[i].flags & DLC_N_FROZEN) != 0;
        if (nodes[i].flags & DLC_N_DATA)
            held[n++] = (struct held){nodes[i].data, nodes[i].size};
    }
    qsort(held, n, sizeof *held, by_data);
    for (size_t i = 0; i < n; i++) {
        if (i && held[i].data == held[i - 1].data)
            continue; /* a hard link */
        b->report.files++;
        b->report.bytes += held[i].size;
    }
    free(held);
}

int image_file_open(struct built *b, const char *path, char **error)
{
    struct stat st;
    char *what = NULL;
    char *real = realpath(path, NULL);
    const int fd = real ? open(real, O_RDONLY | O_CLOEXEC) : -1;

    *b = (struct built){0};
    *error = NULL;
    int rc = fd >= 0 && fstat(fd, &st) == 0 ? 0 : error_put(&what, "%s", strerror(errno));
    if (rc == 0)
        rc = read_index(fd, b, (uint64_t)st.st_size, &what) ?: read_trailer(fd, b, (uint64_t)st.st_size, &what);
    if (fd >= 0)
        close(fd);
    if (rc) {
        error_put(error, "%s: %s", path, what);
        free(what);
        free(real);
        built_free(b);
        return -1;
    }
    count_nodes(b);
    b->sources = memory_new(1, sizeof *b->sources);
    b->source_count = b->data_size > 0;
    b->sources[0] = (struct image_source){
        .path = real, .size = b->data_size, .offset = b->index_size, .file_size = (uint64_t)st.st_size,
        .fd = -1, .node = DLC_NONE, .ino = st.st_ino,
        .mtime = st.st_mtim.tv_sec, .mtime_ns = (uint32_t)st.st_mtim.tv_nsec,
        .ctime = st.st_ctim.tv_sec, .ctime_ns = (uint32_t)st.st_ctim.tv_nsec,
    };
    return 0;
}
