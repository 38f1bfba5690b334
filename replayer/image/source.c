#include "replayer/image/source.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <xxhash.h>

#include "facts/memory.h"
#include "libdlcache/format.h"
#include "replayer/image/bundle.h"
#include "replayer/image/tree.h"

/* The part of a file that lies in one chunk. */
struct piece {
    size_t source;
    uint64_t file_off;
    uint64_t chunk;
    uint64_t chunk_off;
    uint64_t size;
};

/* A file of several pieces stays open until the last of them is read. */
struct open_file {
    pthread_mutex_t lock;
    int fd;
    int error; /* errno; 0: none */
    uint32_t left;
};

struct source {
    const struct built *built;
    void (*idle)(void);
    struct piece *pieces;
    size_t piece_count;
    struct open_file *files; /* one a source */
    uint64_t chunks;
    uint32_t *left;          /* atomic: pieces that are not read yet, one a chunk */
    bool *ready;             /* one a chunk */
    char *ring[SOURCE_RING];

    pthread_mutex_t lock;
    pthread_cond_t moved;
    size_t next_piece;
    uint64_t taken;          /* chunks that source_next gave */
    uint64_t released;       /* chunks whose place in the ring is free again */
    int stop;
    uint64_t wrong;          /* chunks of a packed image that are not what their digest says */
    uint64_t filled;         /* of a bundle: bytes that are in chunks */
    char *broken;            /* and what is wrong with it: heap, or NULL */
    pthread_t threads[SOURCE_THREADS];
    unsigned thread_count;
};

static void cut(struct source *s)
{
    const struct built *b = s->built;
    size_t capacity = 0;

    for (size_t i = 0; i < b->source_count; i++) {
        const struct image_source *from = &b->sources[i];
        uint64_t done = 0;
        /* An empty file has one piece, too: it is to be looked at. */
        do {
            const uint64_t at = from->data + done;
            const uint64_t room = SOURCE_CHUNK - at % SOURCE_CHUNK;
            const uint64_t n = from->size - done < room ? from->size - done : room;
            s->pieces = memory_grow(s->pieces, &capacity, s->piece_count + 1, sizeof *s->pieces);
            s->pieces[s->piece_count++] = (struct piece){i, done, at / SOURCE_CHUNK, at % SOURCE_CHUNK, n};
            s->left[at / SOURCE_CHUNK]++;
            s->files[i].left++;
            done += n;
        } while (done < from->size);
    }
}

int source_look(int fd, const struct image_source *from)
{
    struct statx st;
    const int error = tree_stat(fd, &st);

    if (error)
        return -error;
    const bool same = S_ISREG(st.stx_mode) && st.stx_size == from->file_size && st.stx_ino == from->ino &&
                      st.stx_mtime.tv_sec == from->mtime && st.stx_mtime.tv_nsec == from->mtime_ns &&
                      st.stx_ctime.tv_sec == from->ctime && st.stx_ctime.tv_nsec == from->ctime_ns;
    return same ? 0 : ESTALE;
}

/* The file's lock is held. */
static void open_once(struct open_file *f, const struct image_source *from)
{
    if (f->fd >= 0 || f->error)
        return;
    f->fd = tree_open(from->path, 0);
    f->error = f->fd < 0 ? errno : source_look(f->fd, from);
}

/* After the last piece: nobody has written to it meanwhile. The file's lock is held. */
static void close_last(struct open_file *f, const struct image_source *from)
{
    if (!f->error)
        f->error = source_look(f->fd, from);
    close(f->fd);
    f->fd = -1;
}

static void read_piece(struct source *s, const struct piece *piece)
{
    const struct image_source *from = &s->built->sources[piece->source];
    struct open_file *f = &s->files[piece->source];
    char *to = s->ring[piece->chunk % SOURCE_RING] + piece->chunk_off;
    uint64_t done = 0;
    int error;

    pthread_mutex_lock(&f->lock);
    open_once(f, from);
    error = f->error;
    const int fd = f->fd;
    pthread_mutex_unlock(&f->lock);
    while (!error && done < piece->size) {
        const ssize_t n = pread(fd, to + done, piece->size - done, (off_t)(from->offset + piece->file_off + done));
        if (n > 0)
            done += (uint64_t)n;
        else if (n == 0)
            error = ESTALE; /* shorter than it was */
        else if (errno != EINTR)
            error = errno;
    }
    /* To the next file's place, too: the same files give the same chunks. */
    const uint64_t end = piece->chunk_off + piece->size, gap = from->size ? -end & 7 : 8;
    memset(to + done, 0, piece->size - done + gap);
    pthread_mutex_lock(&f->lock);
    if (error && !f->error)
        f->error = error;
    if (--f->left == 0 && f->fd >= 0)
        close_last(f, from);
    pthread_mutex_unlock(&f->lock);
}

