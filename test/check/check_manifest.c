/* Manifests: what is loaded is what was saved, whatever the paths; a save changes all or nothing. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "facts/memory.h"
#include "test/check/manifests.h"
#include "test/check/suites.h"

/* --- there and back --------------------------------------------------------------------------------------------- */

START_TEST(saved_loaded_and_saved_is_the_same_bytes)
{
    size_t n, k;
    struct manifest *m = full();

    save(m, file);
    manifest_free(m);
    m = load(file);
    save(m, other);
    char *a = read_bytes(file, &n), *b = read_bytes(other, &k);
    ck_assert_uint_eq(n, k);
    ck_assert_mem_eq(a, b, n);
    free(a);
    free(b);
    manifest_free(m);
}
END_TEST

START_TEST(every_member_is_kept)
{
    struct manifest *m = full();

    save(m, file);
    manifest_free(m);
    m = load(file);
    ck_assert_int_eq(m->version, 1);
    ck_assert_uint_eq(m->command_count, 3);
    ck_assert_str_eq(m->command[2], "print('\xff')");
    ck_assert_str_eq(m->cwd, "/home/\xe9t\xe9");
    ck_assert_str_eq(m->host, "login1");
    ck_assert_str_eq(m->recorded, "2024-05-06T07:08:09Z");
    ck_assert_str_eq(m->interpreter, "/sw/bin/python3.11");
    ck_assert_uint_eq(m->processes, 4000000000u);
    ck_assert_uint_eq(m->ranks, 4000000001u);
    ck_assert_uint_eq(m->host_count, 2);
    ck_assert_str_eq(m->hosts[1], "n\xff");
    ck_assert_int_eq(m->exit_status, 137);
    ck_assert_uint_eq(m->search_count, 1);
    ck_assert_str_eq(m->search[0].name, "PYTHONPATH");
    ck_assert_str_eq(m->search[0].value, "/a:/b\xff");
    ck_assert_uint_eq(m->mount_count, 1);
    ck_assert_str_eq(m->mounts[0].source, "srv:/sw");
    ck_assert(m->policy.all);
    ck_assert_uint_eq(m->policy.exclude_count, 2);
    ck_assert_str_eq(m->policy.exclude[1], "/sw/\xfe");
    ck_assert_uint_eq(m->entry_count, 4);
    ck_assert_str_eq(m->entries[0].path, "/sw/__pycache__/m.cpython-311.pyc");
    ck_assert(m->entries[0].is_stale && m->entries[0].kind == MANIFEST_BYTECODE);
    ck_assert_str_eq(m->entries[1].path, "/sw/a");
    ck_assert_str_eq(m->entries[1].target, "lib/\xff");
    ck_assert(m->entries[2].is_volatile && !m->entries[2].has_stat && !m->entries[2].has_digest);
    const struct manifest_entry *e = manifest_find(m, "/sw/lib/libz.so.1");
    ck_assert_ptr_eq(e, &m->entries[3]);
    ck_assert_uint_eq(e->size, INT64_MAX);
    ck_assert_int_eq(e->mtime_ns, INT64_MIN);
    ck_assert_uint_eq(e->mode, S_IFREG | 04755);
    ck_assert_uint_eq(e->digest[0], 0xf0);
    ck_assert_uint_eq(e->digest[15], 0x0f);
    ck_assert_uint_eq(e->needed_count, 2);
    ck_assert_str_eq(e->needed[1], "lib\xff.so");
    ck_assert_uint_eq(e->counts.exec, 5);
    ck_assert_uint_eq(e->counts.write, INT64_MAX);
    ck_assert_uint_eq(e->order, 7);
    ck_assert_uint_eq(e->first_ns, 123456789);
    ck_assert_uint_eq(e->processes, 3);
    ck_assert_uint_eq(e->ranks, 2);
    ck_assert_uint_eq(e->pilots, 2);
    ck_assert_uint_eq(m->pilot_count, 1);
    ck_assert_str_eq(m->pilots[0].id, "0123456789abcdef0123456789abcdef");
    ck_assert_uint_eq(m->pilots[0].command_count, 2);
    ck_assert_str_eq(m->pilots[0].command[1], "\xff");
    ck_assert_str_eq(m->pilots[0].host, "n\xff");
    ck_assert_str_eq(m->pilots[0].recorded, "2024-05-06T07:08:09Z");
    ck_assert_uint_eq(m->pilots[0].processes, 5);
    ck_assert_uint_eq(m->pilots[0].ranks, 4);
    ck_assert_int_eq(m->pilots[0].exit_status, 3);
    ck_assert_ptr_null(manifest_find(m, "/sw/lib/libz.so"));
    manifest_free(m);
}
END_TEST

