#include "replayer/image/source.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "facts/memory.h"
#include "facts/parallel.h"
#include "replayer/image/bundle.h"

/* The part of a file that lies in one chunk. */
struct piece {
    size_t source;
    uint64_t file_off;
    uint64_t chunk_off;
    uint64_t size;
};

/* Sleeps that one chunk may take a thread by chance. */
#define SLEEPS 2

struct source {
    const struct built *built;
    uint64_t chunk;          /* bytes */
    void (*idle)(void);
    struct piece *pieces;
    size_t *first;           /* of each chunk's pieces; one more at the end */
    struct originals *originals;
    uint64_t chunks;
    bool *ready;             /* one a chunk */
    char *ring;
    size_t stride;
    unsigned ring_size;

    pthread_mutex_t lock;
    pthread_cond_t filled;   /* a chunk is ready */
    pthread_cond_t freed;    /* there is room in the ring, or nothing more is wanted */
    uint64_t next;           /* the chunk that a thread takes next */
    uint64_t taken;          /* chunks that source_next gave */
    uint64_t released;       /* chunks whose place in the ring is free again */
    int stop;                /* atomic */
    uint64_t wrong;          /* chunks of a packed image that are not what their digest says */
    uint64_t packed;         /* of a bundle: bytes that are in chunks */
    char *broken;            /* and what is wrong with it: heap, or NULL */
    pthread_t threads[SOURCE_THREADS];
    unsigned thread_count, thread_most;
};

static char *slot(const struct source *s, uint64_t chunk)
{
    return s->ring + chunk % s->ring_size * s->stride;
}

static bool is_stopped(struct source *s)
{
    return __atomic_load_n(&s->stop, __ATOMIC_RELAXED);
}

static void cut(struct source *s)
{
    const struct built *b = s->built;
    size_t capacity = 0, count = 0;
    uint64_t chunk = 0;

    for (size_t i = 0; i < b->source_count; i++) {
        const struct image_source *from = &b->sources[i];
        uint64_t done = 0;
        /* An empty file has one piece, too: it is to be looked at. */
        do {
            const uint64_t at = from->data + done;
            const uint64_t room = s->chunk - at % s->chunk;
            const uint64_t n = from->size - done < room ? from->size - done : room;
            while (chunk < at / s->chunk)
                s->first[++chunk] = count;
            s->pieces = memory_grow(s->pieces, &capacity, count + 1, sizeof *s->pieces);
            s->pieces[count++] = (struct piece){i, done, at % s->chunk, n};
            originals_expect(s->originals, i);
            done += n;
        } while (done < from->size);
    }
    while (chunk < s->chunks)
        s->first[++chunk] = count;
}

/* Bytes that it has in the chunk: to the next file's place, too, with zeros, for the same files give the same chunks. */
static uint64_t read_piece(struct source *s, const struct piece *piece, char *to)
{
    const uint64_t end = piece->chunk_off + piece->size;
    const uint64_t gap = s->built->sources[piece->source].size ? -end & 7 : 8;
    const int error = originals_read(s->originals, piece->source, to, piece->size, piece->file_off);

    memset(error ? to : to + piece->size, 0, error ? piece->size + gap : gap);
    return piece->size + gap;
}

/* --- chunks ------------------------------------------------------------------------------------------------------ */

/* They are used over and over, and all of them: large pages are a thousand faults less. */
void *chunks_new(uint64_t chunk, unsigned count, size_t *stride)
{
    const size_t huge = (size_t)2 << 20, page = 4096;
    void *p;

    *stride = chunk + page;
    const size_t bytes = (count * *stride + huge - 1) / huge * huge;
    if (posix_memalign(&p, huge, bytes) != 0)
        memory_check(NULL);
    madvise(p, bytes, MADV_HUGEPAGE);
    return p;
}

/* Behind its bytes. True where it is what a packed image says, if it comes from one. */
static bool end_chunk(struct source *s, struct chunk_digest *digest, uint64_t n)
{
    uint8_t *end = (uint8_t *)slot(s, n) + chunk_bytes(s->built->data_size, s->chunk, n);

    chunk_digest_end(digest, end);
    return !s->built->digests || memcmp(end, s->built->digests[n], CHUNK_DIGEST) == 0;
}

