/* Contents on their way: digests, readers, copies; and who is alone. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <xxhash.h>

#include "facts/memory.h"
#include "facts/parallel.h"
#include "replayer/image/digest.h"
#include "replayer/image/digest_wide.h"
#include "replayer/image/source.h"
#include "replayer/stage/copy.h"
#include "replayer/stage/team.h"
#include "test/check/suites.h"

/* --- digests ---------------------------------------------------------------------------------------------------- */

static const size_t parts[] = {0, 1, 240, 241, 1023, 1024, 1025, 65536, 262144, 1000003};

/* However it is added up, and whichever registers do it. */
START_TEST(test_digest)
{
    const size_t size = 3000000;
    uint8_t *data = malloc(size), is[CHUNK_DIGEST];
    struct chunk_digest *d = chunk_digest_new();
    XXH3_state_t *narrow = XXH3_createState();
    XXH128_canonical_t expected, alike;

    for (size_t i = 0; i < size; i++)
        data[i] = (uint8_t)(i * 2654435761u >> 13);
    for (int again = 0; again < 2; again++) {
        size_t n = 0;
        chunk_digest_begin(d);
        XXH3_128bits_reset(narrow);
        for (size_t at = 0; at < size; at += n) {
            n = parts[(size_t)_i] ? parts[(size_t)_i] : size;
            n = n < size - at ? n : size - at;
            chunk_digest_add(d, data + at, n);
            XXH3_128bits_update(narrow, data + at, n);
        }
        chunk_digest_end(d, is);
        XXH128_canonicalFromHash(&expected, XXH3_128bits(data, size));
        XXH128_canonicalFromHash(&alike, XXH3_128bits_digest(narrow));
        ck_assert_mem_eq(is, expected.digest, CHUNK_DIGEST);
        ck_assert_mem_eq(is, alike.digest, CHUNK_DIGEST);
    }
#if defined __x86_64__
    if (__builtin_cpu_supports("avx2"))
        ck_assert(digest_wide_add(narrow, data, 1));
#endif
    XXH3_freeState(narrow);
    chunk_digest_free(d);
    free(data);
}
END_TEST

/* --- many at once ----------------------------------------------------------------------------------------------- */

struct asked {
    unsigned times[500];
    pthread_t who[500];
    long nap; /* nanoseconds; 0: none */
};

static void ask(void *context, size_t i)
{
    struct asked *a = context;

    __atomic_fetch_add(&a->times[i], 1, __ATOMIC_RELAXED);
    a->who[i] = pthread_self();
    if (a->nap)
        nanosleep(&(struct timespec){0, a->nap}, NULL);
}

START_TEST(test_alone_as_long_as_nobody_sleeps)
{
    for (int slow = 0; slow < 2; slow++) {
        struct asked a = {.nap = slow ? 1000000 : 0};
        size_t own = 0;
        parallel_each(3, 400, ask, &a);
        for (size_t i = 0; i < 500; i++) {
            ck_assert_uint_eq(a.times[i], i >= 3 && i < 400);
            own += a.times[i] && pthread_equal(a.who[i], pthread_self());
        }
        if (slow)
            ck_assert_uint_eq(own, 1);
        else
            ck_assert_uint_ge(own, 1); /* a lock in the C library may make it sleep, seldom */
        parallel_each(7, 7, ask, &a);
        ck_assert_uint_eq(a.times[7], 1);
    }
    ck_assert_uint_ge(parallel_processors(), 1);
}
END_TEST

/* --- files ------------------------------------------------------------------------------------------------------ */

static char dir[64];
static struct built built;
static const size_t sizes[] = {5, 0, STREAM_CHUNK - 16, 1, STREAM_CHUNK + 1, 3 * STREAM_CHUNK, 100, 9 * STREAM_CHUNK + 3};
#define FILES (sizeof sizes / sizeof *sizes)

static char *name_of(const char *kind, size_t i)
{
    static char path[2][100];
    static int turn;

    turn = !turn;
    snprintf(path[turn], sizeof path[turn], "%s/%s%zu", dir, kind, i);
    return path[turn];
}

static uint8_t byte_of(size_t file, size_t at)
{
    return (uint8_t)(file * 31 + at % 251 + 1);
}

static void put_file(const char *path, size_t file, size_t size)
{
    const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    uint8_t *data = malloc(size + 1);

    for (size_t k = 0; k < size; k++)
        data[k] = byte_of(file, k);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, data, size), (ssize_t)size);
    close(fd);
    free(data);
}