/* Path; and how it must stand in the file. */
static const struct {
    const char *path, *text;
} hostile[] = {
    {"/a\nb", "{\"path\":\"/a\\nb\","},
    {"/a\"b'", "{\"path\":\"/a\\\"b'\","},
    {"/a\\b", "{\"path\":\"/a\\\\b\","},
    {"/a\tb\r\x01\x7f", "{\"path\":\"/a\\tb\\r\\u0001\x7f\","},
    {"/a\\xff", "{\"path\":\"/a\\\\xff\","},
    {"/a\xff", "{\"path_escaped\":\"/a\\\\xff\","},
    {"/a\\xff\xff", "{\"path_escaped\":\"/a\\\\\\\\xff\\\\xff\","},
    {"/a\n\xff\"", "{\"path_escaped\":\"/a\\n\\\\xff\\\"\","},
    {"/\xc3\xa9", "{\"path\":\"/\xc3\xa9\","},
    {"/\xc0\xaf", "{\"path_escaped\":\"/\\\\xc0\\\\xaf\","},         /* overlong slash */
    {"/\xe0\x80\xaf", "{\"path_escaped\":\"/\\\\xe0\\\\x80\\\\xaf\","},
    {"/\xed\xa0\x80", "{\"path_escaped\":\"/\\\\xed\\\\xa0\\\\x80\","}, /* a surrogate */
    {"/\xf4\x90\x80\x80", "{\"path_escaped\":\"/\\\\xf4\\\\x90\\\\x80\\\\x80\","}, /* beyond Unicode */
    {"/\xf0\x9f\x98\x80", "{\"path\":\"/\xf0\x9f\x98\x80\","},
    {"/\xe2\x82", "{\"path_escaped\":\"/\\\\xe2\\\\x82\","},         /* cut short */
    {"/\xef\xbf\xbf", "{\"path\":\"/\xef\xbf\xbf\","},
};

START_TEST(hostile_paths_survive)
{
    struct manifest *m = manifest_new();
    struct manifest_entry *e = manifest_add(m, hostile[_i].path, MANIFEST_SYMLINK);
    size_t n, k;

    e->target = memory_text(hostile[_i].path + 1);
    save(m, file);
    manifest_free(m);
    char *a = read_bytes(file, &n);
    ck_assert_msg(strstr(a, hostile[_i].text) != NULL, "%s is not in %s", hostile[_i].text, a);
    m = load(file);
    ck_assert_uint_eq(m->entry_count, 1);
    ck_assert_str_eq(m->entries[0].path, hostile[_i].path);
    ck_assert_str_eq(m->entries[0].target, hostile[_i].path + 1);
    save(m, other);
    char *b = read_bytes(other, &k);
    ck_assert_str_eq(a, b);
    free(a);
    free(b);
    manifest_free(m);
}
END_TEST

START_TEST(every_byte_survives)
{
    struct manifest *m = manifest_new();
    char path[8], *why_not = NULL;

    for (int a = 1; a < 256; a++) {
        snprintf(path, sizeof path, "/%c%c", a, 256 - a);
        manifest_add(m, path, MANIFEST_DATA);
    }
    save(m, file);
    struct manifest *back = manifest_load(file, &why_not);
    ck_assert_msg(back != NULL, "%s", why_not);
    ck_assert_uint_eq(back->entry_count, 255);
    for (size_t i = 0; i < 255; i++)
        ck_assert_str_eq(back->entries[i].path, m->entries[i].path);
    manifest_free(m);
    manifest_free(back);
}
END_TEST


START_TEST(kinds_by_their_names)
{
    char text[400];

    snprintf(text, sizeof text, HEAD "\"entries\":[{\"path\":\"/a\",\"kind\":\"%s\"}]}", manifest_kind_names[_i]);
    struct manifest *m = from_text(text);
    ck_assert_int_eq(m->entries[0].kind, _i);
    manifest_free(m);
}
END_TEST

START_TEST(any_json_will_do)
{
    /* Entries before the head, in one line, unsorted, the key written with an escape; members that are not known. */
    struct manifest *m = from_text("\n {\"entries\" : [ {\"kind\":\"data\",\"path\":\"/\\u0062\"} , "
                                   "{\"path\":\"/a\",\"kind\":\"absent\",\"new\":[{}]} ] ,\"x\":{\"entries\":[1]},"
                                   "\"format\":\"dlcache-manifest\",\"version\":1,\"command\":[],"
                                   "\"policy\":{\"prefixes\":[]}}");
    ck_assert_uint_eq(m->entry_count, 2);
    ck_assert_str_eq(m->entries[0].path, "/a");
    ck_assert_str_eq(m->entries[1].path, "/b");
    manifest_free(m);
    m = from_text(HEAD "\"entr\\u0069es\":[{\"path\":\"/a\",\"kind\":\"data\"}]}");
    ck_assert_uint_eq(m->entry_count, 1);
    manifest_free(m);
    m = from_text(HEAD "\"entries\":[]}");
    ck_assert_uint_eq(m->entry_count, 0);
    manifest_free(m);
}
END_TEST

/* --- all or nothing --------------------------------------------------------------------------------------------- */

