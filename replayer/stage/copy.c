#include "replayer/stage/copy.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/sendfile.h>
#include <unistd.h>

#include "facts/memory.h"
#include "facts/parallel.h"
#include "facts/progress.h"
#include "facts/whole.h"
#include "replayer/image/source.h"
#include "replayer/image/tree.h"

/* Files that are open for writing at once; an eighth of what may be open at most: originals are, too. */
#define OPEN_MOST 64u
/* Of a large file several threads copy parts. */
#define PART ((uint64_t)4 << 20)
/* The kernel reads so much ahead of itself; of what is longer it is told. */
#define READ_AHEAD ((uint64_t)128 << 10)
#define BUFFER ((size_t)256 << 10)
/* Sleeps that a part may take a thread by chance. */
#define SLEEPS 1

/* A file on its way. */
struct file {
    const struct image_source *from;
    uint32_t node;
    int out;
    uint64_t begun;       /* bytes that threads have taken; the copier's lock */
    uint64_t left;        /* parts that are not done; the copier's lock */
    pthread_mutex_t lock; /* of what follows */
    int in;               /* -1: not open */
    int error;            /* errno of reading */
};

struct copier {
    struct copying from;
    copy_end *end;
    void *arg;
    int *errors;            /* errno of reading, one a source */
    pthread_mutex_t lock;
    pthread_cond_t work;    /* something was put, or it ends */
    pthread_cond_t room;    /* files were done */
    struct file *queue[OPEN_MOST]; /* that have parts which nobody has taken */
    unsigned first, count;
    unsigned open;          /* files on their way, those in the queue with them … */
    unsigned most;          /* … at most */
    unsigned idle;          /* threads that wait */
    uint64_t done;          /* bytes */
    bool stop;              /* nothing more will be put */
    int failed;             /* errno of writing, of the first file that could not be written */
    uint32_t failed_node;
    pthread_t threads[SOURCE_THREADS];
    unsigned thread_count;
};

static bool has_failed(struct copier *c)
{
    return __atomic_load_n(&c->failed, __ATOMIC_RELAXED) != 0;
}

static void fail(struct copier *c, uint32_t node, int error)
{
    pthread_mutex_lock(&c->lock);
    if (!c->failed) {
        c->failed_node = node;
        __atomic_store_n(&c->failed, error, __ATOMIC_RELAXED);
    }
    pthread_mutex_unlock(&c->lock);
}

/* Opens the original, once. Its descriptor, or -1 where it cannot be read, or is not what the index says. */
static int open_original(struct file *f)
{
    pthread_mutex_lock(&f->lock);
    if (f->in < 0 && !f->error) {
        f->in = f->from->fd >= 0 ? f->from->fd : tree_open(f->from->path, 0);
        f->error = f->in < 0 ? errno : original_look(f->in, f->from);
        if (!f->error && f->from->size > READ_AHEAD)
            posix_fadvise(f->in, 0, (off_t)f->from->size, POSIX_FADV_WILLNEED);
    }
    const int in = f->error ? -1 : f->in;
    pthread_mutex_unlock(&f->lock);
    return in;
}

static void fail_reading(struct file *f, int error)
{
    pthread_mutex_lock(&f->lock);
    if (!f->error)
        f->error = error;
    pthread_mutex_unlock(&f->lock);
}

/* By reading and writing: where the kernel does not carry it over, and to find out which end fails. */
static void copy_by_hand(struct copier *c, struct file *f, int in, uint64_t at, uint64_t end)
{
    char *buffer = memory_check(malloc(BUFFER));

    while (at < end && !has_failed(c)) {
        const size_t want = end - at < BUFFER ? (size_t)(end - at) : BUFFER;
        const ssize_t got = pread(in, buffer, want, (off_t)at);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0) { /* shorter than it was */
            fail_reading(f, got < 0 ? errno : ESTALE);
            break;
        }
        const int error = -whole_write(f->out, buffer, (uint64_t)got, at);
        if (error)
            fail(c, f->node, error);
        at += (uint64_t)got;
    }
    free(buffer);
}