/* Chunks are used over and over, and all of them: large pages are a thousand faults less for each. */
void *chunk_new(void)
{
    const size_t huge = (size_t)2 << 20;
    void *p;

    if (posix_memalign(&p, huge, SOURCE_CHUNK + huge) != 0)
        memory_check(NULL);
    madvise(p, SOURCE_CHUNK, MADV_HUGEPAGE);
    return p;
}

static void digest(const void *chunk, uint64_t bytes, XXH128_canonical_t *out)
{
    XXH128_canonicalFromHash(out, XXH3_128bits(chunk, bytes));
}

bool chunk_is_whole(const void *chunk, uint64_t bytes)
{
    XXH128_canonical_t is;

    digest(chunk, bytes, &is);
    return memcmp(is.digest, (const char *)chunk + bytes, CHUNK_DIGEST) == 0;
}

/* All pieces of the chunk are read: true where it is what a packed image says, if it comes from one. */
static bool end_chunk(struct source *s, uint64_t n)
{
    char *chunk = s->ring[n % SOURCE_RING];
    const uint64_t bytes = chunk_bytes(s->built->data_size, n);
    XXH128_canonical_t is;

    digest(chunk, bytes, &is);
    memcpy(chunk + bytes, is.digest, CHUNK_DIGEST);
    return !s->built->digests || memcmp(is.digest, s->built->digests[n], CHUNK_DIGEST) == 0;
}

