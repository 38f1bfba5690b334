/* How manifests differ. */
#include <stdlib.h>
#include <string.h>

#include "facts/memory.h"
#include "manifests/diff.h"
#include "test/check/manifests.h"
#include "test/check/suites.h"

#define DIGEST_1 ",\"xxh3_128\":\"00000000000000000000000000000001\""
#define DIGEST_2 ",\"xxh3_128\":\"00000000000000000000000000000002\""
#define STAT(size, mtime, mode) ",\"size\":" #size ",\"mtime_ns\":" #mtime ",\"mode\":" #mode
#define NOTHING (-1)

static const struct {
    const char *a, *b; /* what stands behind the path; NULL: no such entry */
    int cause;
    const char *text;  /* in the print, behind the path */
} causes[] = {
    {"\"data\"", "\"data\"", NOTHING, NULL},
    {"\"data\"" STAT(1, 1, 33188) DIGEST_1, "\"data\"" STAT(1, 1, 33188) DIGEST_1, NOTHING, NULL},
    {"\"data\"" STAT(1, 1, 33188) DIGEST_1, "\"data\"" STAT(1, 1, 33188) DIGEST_2, DIFF_CONTENT, ""},
    {"\"data\"" STAT(1, 1, 33188), "\"data\"" STAT(2, 1, 33188), DIFF_CONTENT, " (1, 2 bytes)"},
    {"\"data\"" STAT(1, 1, 33188), "\"data\"" STAT(1, 2, 33188) DIGEST_1, DIFF_CONTENT, ""},
    {"\"data\"" DIGEST_1, "\"data\"" STAT(2, 1, 33188) DIGEST_2, DIFF_CONTENT, ""},
    {"\"data\"" STAT(1, 1, 33188) DIGEST_1, "\"data\"" STAT(1, 2, 33188) DIGEST_1, DIFF_TIME, ""},
    {"\"data\"" STAT(1, 1, 33188) DIGEST_1, "\"data\"" STAT(1, 1, 33261) DIGEST_1, DIFF_MODE, " (0644, 0755)"},
    {"\"directory\"" STAT(1, 1, 16877), "\"directory\"" STAT(1, 1, 16832), DIFF_MODE, " (0755, 0700)"},
    {"\"directory\"" STAT(1, 1, 16877), "\"directory\"" STAT(9, 9, 16877), NOTHING, NULL},
    {"\"directory\",\"volatile\":true", "\"directory\"", DIFF_VOLATILE, " (A)"},
    {"\"directory\"", "\"directory\",\"volatile\":true", DIFF_VOLATILE, " (B)"},
    {"\"data\"", "\"directory\"", DIFF_KIND, " (data; directory)"},
    {"\"directory\"", "\"symlink\",\"target\":\"\\u001b[2J\"", DIFF_KIND, " (directory; symlink to \\x1b[2J)"},
    {"\"symlink\",\"target\":\"x\"", "\"symlink\",\"target\":\"y\"", DIFF_KIND, " (symlink to x; symlink to y)"},
    {"\"symlink\",\"target\":\"x\"" STAT(1, 1, 41471), "\"symlink\",\"target\":\"x\"" STAT(1, 2, 40960),
     NOTHING, NULL},
    {"\"data\"", "\"executable\"", NOTHING, NULL}, /* one looked at it, the other ran it */
    {"\"data\"", "\"absent\"", DIFF_FOUND_A, ""},
    {"\"absent\"", "\"symlink\",\"target\":\"x\"", DIFF_FOUND_B, ""},
    {"\"absent\"", "\"absent\"", NOTHING, NULL},
    {"\"data\"", NULL, DIFF_ONLY_A, ""},
    {NULL, "\"data\"", DIFF_ONLY_B, ""},
    {NULL, "\"absent\"", DIFF_ONLY_B, " (looked for in vain)"},
    {"\"data\",\"counts\":{\"stat\":1},\"order\":1,\"first_ns\":5,\"processes\":1",
     "\"data\",\"counts\":{\"open\":7},\"order\":2,\"first_ns\":6,\"processes\":9", NOTHING, NULL},
};

static const char *const titles[DIFF_CAUSES] = {
    [DIFF_FOUND_A] = "found in A, absent in B",
    [DIFF_FOUND_B] = "absent in A, found in B",
    [DIFF_KIND] = "something else by the same name",
    [DIFF_CONTENT] = "contents changed",
    [DIFF_VOLATILE] = "written in by one of the two",
    [DIFF_ONLY_A] = "only in A",
    [DIFF_ONLY_B] = "only in B",
    [DIFF_TIME] = "modified at another time, contents the same",
    [DIFF_MODE] = "other permissions",
};

static struct manifest *with_entry(const char *rest)
{
    char text[800];

    if (rest)
        snprintf(text, sizeof text, HEAD "\"entries\":[{\"path\":\"/sw/f\",\"kind\":%s}]}", rest);
    return from_text(rest ? text : HEAD "\"entries\":[]}");
}

static char *printed(const struct diff *d, bool colours)
{
    char *text;
    size_t n;
    FILE *f = memory_check(open_memstream(&text, &n));

    diff_print(d, f, &(struct diff_style){.colours = colours, .top = 10});
    fclose(f);
    return text;
}