/* sendfile writes where the descriptor stands: threads that share a file want one each. */
static int own_descriptor(const struct file *f, uint64_t at)
{
    char name[40];

    snprintf(name, sizeof name, "/proc/self/fd/%d", f->out);
    const int fd = open(name, O_WRONLY | O_CLOEXEC);
    if (fd >= 0 && lseek(fd, (off_t)at, SEEK_SET) < 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static void copy_part(struct copier *c, struct file *f, uint64_t at, uint64_t end)
{
    const int in = has_failed(c) ? -1 : open_original(f);
    const bool shared = f->from->size > PART;
    off_t from = (off_t)at;

    if (in < 0)
        return;
    const int out = shared ? own_descriptor(f, at) : f->out;
    ssize_t n = out < 0 ? -1 : 1;
    while ((uint64_t)from < end && n > 0)
        do
            n = sendfile(out, in, &from, end - (uint64_t)from);
        while (n < 0 && errno == EINTR);
    if (shared && out >= 0)
        close(out);
    if ((uint64_t)from < end)
        copy_by_hand(c, f, in, (uint64_t)from, end);
}

/* All parts are done: nobody has written to the original meanwhile. */
static void end_file(struct copier *c, struct file *f)
{
    if (f->in >= 0 && !f->error)
        f->error = original_look(f->in, f->from);
    if (f->in >= 0 && f->in != f->from->fd)
        close(f->in);
    c->errors[f->from - c->from.built->sources] = f->error;
    int error = f->error || has_failed(c) ? 0 : c->end(c->arg, f->node, f->out);
    if (close(f->out) != 0 && !error)
        error = errno;
    if (error)
        fail(c, f->node, error);
    pthread_mutex_destroy(&f->lock);
    free(f);
}

/* The lock is held. */
static struct file *take(struct copier *c, uint64_t *at, uint64_t *end)
{
    struct file *f = c->queue[c->first];

    *at = f->begun;
    *end = f->from->size - *at < PART ? f->from->size : *at + PART;
    f->begun = *end;
    if (*end == f->from->size) {
        c->first = (c->first + 1) % OPEN_MOST;
        c->count--;
    }
    if (c->count && c->idle)
        pthread_cond_signal(&c->work);
    return f;
}

static void *work(void *arg);

/* As many threads as that, if there are not. The lock is held. */
static void have_threads(struct copier *c, unsigned count)
{
    while (c->thread_count < count && c->thread_count < SOURCE_THREADS &&
           pthread_create(&c->threads[c->thread_count], NULL, work, c) == 0)
        c->thread_count++;
}

static void *work(void *arg)
{
    struct copier *c = arg;

    pthread_mutex_lock(&c->lock);
    for (;;) {
        uint64_t at, end;
        while (!c->count && !c->stop) {
            c->idle++;
            pthread_cond_wait(&c->work, &c->lock);
            c->idle--;
        }
        if (!c->count)
            break;
        struct file *f = take(c, &at, &end);
        pthread_mutex_unlock(&c->lock);
        const long before = parallel_sleeps();
        copy_part(c, f, at, end);
        const bool slept = parallel_sleeps() - before > SLEEPS;
        pthread_mutex_lock(&c->lock);
        c->done += end - at;
        /* A file system that has to be waited for can answer many at once. */
        if (slept && !c->stop)
            have_threads(c, SOURCE_THREADS);
        if (--f->left)
            continue;
        pthread_mutex_unlock(&c->lock);
        end_file(c, f);
        pthread_mutex_lock(&c->lock);
        /* The main thread makes many names at a time. */
        if (--c->open == c->most / 2 || c->open == 0)
            pthread_cond_signal(&c->room);
    }
    pthread_mutex_unlock(&c->lock);
    return NULL;
}

struct copier *copier_start(const struct copying *from, copy_end *end, void *arg)
{
    struct copier *c = memory_new(1, sizeof *c);

    c->from = *from;
    c->end = end;
    c->arg = arg;
    c->most = parallel_open(OPEN_MOST, 8);
    c->errors = memory_new(from->built->source_count, sizeof *c->errors);
    pthread_mutex_init(&c->lock, NULL);
    pthread_cond_init(&c->work, NULL);
    pthread_cond_init(&c->room, NULL);
    pthread_mutex_lock(&c->lock);
    have_threads(c, parallel_processors());
    pthread_mutex_unlock(&c->lock);
    if (c->thread_count)
        return c;
    copier_free(c);
    return NULL;
}

static const struct image_source *source_at(const struct built *b, uint64_t data)
{
    size_t low = 0, high = b->source_count;

    while (low < high) {
        const size_t mid = low + (high - low) / 2;
        if (b->sources[mid].data < data)
            low = mid + 1;
        else
            high = mid;
    }
    return &b->sources[low];
}

/* Until at most so many files are on their way. The lock is held. */
static void wait_for(struct copier *c, unsigned most)
{
    while (c->open > most) {
        parallel_wait(&c->room, &c->lock);
        c->from.idle(c->from.arg, c->done); /* a file system that is slow must not keep a signal waiting */
    }
}

void copier_put(struct copier *c, uint32_t node, uint64_t data, int fd)
{
    struct file *f = memory_new(1, sizeof *f);

    *f = (struct file){.from = source_at(c->from.built, data), .node = node, .out = fd, .in = -1};
    /* An empty file has one part, too: it is to be looked at. */
    f->left = f->from->size ? (f->from->size + PART - 1) / PART : 1;
    pthread_mutex_init(&f->lock, NULL);
    pthread_mutex_lock(&c->lock);
    if (c->open == c->most)
        wait_for(c, c->most / 2);
    c->queue[(c->first + c->count++) % OPEN_MOST] = f;
    c->open++;
    if (c->idle)
        pthread_cond_signal(&c->work);
    pthread_mutex_unlock(&c->lock);
}

int copier_finish(struct copier *c, uint32_t **bad, size_t *count, uint32_t *node)
{
    pthread_mutex_lock(&c->lock);
    wait_for(c, 0);
    const int failed = c->failed;
    *node = c->failed_node;
    pthread_mutex_unlock(&c->lock);
    progress_end();
    *bad = memory_new(c->from.built->source_count, sizeof **bad);
    *count = originals_tell(c->from.built, c->errors, *bad);
    return failed;
}

void copier_free(struct copier *c)
{
    if (!c)
        return;
    pthread_mutex_lock(&c->lock);
    c->stop = true;
    if (c->open)
        __atomic_store_n(&c->failed, ECANCELED, __ATOMIC_RELAXED);
    pthread_cond_broadcast(&c->work);
    pthread_mutex_unlock(&c->lock);
    for (unsigned i = 0; i < c->thread_count; i++)
        pthread_join(c->threads[i], NULL);
    pthread_mutex_destroy(&c->lock);
    pthread_cond_destroy(&c->work);
    pthread_cond_destroy(&c->room);
    free(c->errors);
    free(c);
}
