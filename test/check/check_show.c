/* What is summed up of a manifest, and how it stands in columns. */
#include <stdlib.h>
#include <string.h>

#include "facts/memory.h"
#include "manifests/package.h"
#include "manifests/show.h"
#include "manifests/text.h"
#include "test/check/manifests.h"
#include "test/check/suites.h"

static const struct {
    const char *path, *package;
} packages[] = {
    {"/sw/lib/python3.11/site-packages/numpy/core/a.py", "numpy"},
    {"/sw/lib/python3.11/site-packages/six.py", "six"},
    {"/usr/lib/python3/dist-packages/scipy/x.so", "scipy"},
    {"/usr/lib/python3.11/lib-dynload/_json.cpython-311-x86_64-linux-gnu.so", "_json"},
    {"/usr/lib/python3.11/json/decoder.py", "json"},
    {"/usr/lib/python3.11/os.py", "os"},
    {"/usr/lib/python3.11/__pycache__/os.cpython-311.pyc", "os"},
    {"/usr/lib/python3.11/__pycache__", "__pycache__"},
    {"/usr/lib/python3.11/__pycache__/", "__pycache__"},
    {"/usr/lib/python3.11/json/__pycache__/decoder.cpython-311.pyc", "json"},
    {"/usr/lib/python3.11/LICENSE.txt", "LICENSE.txt"},
    {"/usr/lib/python3.11/.py", ".py"},
    {"/sw/site-packages/a.so.1", "a.so.1"},
    {"/sw/site-packages/numpy-1.24.2.dist-info/x.py", "numpy-1.24.2.dist-info"},
    {"/usr/lib/python3.11", "/usr/lib"},
    {"/usr/lib/python3.11/", "/usr/lib/python3.11"},
    {"/usr/lib/python3.11/site-packages", "site-packages"},
    {"/usr/lib/python3.x/a/b", "/usr/lib/python3.x/a"},
    {"/opt/my-site-packages/a/b", "/opt/my-site-packages/a"},
    {"/opt/site-packages.old/a", "/opt/site-packages.old"},
    {"/usr/lib/libc.so.6", "/usr/lib"},
    {"/f", "/"},
    {"/", "/"},
};

START_TEST(packages_of_paths)
{
    size_t n;
    const char *p = manifest_package(packages[_i].path, &n);
    char *name = memory_bytes(p, n);

    ck_assert(p >= packages[_i].path && p + n <= packages[_i].path + strlen(packages[_i].path));
    ck_assert_str_eq(name, packages[_i].package);
    free(name);
}
END_TEST

static json_int_t at(const json_t *root, const char *a, const char *b)
{
    return json_integer_value(json_object_get(json_object_get(root, a), b));
}

START_TEST(totals_for_programs)
{
    struct manifest *m = from_text(
        HEAD "\"processes\":3,\"entries\":["
        "{\"path\":\"/sw/site-packages/p/a.py\",\"kind\":\"module\",\"size\":10,\"mtime_ns\":1,\"mode\":33188,"
        "\"counts\":{\"stat\":2,\"open\":1}},"
        "{\"path\":\"/sw/site-packages/p/b.so\",\"kind\":\"shared-object\",\"size\":1000,\"mtime_ns\":1,"
        "\"mode\":33188,"
        "\"counts\":{\"load\":4}},"
        "{\"path\":\"/sw/site-packages/q\",\"kind\":\"directory\",\"size\":4096,\"mtime_ns\":1,\"mode\":16877,"
        "\"counts\":{\"list\":1}},"
        "{\"path_escaped\":\"/sw/\\\\xff/gone\",\"kind\":\"absent\","
        "\"counts\":{\"stat\":5,\"exec\":6,\"write\":7}}]}");
    json_t *root = manifest_show_json(m);

    ck_assert_int_eq(json_integer_value(json_object_get(root, "entries")), 4);
    ck_assert_int_eq(json_integer_value(json_object_get(root, "bytes")), 1010);
    ck_assert_int_eq(json_integer_value(json_object_get(root, "processes")), 3);
    ck_assert_int_eq(at(json_object_get(root, "kinds"), "module", "entries"), 1);
    ck_assert_int_eq(at(json_object_get(root, "kinds"), "shared-object", "bytes"), 1000);
    ck_assert_int_eq(at(json_object_get(root, "kinds"), "directory", "bytes"), 0);
    ck_assert_int_eq(at(json_object_get(root, "kinds"), "absent", "entries"), 1);
    ck_assert_int_eq(at(root, "calls", "stat"), 7);
    ck_assert_int_eq(at(root, "calls", "open"), 1);
    ck_assert_int_eq(at(root, "calls", "list"), 1);
    ck_assert_int_eq(at(root, "calls", "load"), 4);
    ck_assert_int_eq(at(root, "calls", "exec"), 6);
    ck_assert_int_eq(at(root, "calls", "write"), 7);
    const json_t *package = json_array_get(json_object_get(root, "packages"), 0);
    ck_assert_str_eq(json_string_value(json_object_get(package, "name")), "p");
    ck_assert_int_eq(json_integer_value(json_object_get(package, "entries")), 2);
    ck_assert_int_eq(json_integer_value(json_object_get(package, "bytes")), 1010);
    ck_assert_int_eq(json_integer_value(json_object_get(package, "calls")), 7);
    const json_t *missed = json_array_get(json_object_get(root, "missed"), 0);
    ck_assert_str_eq(json_string_value(json_object_get(missed, "name_escaped")), "/sw/\\xff");
    ck_assert_int_eq(json_integer_value(json_object_get(missed, "calls")), 18);
    const json_t *biggest = json_object_get(root, "biggest");
    ck_assert_uint_eq(json_array_size(biggest), 2);
    const json_t *first = json_array_get(biggest, 0);
    ck_assert_str_eq(json_string_value(json_object_get(first, "path")), "/sw/site-packages/p/b.so");
    json_decref(root);
    manifest_free(m);
}
END_TEST

