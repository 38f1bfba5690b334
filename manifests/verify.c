#include "manifests/verify.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <xxhash.h>

#include "facts/memory.h"
#include "facts/progress.h"

#define STRIDE 64            /* entries that a thread takes at a time: neighbours are in one directory */
#define PIECE (256 * 1024)   /* bytes read at once */
#define MOST_JOBS 256

struct work {
    const struct manifest *m;
    struct manifest_entry *now;
    int *errors; /* of each entry */
    bool digest;
    atomic_size_t next, done;
    pthread_mutex_t lock;
    pthread_cond_t ended;
    unsigned running;
};

/* --- one entry -------------------------------------------------------------------------------------------------- */

static enum manifest_kind kind_of(mode_t mode, enum manifest_kind was)
{
    if (S_ISDIR(mode))
        return MANIFEST_DIRECTORY;
    if (S_ISLNK(mode))
        return MANIFEST_SYMLINK;
    return manifest_has_contents(was) ? was : MANIFEST_DATA; /* what kind of file is for recording to find out */
}

static int read_target(struct manifest_entry *e)
{
    char text[4096 + 1];
    const ssize_t n = readlink(e->path, text, sizeof text - 1);

    if (n < 0)
        return errno;
    e->target = memory_bytes(text, (size_t)n);
    return 0;
}

static int read_digest(struct manifest_entry *e, char *piece)
{
    const int fd = open(e->path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK | O_NOFOLLOW);
    XXH3_state_t *state = memory_check(XXH3_createState());
    ssize_t n = fd < 0 ? -1 : 0;

    XXH3_128bits_reset(state);
    while (fd >= 0 && ((n = read(fd, piece, PIECE)) > 0 || (n < 0 && errno == EINTR)))
        if (n > 0)
            XXH3_128bits_update(state, piece, (size_t)n);
    const int error = n < 0 ? errno : 0;
    if (fd >= 0)
        close(fd);
    XXH128_canonical_t canonical;
    XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest(state));
    XXH3_freeState(state);
    if (error)
        return error;
    memcpy(e->digest, canonical.digest, sizeof e->digest);
    e->has_digest = true;
    return 0;
}

/* What is there now, as far as the manifest's entry makes it worth asking; an errno where that is not known. */
static int look(const struct work *w, const struct manifest_entry *was, struct manifest_entry *e, char *piece)
{
    struct stat st;

    *e = (struct manifest_entry){.path = memory_text(was->path), .kind = MANIFEST_ABSENT};
    e->is_volatile = was->is_volatile; /* it is not known now */
    if (lstat(e->path, &st) != 0)
        return errno == ENOENT || errno == ENOTDIR ? 0 : errno;
    e->kind = kind_of(st.st_mode, was->kind);
    e->has_stat = true;
    e->size = (uint64_t)st.st_size;
    e->mtime_ns = (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec;
    e->mode = st.st_mode;
    if (e->kind == MANIFEST_SYMLINK)
        return read_target(e);
    const bool same_size = !was->has_stat || was->size == e->size;
    const bool touched = !was->has_stat || was->mtime_ns != e->mtime_ns;
    return S_ISREG(st.st_mode) && was->has_digest && same_size && (touched || w->digest) ? read_digest(e, piece) : 0;
}

/* --- many at once ----------------------------------------------------------------------------------------------- */

static void *look_at_some(void *argument)
{
    struct work *w = argument;
    char *piece = memory_check(malloc(PIECE));

    for (;;) {
        const size_t first = atomic_fetch_add(&w->next, STRIDE);
        if (first >= w->m->entry_count)
            break;
        const size_t end = first + STRIDE < w->m->entry_count ? first + STRIDE : w->m->entry_count;
        for (size_t i = first; i < end; i++) {
            w->errors[i] = look(w, &w->m->entries[i], &w->now[i], piece);
            atomic_fetch_add(&w->done, 1);
        }
    }
    free(piece);
    pthread_mutex_lock(&w->lock);
    w->running--;
    pthread_cond_signal(&w->ended);
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

/* Tells how far it is ten times a second. */
static void wait_for_all(struct work *w)
{
    struct timespec until;

    clock_gettime(CLOCK_REALTIME, &until);
    pthread_mutex_lock(&w->lock);
    while (w->running) {
        progress_count(atomic_load(&w->done), w->m->entry_count, "entries");
        until.tv_nsec += 100000000;
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        while (w->running && pthread_cond_timedwait(&w->ended, &w->lock, &until) != ETIMEDOUT)
            ;
    }
    pthread_mutex_unlock(&w->lock);
    progress_end();
}

/* As many threads as there is work for; those that can be had, if it is one. */
static int run(struct work *w, const struct verify_options *options)
{
    const size_t useful = w->m->entry_count / STRIDE + 1;
    const unsigned most = options->jobs < MOST_JOBS ? options->jobs : MOST_JOBS;
    const unsigned jobs = useful < most ? (unsigned)useful : most;
    pthread_t threads[MOST_JOBS];
    unsigned started = 0;
    int error = 0;

    pthread_mutex_lock(&w->lock);
    for (; started < jobs && !error; started += !error)
        error = pthread_create(&threads[started], NULL, look_at_some, w);
    w->running = started;
    pthread_mutex_unlock(&w->lock);
    wait_for_all(w);
    for (unsigned i = 0; i < started; i++)
        pthread_join(threads[i], NULL);
    return started ? 0 : error;
}

/* --- what it comes to ------------------------------------------------------------------------------------------- */

static void compare(struct verify *v, const struct manifest *m, const struct manifest_entry *now, const int *errors)
{
    v->now = manifest_new();
    for (size_t i = 0; i < m->entry_count; i++)
        manifest_append(v->now, &now[i]);
    v->troubles = memory_new(m->entry_count, sizeof *v->troubles);
    for (size_t i = 0; i < m->entry_count; i++) {
        const struct manifest_entry *a = &m->entries[i], *b = &v->now->entries[i];
        if (errors[i]) {
            v->troubles[v->trouble_count++] = (struct verify_trouble){a->path, errors[i]};
            continue;
        }
        enum diff_cause cause = diff_entries(a, b);
        if (cause == DIFF_CONTENT && !a->has_digest && a->has_stat && a->size == b->size)
            cause = DIFF_TIME; /* what was in it was never known */
        if (cause == DIFF_NONE && a->kind == MANIFEST_DIRECTORY && !a->is_volatile && a->has_stat &&
            a->mtime_ns != b->mtime_ns)
            cause = DIFF_NAMES;
        if (cause != DIFF_NONE)
            diff_add(&v->d, cause, a, b);
    }
}

int verify_manifest(const struct manifest *m, const struct verify_options *options, struct verify *v)
{
    struct work w = {
        .m = m, .digest = options->digest, .lock = PTHREAD_MUTEX_INITIALIZER, .ended = PTHREAD_COND_INITIALIZER};

    *v = (struct verify){0};
    w.now = memory_new(m->entry_count, sizeof *w.now);
    w.errors = memory_new(m->entry_count, sizeof *w.errors);
    const int error = run(&w, options);
    if (!error)
        compare(v, m, w.now, w.errors);
    free(w.now);
    free(w.errors);
    return error;
}

void verify_free(struct verify *v)
{
    diff_free(&v->d);
    manifest_free(v->now);
    free(v->troubles);
}