static void *work(void *arg)
{
    struct source *s = arg;

    pthread_mutex_lock(&s->lock);
    for (;;) {
        const size_t at = s->next_piece;
        if (s->stop || at == s->piece_count)
            break;
        const struct piece *piece = &s->pieces[at];
        if (piece->chunk >= s->released + SOURCE_RING) {
            pthread_cond_wait(&s->moved, &s->lock);
            continue;
        }
        s->next_piece++;
        pthread_mutex_unlock(&s->lock);
        read_piece(s, piece);
        if (__atomic_sub_fetch(&s->left[piece->chunk], 1, __ATOMIC_ACQ_REL) == 0) {
            const bool right = end_chunk(s, piece->chunk);
            pthread_mutex_lock(&s->lock);
            s->wrong += !right;
            s->ready[piece->chunk] = true;
            pthread_cond_broadcast(&s->moved);
        } else {
            pthread_mutex_lock(&s->lock);
        }
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

/* --- bundles ---------------------------------------------------------------------------------------------------- */

/* A chunk's place in the ring is free. False where nobody wants it any more. */
static bool wait_for_room(struct source *s, uint64_t chunk)
{
    pthread_mutex_lock(&s->lock);
    while (!s->stop && chunk >= s->released + SOURCE_RING)
        pthread_cond_wait(&s->moved, &s->lock);
    const bool wanted = !s->stop;
    pthread_mutex_unlock(&s->lock);
    return wanted;
}

/* The next bytes of the contents; zeros where `data` is NULL. 0, or 1 where nobody wants them any more. */
static int fill(struct source *s, const void *data, uint64_t bytes)
{
    const char *from = data;

    while (bytes) {
        const uint64_t chunk = s->filled / SOURCE_CHUNK, at = s->filled % SOURCE_CHUNK;
        const uint64_t size = chunk_bytes(s->built->data_size, chunk);
        const uint64_t n = bytes < size - at ? bytes : size - at;
        if (at == 0 && !wait_for_room(s, chunk))
            return 1;
        if (from)
            memcpy(s->ring[chunk % SOURCE_RING] + at, from, n);
        else
            memset(s->ring[chunk % SOURCE_RING] + at, 0, n);
        from += from ? n : 0;
        s->filled += n;
        bytes -= n;
        if (at + n < size)
            continue;
        end_chunk(s, chunk);
        pthread_mutex_lock(&s->lock);
        s->ready[chunk] = true;
        pthread_cond_broadcast(&s->moved);
        pthread_mutex_unlock(&s->lock);
    }
    return 0;
}

static int put(void *arg, size_t source, uint64_t offset, const void *data, size_t bytes)
{
    struct source *s = arg;

    return fill(s, NULL, s->built->sources[source].data + offset - s->filled) ?: fill(s, data, bytes);
}

/* An archive is read from its beginning to its end, by one thread. Where that fails chunks are still waited for. */
static void *work_bundle(void *arg)
{
    struct source *s = arg;

    if (bundle_read(s->built->bundle, put, s, &s->broken) <= 0)
        fill(s, NULL, s->built->data_size - s->filled);
    return NULL;
}

/* ---------------------------------------------------------------------------------------------------------------- */

struct source *source_start(const struct built *built, void (*idle)(void))
{
    struct source *s = memory_new(1, sizeof *s);

    s->built = built;
    s->idle = idle;
    s->chunks = (built->data_size + SOURCE_CHUNK - 1) / SOURCE_CHUNK;
    s->left = memory_new(s->chunks, sizeof *s->left);
    s->ready = memory_new(s->chunks, sizeof *s->ready);
    s->files = memory_new(built->source_count, sizeof *s->files);
    for (size_t i = 0; i < built->source_count; i++) {
        pthread_mutex_init(&s->files[i].lock, NULL);
        s->files[i].fd = -1;
    }
    for (unsigned i = 0; i < SOURCE_RING; i++)
        s->ring[i] = chunk_new();
    if (!built->bundle)
        cut(s);
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->moved, NULL);
    while (s->thread_count < (built->bundle ? 1 : SOURCE_THREADS) &&
           pthread_create(&s->threads[s->thread_count], NULL, built->bundle ? work_bundle : work, s) == 0)
        s->thread_count++;
    if (s->thread_count == 0) {
        uint32_t *bad;
        size_t count;
        char *error = NULL;
        source_finish(s, &bad, &count, &error);
        free(bad);
        free(error);
        return NULL;
    }
    return s;
}

void *source_next(struct source *s)
{
    pthread_mutex_lock(&s->lock);
    const uint64_t chunk = s->taken++;
    while (!s->ready[chunk]) {
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += 100000000;
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        pthread_cond_timedwait(&s->moved, &s->lock, &until);
        if (s->idle)
            s->idle(); /* a file system that is slow must not keep a signal waiting */
    }
    pthread_mutex_unlock(&s->lock);
    return s->ring[chunk % SOURCE_RING];
}

void source_release(struct source *s)
{
    pthread_mutex_lock(&s->lock);
    s->released++;
    pthread_cond_broadcast(&s->moved);
    pthread_mutex_unlock(&s->lock);
}

static const char *why(int error)
{
    return error == ESTALE ? "it changed while it was read" : strerror(error);
}

size_t source_tell(const struct built *built, const int *errors, uint32_t *bad)
{
    size_t count = 0;

    for (size_t i = 0; i < built->source_count; i++) {
        const struct image_source *from = &built->sources[i];
        if (!errors[i])
            continue;
        if (count < 10)
            fprintf(stderr, "dlcache: warning: %s: %s; it is left to the file system\n", from->path, why(errors[i]));
        bad[count++] = from->node;
    }
    if (count > 10)
        fprintf(stderr, "dlcache: warning: … and %zu more files that could not be read\n", count - 10);
    return count;
}

/* The nodes are left to the file system; of a packed image nothing can be. */
static void tell_bad(struct source *s, uint32_t *bad, size_t *count, char **error)
{
    int *errors = memory_new(s->built->source_count, sizeof *errors);

    for (size_t i = 0; i < s->built->source_count; i++) {
        struct open_file *f = &s->files[i];
        if (f->fd >= 0)
            close(f->fd);
        pthread_mutex_destroy(&f->lock);
        errors[i] = f->error;
    }
    if (s->built->digests) {
        const char *path = s->built->source_count ? s->built->sources[0].path : NULL;
        if (path && errors[0] && asprintf(error, "%s: %s", path, why(errors[0])) < 0)
            memory_check(NULL);
        if (s->wrong && !*error &&
            asprintf(error, "%s: it is damaged: the contents are not what their digests say", path) < 0)
            memory_check(NULL);
    } else {
        *count = source_tell(s->built, errors, bad);
    }
    free(errors);
}

int source_finish(struct source *s, uint32_t **bad, size_t *count, char **error)
{
    pthread_mutex_lock(&s->lock);
    s->stop = 1;
    pthread_cond_broadcast(&s->moved);
    pthread_mutex_unlock(&s->lock);
    for (unsigned i = 0; i < s->thread_count; i++)
        pthread_join(s->threads[i], NULL);

    *bad = memory_new(s->built->source_count, sizeof **bad);
    *count = 0;
    *error = NULL;
    tell_bad(s, *bad, count, error);
    if (!*error)
        *error = s->broken;
    pthread_mutex_destroy(&s->lock);
    pthread_cond_destroy(&s->moved);
    for (unsigned i = 0; i < SOURCE_RING; i++)
        free(s->ring[i]);
    free(s->pieces);
    free(s->files);
    free(s->left);
    free(s->ready);
    free(s);
    return *error ? -1 : 0;
}