static void *work(void *arg), *work_bundle(void *arg);

/* As many threads as that, if there are not. The lock is held. */
static void have_threads(struct source *s, unsigned count)
{
    if (count > s->thread_most)
        count = s->thread_most;
    while (s->thread_count < count && !s->stop &&
           pthread_create(&s->threads[s->thread_count], NULL, s->built->bundle ? work_bundle : work, s) == 0)
        s->thread_count++;
}

static bool read_chunk(struct source *s, struct chunk_digest *digest, uint64_t n)
{
    const long before = parallel_sleeps();
    bool all = false;

    chunk_digest_begin(digest);
    for (size_t i = s->first[n]; i < s->first[n + 1] && !is_stopped(s); i++) {
        char *to = slot(s, n) + s->pieces[i].chunk_off;
        /* What was just read is in the processor's cache. */
        chunk_digest_add(digest, to, read_piece(s, &s->pieces[i], to));
        /* A file system that has to be waited for can answer many at once. */
        if (all || parallel_sleeps() - before <= SLEEPS)
            continue;
        pthread_mutex_lock(&s->lock);
        have_threads(s, SOURCE_THREADS);
        pthread_mutex_unlock(&s->lock);
        all = true;
    }
    return end_chunk(s, digest, n);
}

/* The lock is held. */
static void chunk_is_ready(struct source *s, uint64_t n, bool right)
{
    s->wrong += !right;
    s->ready[n] = true;
    pthread_cond_signal(&s->filled);
}

/* --- bundles ---------------------------------------------------------------------------------------------------- */

/* An archive is read from its beginning to its end, by one thread. */
struct unpacking {
    struct source *s;
    struct chunk_digest *digest;
};

/* A chunk's place in the ring is free. False where nobody wants it any more. */
static bool wait_for_room(struct source *s, uint64_t chunk)
{
    pthread_mutex_lock(&s->lock);
    while (!s->stop && chunk >= s->released + s->ring_size)
        pthread_cond_wait(&s->freed, &s->lock);
    const bool wanted = !s->stop;
    pthread_mutex_unlock(&s->lock);
    return wanted;
}

/* The next bytes of the contents; zeros where `data` is NULL. 0, or 1 where nobody wants them any more. */
static int fill(struct unpacking *u, const void *data, uint64_t bytes)
{
    struct source *s = u->s;
    const char *from = data;

    while (bytes) {
        const uint64_t chunk = s->packed / s->chunk, at = s->packed % s->chunk;
        const uint64_t size = chunk_bytes(s->built->data_size, s->chunk, chunk);
        const uint64_t n = bytes < size - at ? bytes : size - at;
        char *to = slot(s, chunk) + at;
        if (at == 0) {
            if (!wait_for_room(s, chunk))
                return 1;
            chunk_digest_begin(u->digest);
        }
        if (from)
            memcpy(to, from, n);
        else
            memset(to, 0, n);
        chunk_digest_add(u->digest, to, n);
        from += from ? n : 0;
        s->packed += n;
        bytes -= n;
        if (at + n < size)
            continue;
        end_chunk(s, u->digest, chunk);
        pthread_mutex_lock(&s->lock);
        chunk_is_ready(s, chunk, true);
        pthread_mutex_unlock(&s->lock);
    }
    return 0;
}

static int put(void *arg, size_t source, uint64_t offset, const void *data, size_t bytes)
{
    struct unpacking *u = arg;
    const struct source *s = u->s;

    return fill(u, NULL, s->built->sources[source].data + offset - s->packed) ?: fill(u, data, bytes);
}

/* Where reading fails chunks are still waited for. */
static void *work_bundle(void *arg)
{
    struct source *s = arg;
    struct unpacking u = {s, chunk_digest_new()};

    if (bundle_read(s->built->bundle, put, &u, &s->broken) <= 0)
        fill(&u, NULL, s->built->data_size - s->packed);
    chunk_digest_free(u.digest);
    return NULL;
}

/* --- threads ----------------------------------------------------------------------------------------------------- */