START_TEST(absurd_sums_do_not_wrap)
{
    struct manifest *m = manifest_new();

    for (int i = 0; i < 3; i++) {
        char path[8];
        snprintf(path, sizeof path, "/%d", i);
        struct manifest_entry *e = manifest_add(m, path, MANIFEST_DATA);
        e->has_stat = true;
        e->size = INT64_MAX;
        e->counts.stat = e->counts.open = INT64_MAX;
    }
    json_t *root = manifest_show_json(m);
    ck_assert_uint_eq(manifest_bytes(m), INT64_MAX);
    ck_assert_int_eq(json_integer_value(json_object_get(root, "bytes")), INT64_MAX);
    ck_assert_int_eq(at(root, "calls", "stat"), INT64_MAX);
    const json_t *package = json_array_get(json_object_get(root, "packages"), 0);
    ck_assert_int_eq(json_integer_value(json_object_get(package, "bytes")), INT64_MAX);
    ck_assert_int_eq(json_integer_value(json_object_get(package, "calls")), INT64_MAX);
    json_decref(root);
    manifest_free(m);
}
END_TEST

static const struct {
    const char *bytes;
    size_t width;
    enum text_cut cut;
    const char *put;
    size_t used;
} puts_of[] = {
    {"abc", 3, TEXT_CUT_BEGIN, "abc", 3},
    {"abcd", 3, TEXT_CUT_BEGIN, "…cd", 3},
    {"abcd", 3, TEXT_CUT_END, "ab…", 3},
    {"", 3, TEXT_CUT_END, "", 0},
    {"a\xff""b", 6, TEXT_CUT_BEGIN, "a\\xffb", 6},
    {"\033[1m\n", 80, TEXT_CUT_BEGIN, "\\x1b[1m\\x0a", 11},
    {"\xc2\x9b", 80, TEXT_CUT_BEGIN, "\\xc2\\x9b", 8}, /* a control character too: CSI */
    {"ééééé", 4, TEXT_CUT_BEGIN, "…ééé", 4},
    {"漢字漢字", 8, TEXT_CUT_BEGIN, "漢字漢字", 8},
    {"漢字漢字", 6, TEXT_CUT_BEGIN, "…漢字", 5},
    {"漢字漢字", 6, TEXT_CUT_END, "漢字…", 5},
};

START_TEST(texts_fit_their_columns)
{
    char *text;
    size_t n;
    FILE *f = memory_check(open_memstream(&text, &n));

    ck_assert_uint_eq(text_put(f, puts_of[_i].bytes, puts_of[_i].width, puts_of[_i].cut), puts_of[_i].used);
    fclose(f);
    ck_assert_str_eq(text, puts_of[_i].put);
    free(text);
}
END_TEST

Suite *suite_show(void)
{
    Suite *suite = suite_create("show");
    TCase *c = manifests_case(suite, "show");

    tcase_add_loop_test(c, packages_of_paths, 0, COUNT(packages));
    tcase_add_test(c, totals_for_programs);
    tcase_add_test(c, absurd_sums_do_not_wrap);
    tcase_add_loop_test(c, texts_fit_their_columns, 0, COUNT(puts_of));
    return suite;
}