START_TEST(a_save_that_fails_leaves_the_old_file)
{
    struct manifest *m = full();
    char expected[400], *error = NULL;
    size_t n;

    for (int i = 0; i < 1000; i++) {
        char path[40];
        snprintf(path, sizeof path, "/sw/many/%d", i);
        manifest_add(m, path, MANIFEST_ABSENT);
    }
    write_bytes(file, "old", 3);
    /* Check runs each test in a process of its own. */
    signal(SIGXFSZ, SIG_IGN);
    const rlim_t sizes[] = {0, 1000, 4096, 40000};
    for (size_t i = 0; i < COUNT(sizes); i++) {
        struct rlimit was, limit;
        ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &was), 0);
        limit = (struct rlimit){sizes[i], was.rlim_max};
        ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
        const int rc = manifest_save(m, file, &error);
        setrlimit(RLIMIT_FSIZE, &was);
        ck_assert_int_eq(rc, -1);
        snprintf(expected, sizeof expected, "%s: File too large", file);
        ck_assert_str_eq(error, expected);
        free(error);
        error = NULL;
        char *text = read_bytes(file, &n);
        ck_assert_str_eq(text, "old");
        free(text);
    }
    /* teardown's rmdir finds out whether a temporary file is left */
    manifest_free(m);
}
END_TEST

START_TEST(a_full_device)
{
    struct manifest *m = full();
    char *error = NULL;

    ck_assert_int_eq(manifest_save(m, "/dev/full", &error), -1);
    ck_assert_str_eq(error, "/dev/full: No space left on device");
    free(error);
    manifest_free(m);
}
END_TEST

START_TEST(where_nothing_can_be_written)
{
    struct manifest *m = full();
    char path[120], expected[400];
    const char *const names[][2] = {{"no/m.json", "No such file or directory"}, {".", "Is a directory"}};

    for (size_t i = 0; i < COUNT(names); i++) {
        char *error = NULL;
        snprintf(path, sizeof path, "%s/%s", place, names[i][0]);
        snprintf(expected, sizeof expected, "%s: %s", path, names[i][1]);
        ck_assert_int_eq(manifest_may_save(path, &error), -1);
        ck_assert_str_eq(error, expected);
        free(error);
        error = NULL;
        ck_assert_int_eq(manifest_save(m, path, &error), -1);
        ck_assert_str_eq(error, expected);
        free(error);
    }
    /* An unwritable directory; root may write everywhere. */
    char *error = NULL;
    chmod(place, 0500);
    if (geteuid() == 0)
        ck_assert_int_eq(seteuid(65534), 0);
    snprintf(expected, sizeof expected, "%s: Permission denied", file);
    const int may = manifest_may_save(file, &error);
    char *error_2 = NULL;
    const int rc = manifest_save(m, file, &error_2);
    if (getuid() == 0)
        ck_assert_int_eq(seteuid(0), 0);
    ck_assert_int_eq(may, -1);
    ck_assert_str_eq(error, expected);
    ck_assert_int_eq(rc, -1);
    ck_assert_str_eq(error_2, expected);
    free(error);
    free(error_2);
    manifest_free(m);
}
END_TEST

START_TEST(modes_and_symlinks_are_kept)
{
    struct manifest *m = full();
    struct stat st;
    char *error = NULL;

    umask(027);
    ck_assert_int_eq(manifest_may_save(file, &error), 0);
    ck_assert_int_eq(access(file, F_OK), -1);
    save(m, file);
    ck_assert_int_eq(stat(file, &st), 0);
    ck_assert_uint_eq(st.st_mode & 07777, 0640);
    ck_assert_int_eq(chmod(file, 0600), 0);
    ck_assert_int_eq(symlink(file, other), 0);
    manifest_add(m, "/new", MANIFEST_ABSENT);
    save(m, other);
    ck_assert_int_eq(lstat(other, &st), 0);
    ck_assert(S_ISLNK(st.st_mode));
    ck_assert_int_eq(lstat(file, &st), 0);
    ck_assert_uint_eq(st.st_mode, S_IFREG | 0600);
    struct manifest *back = load(file);
    ck_assert_uint_eq(back->entry_count, 5);
    manifest_free(back);
    manifest_free(m);
}
END_TEST

Suite *suite_manifest(void)
{
    Suite *suite = suite_create("manifest");
    TCase *c = manifests_case(suite, "manifest");

    tcase_add_test(c, saved_loaded_and_saved_is_the_same_bytes);
    tcase_add_test(c, every_member_is_kept);
    tcase_add_loop_test(c, hostile_paths_survive, 0, COUNT(hostile));
    tcase_add_test(c, every_byte_survives);
    tcase_add_loop_test(c, kinds_by_their_names, 0, MANIFEST_KINDS);
    tcase_add_test(c, any_json_will_do);
    tcase_add_test(c, a_save_that_fails_leaves_the_old_file);
    tcase_add_test(c, a_full_device);
    tcase_add_test(c, where_nothing_can_be_written);
    tcase_add_test(c, modes_and_symlinks_are_kept);
    return suite;
}
