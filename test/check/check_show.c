/* What is summed up of a manifest, and how it stands in columns. */
#include <stdlib.h>
#include <string.h>

#include "facts/memory.h"
#include "manifests/bytecode.h"
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

static const struct {
    const char *bytes, *word;
} words[] = {
    {"/sw/a-b_c.d", "/sw/a-b_c.d"},
    {"", "''"},
    {"/a b", "'/a b'"},
    {"it's $HOME", "'it'\\''s $HOME'"},
    {"/é", "'/é'"},
    {"/\xff'\n", "$'/\\xff\\x27\\x0a'"},
};

START_TEST(words_of_a_shell)
{
    char *text;
    size_t n;
    FILE *f = memory_check(open_memstream(&text, &n));

    text_put_word(f, words[_i].bytes);
    fclose(f);
    ck_assert_str_eq(text, words[_i].word);
    free(text);
}
END_TEST

/* --- bytecode ---------------------------------------------------------------------------------------------------- */

static const struct {
    const char *path, *source;
} sources[] = {
    {"/a/__pycache__/m.cpython-311.pyc", "/a/m.py"},
    {"/a/__pycache__/m.cpython-311.opt-2.pyc", "/a/m.py"},
    {"/__pycache__/__init__.pypy39.pyc", "/__init__.py"},
    {"/a/__pycache__/m.pyc", NULL}, /* no tag */
    {"/a/__pycache__/m.cpython-311.py", NULL},
    {"/a/__pycache__/m", NULL},
    {"/a/__pycache__", NULL},
    {"/a/m.cpython-311.pyc", NULL},
};

START_TEST(source_of_bytecode)
{
    char *source = bytecode_source(sources[_i].path);

    if (sources[_i].source)
        ck_assert_str_eq(source, sources[_i].source);
    else
        ck_assert_ptr_null(source);
    free(source);
}
END_TEST

/* PEP 552: magic, flags, and time and size of the source, or a hash; little-endian. */
static const struct {
    uint8_t head[BYTECODE_HEAD];
    size_t len;
    int64_t mtime_s;
    uint64_t size;
    bool stale;
} heads[] = {
    {{0xa7, 13, 13, 10, 0, 0, 0, 0, 0x78, 0x56, 0x34, 0x92, 0x10, 1, 0, 0}, 16, 0x92345678, 0x110, false},
    {{0xa7, 13, 13, 10, 0, 0, 0, 0, 0x78, 0x56, 0x34, 0x92, 0x10, 1, 0, 0}, 16, 0x92345679, 0x110, true},
    {{0xa7, 13, 13, 10, 0, 0, 0, 0, 0x78, 0x56, 0x34, 0x92, 0x10, 1, 0, 0}, 16, 0x92345678, 0x111, true},
    /* 32 bits of each */
    {{0xa7, 13, 13, 10, 0, 0, 0, 0, 0x78, 0x56, 0x34, 0x92, 0x10, 1, 0, 0}, 16, 0x192345678, 0x100000110, false},
    {{0xa7, 13, 13, 10, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0}, 16, -1, 0, false},
    {{0xa7, 13, 13, 10, 1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8}, 16, 99, 99, false}, /* by a hash that nobody checks */
    {{0xa7, 13, 13, 10, 3, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8}, 16, 99, 99, false}, /* by one that is checked */
    {{0xa7, 13, 13, 10, 1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8}, 15, 99, 99, true},  /* cut off */
    {{0}, 0, 0, 0, true},
};

START_TEST(stale_bytecode)
{
    ck_assert_int_eq(bytecode_is_stale(heads[_i].head, heads[_i].len, heads[_i].mtime_s, heads[_i].size),
                     heads[_i].stale);
}
END_TEST

#define FILE_OF(path, kind) "{\"path\":\"" path "\",\"kind\":\"" kind "\",\"counts\":{\"open\":1}}"
#define LOOKED_AT(path, kind) "{\"path\":\"" path "\",\"kind\":\"" kind "\",\"counts\":{\"stat\":1}}"
#define STALE(path) "{\"path\":\"" path "\",\"kind\":\"bytecode\",\"stale\":true,\"counts\":{\"open\":1}}"
#define P "/sw/lib/python3.11/site-packages/"

START_TEST(modules_without_bytecode)
{
    struct manifest *m = from_text(HEAD "\"interpreter\":\"/sw/bin/python3.11\",\"entries\":["
        FILE_OF(P "a/__init__.py", "module") "," STALE(P "a/__pycache__/__init__.cpython-311.pyc") ","
        FILE_OF(P "a/sub/b.py", "module") "," FILE_OF(P "a/sub/__pycache__/b.cpython-311.pyc", "absent") ","
        FILE_OF(P "a/sub/__pycache__/b.cpython-312.pyc", "absent") ","       /* counts once */
        FILE_OF(P "good.py", "module") "," FILE_OF(P "__pycache__/good.cpython-311.pyc", "bytecode") ","
        FILE_OF(P "script.py", "module") ","                                  /* never looked for */
        FILE_OF(P "seen.py", "module") "," LOOKED_AT(P "__pycache__/seen.cpython-311.pyc", "absent") ","
        LOOKED_AT(P "unread.py", "module") "," STALE(P "__pycache__/unread.cpython-311.pyc") ","
        FILE_OF(P "z.py", "symlink") "," FILE_OF(P "__pycache__/z.cpython-311.opt-1.pyc", "absent") "]}");
    struct bytecode b;

    bytecode_of(m, &b);
    ck_assert_uint_eq(b.absent, 2);
    ck_assert_uint_eq(b.stale, 1);
    ck_assert_uint_eq(b.count, 2);
    char *first = bytecode_command(m, &b.places[0]), *second = bytecode_command(m, &b.places[1]);
    ck_assert_str_eq(first, "/sw/bin/python3.11 -m compileall -q -f " P "a");
    ck_assert_str_eq(second, "/sw/bin/python3.11 -m compileall -q -o 1 /sw/lib/python3.11/site-packages");
    free(first);
    free(second);
    free(m->interpreter);
    m->interpreter = memory_text("/bin/dash");
    first = bytecode_command(m, &b.places[0]);
    ck_assert_str_eq(first, "python3 -m compileall -q -f " P "a");
    free(first);
    bytecode_free(&b);
    manifest_free(m);
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
    tcase_add_loop_test(c, words_of_a_shell, 0, COUNT(words));
    tcase_add_loop_test(c, source_of_bytecode, 0, COUNT(sources));
    tcase_add_loop_test(c, stale_bytecode, 0, COUNT(heads));
    tcase_add_test(c, modules_without_bytecode);
    return suite;
}