static void *work(void *arg)
{
    struct source *s = arg;
    struct chunk_digest *digest = chunk_digest_new();

    pthread_mutex_lock(&s->lock);
    while (!s->stop && s->next < s->chunks) {
        if (s->next >= s->released + s->ring_size) {
            pthread_cond_wait(&s->freed, &s->lock);
            continue;
        }
        const uint64_t n = s->next++;
        pthread_mutex_unlock(&s->lock);
        const bool right = read_chunk(s, digest, n);
        pthread_mutex_lock(&s->lock);
        chunk_is_ready(s, n, right);
    }
    pthread_mutex_unlock(&s->lock);
    chunk_digest_free(digest);
    return NULL;
}

/* ---------------------------------------------------------------------------------------------------------------- */

struct source *source_start(const struct built *built, uint64_t chunk, const struct source_copy *copy,
                            void (*idle)(void))
{
    struct source *s = memory_new(1, sizeof *s);

    s->built = built;
    s->chunk = chunk;
    s->idle = idle;
    s->chunks = (built->data_size + chunk - 1) / chunk;
    s->ready = memory_new(s->chunks, sizeof *s->ready);
    s->first = memory_new(s->chunks + 1, sizeof *s->first);
    s->originals = originals_new(built, copy);
    s->ring_size = (unsigned)(SOURCE_MEMORY / chunk);
    s->ring = chunks_new(chunk, s->ring_size, &s->stride);
    if (!built->bundle)
        cut(s);
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->filled, NULL);
    pthread_cond_init(&s->freed, NULL);
    /* Each has its file open, often the one that goes on from the chunk before as well, and a copy of both. */
    s->thread_most = parallel_open(SOURCE_THREADS, 16);
    if (s->thread_most > s->chunks)
        s->thread_most = (unsigned)s->chunks;
    if (built->bundle || s->chunks < 2)
        s->thread_most = 1;
    /* What is in memory keeps a processor busy; the others are for those who take it. */
    const unsigned few = parallel_processors() / 2;
    pthread_mutex_lock(&s->lock);
    have_threads(s, few ? few : 1);
    pthread_mutex_unlock(&s->lock);
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

bool source_is_ready(struct source *s)
{
    pthread_mutex_lock(&s->lock);
    const bool ready = s->ready[s->taken];
    pthread_mutex_unlock(&s->lock);
    return ready;
}

void *source_next(struct source *s)
{
    pthread_mutex_lock(&s->lock);
    const uint64_t chunk = s->taken++;
    while (!s->ready[chunk]) {
        parallel_wait(&s->filled, &s->lock);
        if (s->idle)
            s->idle(); /* a file system that is slow must not keep a signal waiting */
    }
    pthread_mutex_unlock(&s->lock);
    return slot(s, chunk);
}

void source_release(struct source *s)
{
    pthread_mutex_lock(&s->lock);
    s->released++;
    pthread_cond_signal(&s->freed);
    pthread_mutex_unlock(&s->lock);
}

int source_failed(struct source *s, uint32_t *node)
{
    return originals_failed(s->originals, node);
}

/* The nodes are left to the file system; of a packed image nothing can be. */
static void tell_bad(struct source *s, uint32_t *bad, size_t *count, char **error)
{
    int *errors = memory_new(s->built->source_count, sizeof *errors);

    for (size_t i = 0; i < s->built->source_count; i++)
        errors[i] = originals_error(s->originals, i);
    if (s->built->digests) {
        const char *path = s->built->source_count ? s->built->sources[0].path : NULL;
        if (path && errors[0] && asprintf(error, "%s: %s", path, original_why(errors[0])) < 0)
            memory_check(NULL);
        if (s->wrong && !*error &&
            asprintf(error, "%s: it is damaged: the contents are not what their digests say", path) < 0)
            memory_check(NULL);
    } else {
        *count = originals_tell(s->built, errors, bad);
    }
    free(errors);
}

int source_finish(struct source *s, uint32_t **bad, size_t *count, char **error)
{
    pthread_mutex_lock(&s->lock);
    __atomic_store_n(&s->stop, 1, __ATOMIC_RELAXED);
    pthread_cond_broadcast(&s->freed);
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
    pthread_cond_destroy(&s->filled);
    pthread_cond_destroy(&s->freed);
    free(s->ring);
    free(s->pieces);
    free(s->first);
    originals_free(s->originals);
    free(s->ready);
    free(s);
    return *error ? -1 : 0;
}