/* As a manifest of these files would be built; one of them is open already. */
static void setup(void)
{
    strcpy(dir, "/tmp/dlcache-check.XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    built = (struct built){.sources = calloc(FILES, sizeof *built.sources), .source_count = FILES};
    for (size_t i = 0; i < FILES; i++) {
        struct stat st;
        put_file(name_of("from", i), i, sizes[i]);
        ck_assert_int_eq(stat(name_of("from", i), &st), 0);
        built.sources[i] = (struct image_source){
            .path = strdup(name_of("from", i)), .size = sizes[i], .file_size = sizes[i], .data = built.data_size,
            .fd = i == 5 ? open(name_of("from", i), O_RDONLY) : -1, .node = (uint32_t)i + 10, .ino = st.st_ino,
            .mtime = st.st_mtim.tv_sec, .mtime_ns = (uint32_t)st.st_mtim.tv_nsec, .ctime = st.st_ctim.tv_sec,
            .ctime_ns = (uint32_t)st.st_ctim.tv_nsec};
        built.data_size += ((sizes[i] ? sizes[i] : 1) + 7) & ~7ull;
    }
}

static void teardown(void)
{
    for (size_t i = 0; i < FILES; i++) {
        unlink(name_of("from", i));
        unlink(name_of("to", i));
    }
    rmdir(dir);
    built_free(&built);
}

static bool is_copied(size_t i)
{
    const int fd = open(name_of("to", i), O_RDONLY);
    uint8_t *data = malloc(sizes[i] + 1);
    struct stat st;
    bool same = fd >= 0 && fstat(fd, &st) == 0 && (size_t)st.st_size == sizes[i] && (st.st_mode & 0777) == 0444 &&
                read(fd, data, sizes[i] + 1) == (ssize_t)sizes[i];

    for (size_t k = 0; same && k < sizes[i]; k++)
        same = data[k] == byte_of(i, k);
    close(fd);
    free(data);
    return same;
}

static uint32_t full; /* the node whose file cannot be finished; 0: none */
static unsigned ended;

static int open_copy(void *arg, uint32_t node)
{
    char path[100];

    ck_assert_ptr_eq(arg, &full);
    snprintf(path, sizeof path, "%s/to%u", dir, node - 10);
    return open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
}

static int end_copy(void *arg, uint32_t node, int fd)
{
    ck_assert_ptr_eq(arg, &full);
    __atomic_fetch_add(&ended, 1, __ATOMIC_RELAXED);
    return node == full ? ENOSPC : fchmod(fd, 0444) != 0 ? errno : 0;
}

/* Changes a file so that it is not what was looked at. */
static void change(size_t i)
{
    const int fd = open(name_of("from", i), O_WRONLY);

    ck_assert_int_eq(pwrite(fd, "?", 1, 0), 1);
    ck_assert_int_eq(futimens(fd, NULL), 0);
    close(fd);
}

/* Takes all chunks and compares them; what could not be read comes as zeros. */
static void take(struct source *s, uint64_t chunk, size_t changed)
{
    struct chunk_digest *digest = chunk_digest_new();
    uint8_t *all = malloc(built.data_size), is[CHUNK_DIGEST];

    for (uint64_t n = 0; n * chunk < built.data_size; n++) {
        const uint64_t bytes = chunk_bytes(built.data_size, chunk, n);
        const uint8_t *p = source_next(s);
        chunk_digest_begin(digest);
        chunk_digest_add(digest, p, bytes);
        chunk_digest_end(digest, is);
        ck_assert_mem_eq(p + bytes, is, CHUNK_DIGEST);
        memcpy(all + n * chunk, p, bytes);
        source_release(s);
    }
    chunk_digest_free(digest);
    for (size_t i = 0; i < FILES; i++) {
        const uint64_t end = i + 1 < FILES ? built.sources[i + 1].data : built.data_size;
        size_t wrong = 0;
        for (uint64_t k = 0; built.sources[i].data + k < end; k++)
            wrong += all[built.sources[i].data + k] != (k < sizes[i] && i != changed ? byte_of(i, k) : 0);
        ck_assert_msg(wrong == 0, "file %zu: %zu bytes are wrong", i, wrong);
    }
    free(all);
}

START_TEST(test_source)
{
    const uint64_t chunk = _i % 2 ? STREAM_CHUNK : IMAGE_CHUNK;
    const bool copied = _i / 2;
    const struct source_copy copy = {open_copy, end_copy, &full};
    uint32_t *bad, node;
    size_t count;
    char *error;

    ended = full = 0;
    struct source *s = source_start(&built, chunk, copied ? &copy : NULL, NULL);
    ck_assert_ptr_nonnull(s);
    take(s, chunk, FILES);
    ck_assert_int_eq(source_failed(s, &node), 0);
    ck_assert_int_eq(source_finish(s, &bad, &count, &error), 0);
    ck_assert_uint_eq(count, 0);
    free(bad);
    for (size_t i = 0; i < FILES; i++)
        ck_assert_int_eq(is_copied(i), copied);
    ck_assert_uint_eq(ended, copied ? FILES : 0);
}
END_TEST

START_TEST(test_source_that_changed)
{
    const struct source_copy copy = {open_copy, end_copy, &full};
    uint32_t *bad, node;
    size_t count;
    char *error;

    ended = full = 0;
    change((size_t)_i);
    struct source *s = source_start(&built, STREAM_CHUNK, &copy, NULL);
    take(s, STREAM_CHUNK, (size_t)_i);
    ck_assert_int_eq(source_failed(s, &node), 0);
    ck_assert_int_eq(source_finish(s, &bad, &count, &error), 0);
    ck_assert_uint_eq(count, 1);
    ck_assert_uint_eq(bad[0], (uint32_t)_i + 10);
    ck_assert_uint_eq(ended, FILES - 1);
    free(bad);
}
END_TEST

/* What cannot be written is told; the chunks come all the same, for the others. */
START_TEST(test_source_that_cannot_be_written)
{
    const struct source_copy copy = {open_copy, end_copy, &full};
    uint32_t *bad, node = 0;
    size_t count;
    char *error;

    full = 12;
    struct source *s = source_start(&built, STREAM_CHUNK, &copy, NULL);
    take(s, STREAM_CHUNK, FILES);
    ck_assert_int_eq(source_failed(s, &node), ENOSPC);
    ck_assert_uint_eq(node, 12);
    ck_assert_int_eq(source_finish(s, &bad, &count, &error), 0);
    ck_assert_uint_eq(count, 0);
    free(bad);
}
END_TEST

START_TEST(test_source_ended_early)
{
    const struct source_copy copy = {open_copy, end_copy, &full};
    uint32_t *bad;
    size_t count;
    char *error;

    full = 0;
    struct source *s = source_start(&built, STREAM_CHUNK, &copy, NULL);
    source_next(s);
    ck_assert_int_eq(source_finish(s, &bad, &count, &error), 0);
    ck_assert_uint_eq(count, 0);
    free(bad);
}
END_TEST

/* --- in the kernel ---------------------------------------------------------------------------------------------- */

static uint64_t most_done;

static void idle(void *arg, uint64_t done)
{
    ck_assert_ptr_eq(arg, &most_done);
    ck_assert_uint_ge(done, most_done);
    most_done = done;
}

static int copy_all(uint32_t **bad, size_t *count, uint32_t *node)
{
    const struct copying from = {&built, idle, &most_done};
    struct copier *c = copier_start(&from, end_copy, &full);

    ended = 0;
    most_done = 0;
    ck_assert_ptr_nonnull(c);
    for (size_t i = FILES; i-- > 0;)
        copier_put(c, (uint32_t)i + 10, built.sources[i].data, open_copy(&full, (uint32_t)i + 10));
    const int error = copier_finish(c, bad, count, node);
    copier_free(c);
    return error;
}

START_TEST(test_copier)
{
    uint32_t *bad, node;
    size_t count;

    full = 0;
    ck_assert_int_eq(copy_all(&bad, &count, &node), 0);
    ck_assert_uint_eq(count, 0);
    free(bad);
    for (size_t i = 0; i < FILES; i++)
        ck_assert(is_copied(i));
    ck_assert_uint_eq(ended, FILES);
}
END_TEST

START_TEST(test_copier_of_what_changed)
{
    uint32_t *bad, node;
    size_t count;

    full = 0;
    change((size_t)_i);
    ck_assert_int_eq(copy_all(&bad, &count, &node), 0);
    ck_assert_uint_eq(count, 1);
    ck_assert_uint_eq(bad[0], (uint32_t)_i + 10);
    ck_assert_uint_eq(ended, FILES - 1);
    free(bad);
}
END_TEST

START_TEST(test_copier_that_cannot_write)
{
    uint32_t *bad, node = 0;
    size_t count;

    full = 14;
    ck_assert_int_eq(copy_all(&bad, &count, &node), ENOSPC);
    ck_assert_uint_eq(node, 14);
    ck_assert_uint_eq(count, 0);
    free(bad);
}
END_TEST

/* What is no file, of one part and of several: found out by hand. */
START_TEST(test_copier_that_may_not_write)
{
    const size_t file = _i ? 7 : 3;
    const struct copying from = {&built, idle, &most_done};
    struct copier *c = copier_start(&from, end_copy, &full);
    uint32_t *bad, node = 0;
    size_t count;
    int ends[2];

    full = 0;
    most_done = 0;
    ck_assert_int_eq(pipe(ends), 0);
    copier_put(c, (uint32_t)file + 10, built.sources[file].data, ends[_i]);
    ck_assert_int_eq(copier_finish(c, &bad, &count, &node), ESPIPE);
    ck_assert_uint_eq(node, file + 10);
    ck_assert_uint_eq(count, 0);
    copier_free(c);
    close(ends[!_i]);
    free(bad);
}
END_TEST

START_TEST(test_copier_ended_early)
{
    const struct copying from = {&built, idle, &most_done};
    struct copier *c = copier_start(&from, end_copy, &full);

    full = 0;
    most_done = 0;
    copier_put(c, 17, built.sources[7].data, open_copy(&full, 17));
    copier_free(c);
    copier_free(NULL);
}
END_TEST

/* --- ranks ------------------------------------------------------------------------------------------------------ */

static const struct {
    const char *env[4];
    bool alone, first;
} launched[] = {
    {{"A=1"}, false, false},
    {{"PMI_RANK=0", "PMI_SIZE=1", "PMI_FD=5"}, true, true},
    {{"PMI_RANK=0", "PMI_SIZE=2"}, false, true},
    {{"PMI_RANK=1", "PMI_SIZE=2"}, false, false},
    {{"PMI_RANK=10", "PMI_SIZE=11"}, false, false},
    {{"PMI_SIZE=1", "OMPI_COMM_WORLD_SIZE=4", "OMPI_COMM_WORLD_RANK=0"}, false, true},
    {{"PMI_SIZE=4", "SLURM_STEP_NUM_TASKS=1"}, false, false},
    {{"SLURM_STEP_NUM_TASKS=1", "SLURM_PROCID=0"}, true, false},
    {{"SLURM_STEP_NUM_TASKS=1", "PMIX_RANK=0"}, false, true},
    {{"OMPI_COMM_WORLD_SIZE=1", "PMIX_RANK=0"}, true, true},
    {{"PMI_SIZE="}, false, false},
    {{"FLUX_JOB_SIZE=1", "FLUX_TASK_RANK=0"}, true, false},
    {{"FLUX_JOB_SIZE=4", "PMI_SIZE=4", "PMI_RANK=0"}, false, true},
    {{"FLUX_JOB_SIZE=1", "PMI_SIZE=4", "PMI_RANK=0"}, false, true},
};

START_TEST(test_what_launchers_say)
{
    char *env[5];

    for (size_t i = 0; i < sizeof launched / sizeof *launched; i++) {
        memcpy(env, launched[i].env, sizeof launched[i].env);
        env[4] = NULL;
        ck_assert_msg(team_is_alone(env) == launched[i].alone, "alone: %zu", i);
        ck_assert_msg(team_seems_first(env) == launched[i].first, "first: %zu", i);
    }
}
END_TEST

Suite *suite_stage(void)
{
    Suite *s = suite_create("stage");
    TCase *c = tcase_create("facts"), *f = tcase_create("files");

    tcase_add_loop_test(c, test_digest, 0, sizeof parts / sizeof *parts);
    tcase_add_test(c, test_alone_as_long_as_nobody_sleeps);
    tcase_add_test(c, test_what_launchers_say);
    suite_add_tcase(s, c);
    tcase_add_checked_fixture(f, setup, teardown);
    tcase_add_loop_test(f, test_source, 0, 4);
    tcase_add_loop_test(f, test_source_that_changed, 0, FILES);
    tcase_add_test(f, test_source_that_cannot_be_written);
    tcase_add_test(f, test_source_ended_early);
    tcase_add_test(f, test_copier);
    tcase_add_loop_test(f, test_copier_of_what_changed, 0, FILES);
    tcase_add_test(f, test_copier_that_cannot_write);
    tcase_add_loop_test(f, test_copier_that_may_not_write, 0, 2);
    tcase_add_test(f, test_copier_ended_early);
    suite_add_tcase(s, f);
    return s;
}