START_TEST(differences_by_cause)
{
    struct manifest *a = with_entry(causes[_i].a), *b = with_entry(causes[_i].b);
    char expected[400];
    struct diff d;

    diff_manifests(a, b, &d);
    ck_assert_uint_eq(d.head_count, 0);
    ck_assert_uint_eq(d.line_count, causes[_i].cause != NOTHING);
    char *text = printed(&d, false);
    if (d.line_count) {
        const char *name = diff_cause_names[causes[_i].cause];
        ck_assert_int_eq((int)d.lines[0].cause, causes[_i].cause);
        snprintf(expected, sizeof expected, "%s: 1\n  /sw\n    /sw/f%s\n", titles[causes[_i].cause],
                 causes[_i].text);
        ck_assert_str_eq(text, expected);
        json_t *json = diff_json(&d);
        ck_assert(json_is_false(json_object_get(json, "same")));
        json_t *line = json_array_get(json_object_get(json, "entries"), 0);
        ck_assert_str_eq(json_string_value(json_object_get(line, "cause")), name);
        ck_assert_str_eq(json_string_value(json_object_get(line, "path")), "/sw/f");
        ck_assert_str_eq(json_string_value(json_object_get(line, "package")), "/sw");
        json_decref(json);
    } else {
        ck_assert_str_eq(text, "");
    }
    free(text);
    diff_free(&d);
    manifest_free(a);
    manifest_free(b);
}
END_TEST

#define MEMBERS(policy, more) \
    "{\"format\":\"dlcache-manifest\",\"version\":1,\"command\":[],\"policy\":{" policy "}" more ",\"entries\":[]}"

#define PLAIN(more) MEMBERS("\"prefixes\":[]", more)

static const struct {
    const char *a, *b;
    const char *name, *text_a, *text_b; /* NULL name: the same */
} heads[] = {
    {PLAIN(",\"cwd\":\"/a\",\"host\":\"a\",\"recorded\":\"1\",\"processes\":1,\"exit_status\":0"),
     PLAIN(",\"cwd\":\"/b\",\"host\":\"b\",\"recorded\":\"2\",\"processes\":2,\"exit_status\":1"),
     NULL, NULL, NULL},
    {PLAIN(",\"interpreter\":\"/a\""), PLAIN(",\"interpreter\":\"/b\""),
     "interpreter", "/a", "/b"},
    {PLAIN(""), PLAIN(",\"interpreter\":\"/b\""), "interpreter", NULL, "/b"},
    {PLAIN(",\"search\":[{\"name\":\"PATH\",\"value\":\"/a\"}]"),
     PLAIN(",\"search\":[{\"name\":\"PATH\",\"value\":\"\"}]"), "PATH", "/a", ""},
    {PLAIN(",\"search\":[{\"name\":\"PATH\",\"value\":\"/a\"}]"), PLAIN(""),
     "PATH", "/a", NULL},
    {PLAIN(""), PLAIN(",\"search\":[{\"name\":\"PATH\",\"value\":\"/a\"}]"),
     "PATH", NULL, "/a"},
    {MEMBERS("\"prefixes\":[],\"all\":true", ""), PLAIN(""), "policy: all", "true", "false"},
    {MEMBERS("\"prefixes\":[],\"include\":[\"/a /b\"]", ""),
     MEMBERS("\"prefixes\":[],\"include\":[\"/a\",\"/b\"]", ""),
     "policy: include", "'/a /b'", "'/a' '/b'"},
    {MEMBERS("\"prefixes\":[],\"exclude\":[\"/it's\"]", ""), PLAIN(""), "policy: exclude",
     "'/it'\\''s'", NULL},
    {PLAIN(",\"mounts\":[{\"point\":\"/sw\",\"type\":\"nfs4\",\"source\":\"s:/a\",\"root\":\"/\"}]"),
     PLAIN(",\"mounts\":[{\"point\":\"/sw\",\"type\":\"nfs4\",\"source\":\"s:/b\",\"root\":\"/\"}]"), "mount: /sw",
     "nfs4 s:/a /", "nfs4 s:/b /"},
    {MEMBERS("\"prefixes\":[\"/a\"]", ""), MEMBERS("\"prefixes\":[\"/b\"]", ""), "policy: prefixes", "'/a'", "'/b'"},
};

START_TEST(differences_of_the_head)
{
    struct manifest *a = from_text(heads[_i].a), *b = from_text(heads[_i].b);
    char expected[400];
    struct diff d;

    diff_manifests(a, b, &d);
    ck_assert_uint_eq(d.line_count, 0);
    ck_assert_uint_eq(d.head_count, heads[_i].name != NULL);
    if (heads[_i].name) {
        ck_assert_str_eq(d.heads[0].name, heads[_i].name);
        ck_assert_pstr_eq(d.heads[0].a, heads[_i].text_a);
        ck_assert_pstr_eq(d.heads[0].b, heads[_i].text_b);
        char *text = printed(&d, false);
        const char *a_text = heads[_i].text_a, *b_text = heads[_i].text_b;
        snprintf(expected, sizeof expected, "%s\n  A: %s\n  B: %s\n", heads[_i].name,
                 a_text ? a_text : "(not set)", b_text ? b_text : "(not set)");
        ck_assert_str_eq(text, expected);
        free(text);
        text = printed(&d, true);
        ck_assert_ptr_nonnull(strstr(text, "\033[31mA: "));
        ck_assert_ptr_nonnull(strstr(text, "\033[32mB: "));
        free(text);
    }
    diff_free(&d);
    manifest_free(a);
    manifest_free(b);
}
END_TEST

Suite *suite_diff(void)
{
    Suite *suite = suite_create("diff");
    TCase *c = manifests_case(suite, "diff");

    tcase_add_loop_test(c, differences_by_cause, 0, COUNT(causes));
    tcase_add_loop_test(c, differences_of_the_head, 0, COUNT(heads));
    return suite;
}
