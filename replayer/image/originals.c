#include "replayer/image/originals.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "facts/memory.h"
#include "facts/whole.h"
#include "replayer/image/tree.h"

/* A file of several pieces stays open until the last of them is read. */
struct original {
    pthread_mutex_t lock;
    int fd;
    int copy;  /* the file that is filled; -1: none */
    int error; /* errno of reading; 0: none */
    uint32_t left;
};

struct originals {
    const struct built *built;
    struct source_copy copy; /* no `open`: none */
    struct original *files;  /* one a source */
    pthread_mutex_t lock;    /* of what follows */
    int failed;              /* atomic: errno of what could not be written to a copy */
    uint32_t failed_node;
};

struct originals *originals_new(const struct built *built, const struct source_copy *copy)
{
    struct originals *o = memory_new(1, sizeof *o);

    o->built = built;
    o->copy = copy ? *copy : (struct source_copy){0};
    o->files = memory_new(built->source_count, sizeof *o->files);
    for (size_t i = 0; i < built->source_count; i++) {
        pthread_mutex_init(&o->files[i].lock, NULL);
        o->files[i].fd = o->files[i].copy = -1;
    }
    pthread_mutex_init(&o->lock, NULL);
    return o;
}

void originals_expect(struct originals *o, size_t source)
{
    o->files[source].left++;
}

static void fail_writing(struct originals *o, uint32_t node, int error)
{
    pthread_mutex_lock(&o->lock);
    if (!o->failed) {
        o->failed_node = node;
        __atomic_store_n(&o->failed, error, __ATOMIC_RELAXED);
    }
    pthread_mutex_unlock(&o->lock);
}

static bool has_failed(struct originals *o)
{
    return __atomic_load_n(&o->failed, __ATOMIC_RELAXED) != 0;
}

int originals_failed(struct originals *o, uint32_t *node)
{
    pthread_mutex_lock(&o->lock);
    *node = o->failed_node;
    const int failed = o->failed;
    pthread_mutex_unlock(&o->lock);
    return failed;
}

int original_look(int fd, const struct image_source *from)
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
static void open_once(struct originals *o, struct original *f, const struct image_source *from)
{
    if (f->fd >= 0 || f->error)
        return;
    f->fd = from->fd >= 0 ? from->fd : tree_open(from->path, 0);
    f->error = f->fd < 0 ? errno : original_look(f->fd, from);
    if (f->error || !o->copy.open || has_failed(o))
        return;
    f->copy = o->copy.open(o->copy.arg, from->node);
    if (f->copy < 0 && errno)
        fail_writing(o, from->node, errno);
}

/* After the last piece: nobody has written to it meanwhile. The file's lock is held. */
static void close_last(struct originals *o, struct original *f, const struct image_source *from)
{
    int error = 0;

    if (!f->error)
        f->error = original_look(f->fd, from);
    if (f->fd != from->fd)
        close(f->fd);
    f->fd = -1;
    if (f->copy < 0)
        return;
    if (!f->error && !has_failed(o))
        error = o->copy.end(o->copy.arg, from->node, f->copy);
    if (close(f->copy) != 0 && !error)
        error = errno;
    f->copy = -1;
    if (error)
        fail_writing(o, from->node, error);
}

int originals_read(struct originals *o, size_t source, void *to, uint64_t bytes, uint64_t at)
{
    const struct image_source *from = &o->built->sources[source];
    struct original *f = &o->files[source];
    int failed = 0;

    pthread_mutex_lock(&f->lock);
    open_once(o, f, from);
    const int fd = f->fd, copy = f->copy;
    int error = f->error;
    pthread_mutex_unlock(&f->lock);
    if (!error) {
        const int rc = whole_read(fd, to, bytes, from->offset + at);
        error = rc > 0 ? ESTALE : -rc; /* shorter than it was */
    }
    if (!error && copy >= 0 && !has_failed(o))
        failed = -whole_write(copy, to, bytes, at);
    if (failed)
        fail_writing(o, from->node, failed);
    pthread_mutex_lock(&f->lock);
    if (error && !f->error)
        f->error = error;
    if (--f->left == 0 && f->fd >= 0)
        close_last(o, f, from);
    pthread_mutex_unlock(&f->lock);
    return error;
}

int originals_error(const struct originals *o, size_t source)
{
    return o->files[source].error;
}

void originals_free(struct originals *o)
{
    for (size_t i = 0; i < o->built->source_count; i++) {
        struct original *f = &o->files[i];
        if (f->fd >= 0 && f->fd != o->built->sources[i].fd)
            close(f->fd);
        if (f->copy >= 0)
            close(f->copy);
        pthread_mutex_destroy(&f->lock);
    }
    pthread_mutex_destroy(&o->lock);
    free(o->files);
    free(o);
}

const char *original_why(int error)
{
    return error == ESTALE ? "it changed while it was read" : strerror(error);
}

size_t originals_tell(const struct built *built, const int *errors, uint32_t *bad)
{
    size_t count = 0;

    for (size_t i = 0; i < built->source_count; i++) {
        const struct image_source *from = &built->sources[i];
        if (!errors[i])
            continue;
        if (count < 10)
            fprintf(stderr, "dlcache: warning: %s: %s; it is left to the file system\n", from->path,
                    original_why(errors[i]));
        bad[count++] = from->node;
    }
    if (count > 10)
        fprintf(stderr, "dlcache: warning: … and %zu more files that could not be read\n", count - 10);
    return count;
}
