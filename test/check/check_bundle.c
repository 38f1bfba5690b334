/* A bundle's contents as a stream of chunks, and an archive that is not what it was when its names were read. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "libdlcache/format.h"
#include "replayer/image/bundle.h"
#include "replayer/image/source.h"
#include "test/check/suites.h"

#define BIG (IMAGE_CHUNK + 100)

static char dir[64], archive[96];
static struct built built;

static void sh(const char *command)
{
    char *line;

    ck_assert_int_gt(asprintf(&line, "cd '%s' && { %s; }", dir, command), 0);
    ck_assert_int_eq(system(line), 0);
    free(line);
}

static void setup(void)
{
    char *error = NULL;

    strcpy(dir, "/tmp/dlcache-check.XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(archive, sizeof archive, "%s/a.tar", dir);
    sh("printf one >1 && head -c 4194404 /dev/zero | tr '\\0' x >2 && printf three >3 && tar -cf a.tar 1 2 3");
    const struct bundle_place p = {.archive = archive, .at = "/nowhere/dlcache/bundle"};
    ck_assert_msg(bundle_build(&p, &built, &error) == 0, "%s", error);
}

static void teardown(void)
{
    sh("rm -f ./* && rmdir \"$PWD\"");
    built_free(&built);
}

/* Takes all chunks; what source_finish says. */
static int take(char *into, char **error)
{
    struct source *s = source_start(&built, IMAGE_CHUNK, NULL, NULL);
    struct chunk_digest *digest = chunk_digest_new();
    uint8_t is[CHUNK_DIGEST];
    uint32_t *bad;
    size_t count;

    ck_assert_ptr_nonnull(s);
    for (uint64_t n = 0; n * IMAGE_CHUNK < built.data_size; n++) {
        const uint64_t bytes = chunk_bytes(built.data_size, IMAGE_CHUNK, n);
        const char *chunk = source_next(s);
        chunk_digest_begin(digest);
        chunk_digest_add(digest, chunk, bytes);
        chunk_digest_end(digest, is);
        ck_assert_mem_eq(chunk + bytes, is, CHUNK_DIGEST);
        memcpy(into + n * IMAGE_CHUNK, chunk, bytes);
        source_release(s);
    }
    chunk_digest_free(digest);
    const int rc = source_finish(s, &bad, &count, error);
    ck_assert_uint_eq(count, 0);
    free(bad);
    return rc;
}

START_TEST(test_contents_in_the_order_of_the_archive)
{
    char *contents = calloc(1, built.data_size), *error;

    ck_assert_uint_eq(built.source_count, 3);
    ck_assert_uint_eq(built.data_size, 8 + ((BIG + 7) & ~7ull) + 8);
    ck_assert_msg(take(contents, &error) == 0, "%s", error);
    ck_assert_mem_eq(contents, "one\0\0\0\0\0xxx", 11);
    ck_assert_int_eq(contents[8 + BIG - 1], 'x');
    ck_assert_int_eq(contents[8 + BIG], 0);
    ck_assert_mem_eq(contents + built.sources[2].data, "three\0\0\0", 8);
    free(contents);
}
END_TEST

START_TEST(test_not_what_it_was)
{
    static const char *const changes[] = {
        "touch a.tar", "cp -p a.tar b.tar && mv b.tar a.tar", "truncate -s 4000000 a.tar", "rm a.tar",
        "printf four >3 && tar -cf a.tar 1 2 3", ": >a.tar",
    };
    char *contents = calloc(1, built.data_size), *error;

    sh(changes[_i]);
    ck_assert_int_eq(take(contents, &error), -1);
    ck_assert_ptr_nonnull(strstr(error, archive));
    ck_assert_ptr_nonnull(strstr(error, strncmp(changes[_i], "rm", 2) ? "it changed while it was read" : "No such file"));
    free(error);
    free(contents);
}
END_TEST

START_TEST(test_ended_early)
{
    struct source *s = source_start(&built, STREAM_CHUNK, NULL, NULL);
    char *error;
    uint32_t *bad;
    size_t count;

    ck_assert_int_eq(source_finish(s, &bad, &count, &error), 0);
    ck_assert_ptr_null(error);
    free(bad);
}
END_TEST

Suite *suite_bundle(void)
{
    Suite *s = suite_create("bundle");
    TCase *c = tcase_create("contents");

    tcase_add_checked_fixture(c, setup, teardown);
    tcase_add_test(c, test_contents_in_the_order_of_the_archive);
    tcase_add_loop_test(c, test_not_what_it_was, 0, 6);
    tcase_add_test(c, test_ended_early);
    suite_add_tcase(s, c);
    return s;
}
