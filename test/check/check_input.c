/* Manifests that are wrong: told with the line, refused, and no harm done. */
#include <stdlib.h>
#include <string.h>

#include "facts/memory.h"
#include "manifests/scan.h"
#include "test/check/manifests.h"
#include "test/check/suites.h"

#define TEXT(s) (s), sizeof(s) - 1
#define FORMAT "\"format\":\"dlcache-manifest\",\n"
#define SHORT "\"version\":1,\"command\":[],\"policy\":{\"prefixes\":[]},\"entries\":[]"

static const struct {
    const char *text;
    size_t size;
    unsigned line;
    const char *error;
} bad[] = {
    {TEXT(""), 1, "the file is empty"},
    {TEXT("\n\n"), 0, "not JSON: '[' or '{' expected near end of file"},
    {TEXT("\x7f""ELF"), 1, "not JSON: "},
    {TEXT("[]"), 1, "this is not a manifest: not an object"},
    {TEXT("3"), 1, "not JSON: "},
    {TEXT("{}"), 1, "this is not a manifest: \"format\" is not \"dlcache-manifest\""},
    {TEXT("{\n\"format\":\"x\"}"), 2, "this is not a manifest: \"format\" is not \"dlcache-manifest\""},
    {TEXT("{\n\"format\":1}"), 2, "this is not a manifest: \"format\""},
    {TEXT("{" FORMAT SHORT ",\n\"format\":\"dlcache-manifest\"}"), 3, "not JSON: duplicate object key"},
    {TEXT("{" FORMAT SHORT ",\n\"entries\":[]}"), 3, "not JSON: duplicate object key"},
    {TEXT("{" FORMAT SHORT "} x"), 2, "not JSON: end of file expected near 'x'"},
    /* the head, member by member */
    {TEXT("{" FORMAT "\"command\":[]}"), 1, "\"version\" is missing"},
    {TEXT("{" FORMAT "\"version\":\"1\"}"), 2, "\"version\" is not a whole number"},
    {TEXT("{" FORMAT "\"version\":1.0}"), 2, "\"version\" is not a whole number"},
    {TEXT("{" FORMAT "\"version\":0}"), 2, "\"version\" is 0, which cannot be"},
    {TEXT("{" FORMAT "\"version\":2}"), 2, "the manifest has version 2; this dlcache reads up to version 1"},
    {TEXT("{" FORMAT "\"version\":99999999999999999999}"), 2, "not JSON: too big integer"},
    {TEXT("{" FORMAT "\"version\":1}"), 1, "\"command\" is missing"},
    {TEXT("{" FORMAT "\"version\":1,\"command\":\"ls\"}"), 2, "\"command\" is not an array"},
    {TEXT("{" FORMAT "\"version\":1,\"command\":[\"a\",\n1]}"), 3, "element 2 of \"command\" is not a string"},
    {TEXT("{" FORMAT "\"version\":1,\"command\":[{}]}"), 2,
     "element 1 of \"command\" is neither a string nor {\"escaped\""},
    {TEXT("{" FORMAT "\"version\":1,\"command\":[{\"escaped\":2}]}"), 2, "element 1 of \"command\" is not a string"},
    {TEXT("{" FORMAT "\"cwd\":1,\n" SHORT "}"), 2, "\"cwd\" is not a string"},
    {TEXT("{" FORMAT SHORT ",\n\"cwd_escaped\":\"\\\\y\"}"), 3,
     "\"cwd_escaped\" holds an escape that is neither \\xHH nor \\\\"},
    {TEXT("{" FORMAT SHORT ",\"host\":[]}"), 2, "\"host\" is not a string"},
    {TEXT("{" FORMAT SHORT ",\"recorded\":0}"), 2, "\"recorded\" is not a string"},
    {TEXT("{" FORMAT SHORT ",\"interpreter\":false}"), 2, "\"interpreter\" is not a string"},
    {TEXT("{" FORMAT SHORT ",\"processes\":4294967296}"), 2, "\"processes\" is 4294967296, which cannot be"},
    {TEXT("{" FORMAT SHORT ",\"exit_status\":256}"), 2, "\"exit_status\" is 256, which cannot be"},
    {TEXT("{" FORMAT SHORT ",\"exit_status\":null}"), 2, "\"exit_status\" is not a whole number"},
    {TEXT("{" FORMAT SHORT ",\"search\":{}}"), 2, "\"search\" is not an array"},
    {TEXT("{" FORMAT SHORT ",\"search\":[\n1]}"), 3, "element 1 of \"search\" is not an object"},
    {TEXT("{" FORMAT SHORT ",\"search\":[{\"value\":\"\"}]}"), 2, "\"name\" is missing"},
    {TEXT("{" FORMAT SHORT ",\"search\":[{\"name\":\"A\",\n\"value\":2}]}"), 3, "\"value\" is not a string"},
    {TEXT("{" FORMAT SHORT ",\"mounts\":1}"), 2, "\"mounts\" is not an array"},
    {TEXT("{" FORMAT SHORT ",\"mounts\":[[]]}"), 2, "element 1 of \"mounts\" is not an object"},
    {TEXT("{" FORMAT SHORT ",\"mounts\":[{\"point\":\"/\",\"type\":\"a\",\"source\":\"b\"}]}"), 2,
     "\"root\" is missing"},
    {TEXT("{" FORMAT SHORT ",\"pilots\":{}}"), 2, "\"pilots\" is not an array"},
    {TEXT("{" FORMAT SHORT ",\"pilots\":[\n3]}"), 3, "element 1 of \"pilots\" is not an object"},
    {TEXT("{" FORMAT SHORT ",\"pilots\":[{}]}"), 2, "\"id\" is missing"},
    {TEXT("{" FORMAT SHORT ",\"pilots\":[{\n\"id\":\"x\"}]}"), 3, "\"id\" is not 32 lower-case hexadecimal digits"},
    {TEXT("{" FORMAT SHORT ",\"pilots\":[{\"id\":\"00000000000000000000000000000000\",\n\"processes\":-1}]}"), 3,
     "\"processes\" is -1, which cannot be"},
    {TEXT("{" FORMAT "\"version\":1,\"command\":[]}"), 1, "\"policy\" is missing"},
    {TEXT("{" FORMAT "\"version\":1,\"command\":[],\"policy\":[]}"), 2, "\"policy\" is not an object"},
    {TEXT("{" FORMAT "\"version\":1,\"command\":[],\n\"policy\":{}}"), 3, "\"prefixes\" is missing"},
    {TEXT("{" FORMAT "\"version\":1,\"command\":[],\"policy\":{\n\"all\":1}}"), 3,
     "\"all\" is neither true nor false"},
    {TEXT("{" FORMAT "\"version\":1,\"command\":[],\"policy\":{\"include\":1}}"), 2, "\"include\" is not an array"},
    {TEXT("{" FORMAT "\"version\":1,\"command\":[],\"policy\":{\"exclude\":[1]}}"), 2,
     "element 1 of \"exclude\" is not a string"},
    {TEXT("{" FORMAT "\"version\":1,\"command\":[],\"policy\":{\"prefixes\":[\"/\",\n\"sw\"]}}"), 3,
     "the prefix \"sw\" is not absolute"},
    {TEXT(HEAD "\"x\":1}"), 1, "\"entries\" is missing"},
    {TEXT(HEAD "\"entries\":{}}"), 2, "\"entries\" is not an array"},
    /* the entries: the second one is on line 4 */
    {TEXT(HEAD "\"entries\":[\n[]]}"), 3, "an entry is not an object"},
    {TEXT(HEAD "\"entries\":[\n7]}"), 3, "an entry is not an object"},
    {TEXT(ONE("")), 4, "\"path\" is missing"},
    {TEXT(ONE("\"kind\":\"data\"")), 4, "\"path\" is missing"},
    {TEXT(ONE("\"path\":3,\"kind\":\"data\"")), 4, "\"path\" is not a string"},
    {TEXT(ONE("\"path\":\"b\",\"kind\":\"data\"")), 4, "the path \"b\" is not absolute"},
    {TEXT(ONE("\"path\":\"\",\"kind\":\"data\"")), 4, "the path \"\" is not absolute"},
    {TEXT(ONE("\"path\":\"x\\u001b\\n\",\"kind\":\"data\"")), 4, "the path \"x\\x1b\\x0a\" is not absolute"},
    {TEXT(ONE("\"path\":\"/b\\u0000c\",\"kind\":\"data\"")), 4, "\"path\" holds a NUL"},
    {TEXT(ONE("\"path_escaped\":\"/b\\\\x00c\",\"kind\":\"data\"")), 4, "\"path_escaped\" holds a NUL"},
    {TEXT(ONE("\"path_escaped\":\"/b\\\\xf\",\"kind\":\"data\"")), 4,
     "\"path_escaped\" holds an escape that is neither"},
    {TEXT(ONE("\"path_escaped\":\"/b\\\\xgg\",\"kind\":\"data\"")), 4,
     "\"path_escaped\" holds an escape that is neither"},
    {TEXT(ONE("\"path_escaped\":\"/b\\\\\",\"kind\":\"data\"")), 4,
     "\"path_escaped\" holds an escape that is neither"},
    {TEXT(ONE("\"path\":\"/b\",\"path_escaped\":\"/c\",\"kind\":\"data\"")), 4,
     "\"path_escaped\" is there twice, plain and escaped"},
    {TEXT(ONE("\"path\":\"/b\"")), 4, "\"kind\" is missing"},
    {TEXT(ONE("\"path\":\"/b\",\"kind\":0")), 4, "\"kind\" is not a string"},
    {TEXT(ONE("\"path\":\"/b\",\"kind\":\"Data\"")), 4, "\"kind\" is none that is known"},
    {TEXT(ONE("\"path\":\"/a\",\"kind\":\"data\"")), 4, "two entries have the same path"},
    {TEXT(ONE("\"path_escaped\":\"/\\\\x61\",\"kind\":\"data\"")), 4, "two entries have the same path"},
    {TEXT(ONE("\"path\":\"/b\",\n\"path\":\"/b\",\"kind\":\"data\"")), 5, "not JSON: duplicate object key"},
    {TEXT(ONE("\"path\":\"/b\",\"kind\":\"data\",\"volatile\":1")), 4, "\"volatile\" is neither true nor false"},
    {TEXT(ONE("\"path\":\"/b\",\"kind\":\"data\",\"volatile\":true")), 4, "only a directory can be volatile"},
    {TEXT(ONE("\"path\":\"/b\",\"kind\":\"data\",\"size\":1")), 4, "\"mtime_ns\" is missing"},
    {TEXT(ONE("\"path\":\"/b\",\"kind\":\"data\",\"mode\":1,\"mtime_ns\":1")), 4, "\"size\" is missing"},
    {TEXT(ONE("\"path\":\"/b\",\"kind\":\"data\",\"size\":1,\"mtime_ns\":1")), 4, "\"mode\" is missing"},
    {TEXT(ONE("\"path\":\"/b\",\"kind\":\"data\",\"size\":-1,\"mtime_ns\":1,\"mode\":1")), 4,
     "\"size\" is -1, which cannot be"},
    {TEXT(ONE("\"path\":\"/b\",\"kind\":\"data\",\"size\":9223372036854775808,\"mtime_ns\":1,\"mode\":1")), 4,
     "not JSON: too big integer"},
    {TEXT(ONE("\"path\":\"/b\",\"kind\":\"data\",\"size\":1e300,\"mtime_ns\":1,\"mode\":1")), 4,
     "\"size\" is not a whole number"},
    {TEXT(ONE("\"path\":\"/b\",\"kind\":\"data\",\"size\":1,\"mtime_ns\":\"1\",\"mode\":1")), 4,
     "\"mtime_ns\" is not a whole number"},
    {TEXT(ONE("\"path\":\"/b\",\"kind\":\"data\",\"size\":1,\"mtime_ns\":1,\n\"mode\":65536")), 5,
     "\"mode\" is 65536, which cannot be"},
    {TEXT(ONE("\"path\":\"/b\",\"kind\":\"absent\",\"size\":1")), 4,
     "something absent has no size, mtime_ns or mode"},
    {TEXT(ONE("\"path\":\"/b\",\"kind\":\"data\",\"xxh3_128\":\"abc\"")), 4, "\"xxh3_128\" is not 32 lower-case"},
    {TEXT(ONE("\"path\":\"/b\",\"kind\":\"data\",\"xxh3_128\":\"0123456789ABCDEF0123456789ABCDEF\"")), 4,
     "\"xxh3_128\" is not 32"},
    {TEXT(ONE("\"path\":\"/b\",\"kind\":\"data\",\"xxh3_128\":1")), 4, "\"xxh3_128\" is not 32 lower-case"},
    {TEXT(ONE("\"path\":\"/b\",\"kind\":\"symlink\",\"target\":1")), 4, "\"target\" is not a string"},
    {TEXT(ONE("\"path\":\"/b\",\"kind\":\"data\",\"soname\":[]")), 4, "\"soname\" is not a string"},
    {TEXT(ONE("\"path\":\"/b\",\"kind\":\"data\",\"needed\":\"x\"")), 4, "\"needed\" is not an array"},
    {TEXT(ONE("\"path\":\"/b\",\"kind\":\"data\",\"needed\":[\"a\",\n\"b\",\nnull]")), 6,
     "element 3 of \"needed\" is not a string"},
    {TEXT(ONE("\"path\":\"/b\",\"kind\":\"data\",\"counts\":[]")), 4, "\"counts\" is not an object"},
    {TEXT(ONE("\"path\":\"/b\",\"kind\":\"data\",\"counts\":{\n\"list\":-2}")), 5, "\"list\" is -2, which cannot be"},
    {TEXT(ONE("\"path\":\"/b\",\"kind\":\"data\",\"counts\":{\"write\":true}")), 4,
     "\"write\" is not a whole number"},
    {TEXT(ONE("\"path\":\"/b\",\"kind\":\"data\",\"order\":\"1\"")), 4, "\"order\" is not a whole number"},
    {TEXT(ONE("\"path\":\"/b\",\"kind\":\"data\",\"first_ns\":-1")), 4, "\"first_ns\" is -1, which cannot be"},
    {TEXT(ONE("\"path\":\"/b\",\"kind\":\"data\",\"processes\":-1")), 4, "\"processes\" is -1, which cannot be"},
    {TEXT(ONE("\"path\":\"/b\",\"kind\":\"data\",\"pilots\":4294967296")), 4,
     "\"pilots\" is 4294967296, which cannot be"},
    {TEXT(HEAD "\"entries\":[\n{\"path\":\"/a\",\"kind\":\"data\"}\n{\"path\":\"/b\",\"kind\":\"data\"}]}"), 4,
     "not JSON: ',' or ']' expected"},
    {TEXT(HEAD "\"entries\":[\n{\"path\":\"/a\",\"kind\":\"data\"},\n]}"), 4, "not JSON: "},
    {TEXT(HEAD "\"entries\":[\n{\"path\":\"/\xff\",\"kind\":\"data\"}\n]}"), 3, "not JSON: "},
    {TEXT(HEAD "\"entries\":[\n{\"path\":\"/\\ud800\",\"kind\":\"data\"}\n]}"), 3, "not JSON: "},
    {TEXT(HEAD "\"entries\":[\n{\"path\":\"/a\nb\",\"kind\":\"data\"}\n]}"), 3, "not JSON: "},
    {TEXT(HEAD "\"entries\":[}]}"), 2, "not JSON: "},
};

START_TEST(bad_input_is_refused_with_its_line)
{
    char expected[400], *error = NULL;

    write_bytes(file, bad[_i].text, bad[_i].size);
    struct manifest *m = manifest_load(file, &error);
    ck_assert_msg(m == NULL, "accepted: %s", bad[_i].text);
    snprintf(expected, sizeof expected, "%s:%u: %s", file, bad[_i].line, bad[_i].error);
    if (bad[_i].line == 0) /* at the end, whatever line that is taken for */
        ck_assert_msg(strstr(error, bad[_i].error) != NULL, "%s", error);
    else
        ck_assert_msg(strncmp(error, expected, strlen(expected)) == 0, "\"%s\" instead of \"%s\"", error, expected);
    free(error);
}
END_TEST

START_TEST(every_truncation_is_refused)
{
    struct manifest *m = full();
    char start[100];
    size_t n;

    save(m, file);
    manifest_free(m);
    char *text = read_bytes(file, &n);
    snprintf(start, sizeof start, "%s:", file);
    for (size_t k = 0; k + 1 < n; k++) { /* without the last newline it is whole */
        char *error = NULL;
        write_bytes(file, text, k);
        m = manifest_load(file, &error);
        ck_assert_msg(m == NULL, "the first %zu of %zu bytes are accepted", k, n);
        ck_assert_msg(strncmp(error, start, strlen(start)) == 0, "%s", error);
        ck_assert_int_gt(atoi(error + strlen(start)), 0);
        free(error);
    }
    free(text);
}
END_TEST

START_TEST(no_changed_byte_does_harm)
{
    struct manifest *m = full();
    size_t n;

    save(m, file);
    manifest_free(m);
    char *text = read_bytes(file, &n);
    for (size_t k = 0; k < n; k++) {
        static const char instead[] = "\"[{}],:\\ \xff";
        const char was = text[k];
        for (size_t i = 0; i < sizeof instead; i++) {
            char *error = NULL;
            text[k] = instead[i];
            write_bytes(file, text, n);
            m = manifest_load(file, &error);
            ck_assert((m == NULL) == (error != NULL));
            manifest_free(m);
            free(error);
        }
        text[k] = was;
    }
    free(text);
}
END_TEST

START_TEST(a_file_that_cannot_be_read)
{
    char expected[400], *error = NULL;

    ck_assert_ptr_null(manifest_load(file, &error));
    snprintf(expected, sizeof expected, "%s: No such file or directory", file);
    ck_assert_str_eq(error, expected);
    free(error);
    error = NULL;
    ck_assert_ptr_null(manifest_load(place, &error));
    snprintf(expected, sizeof expected, "%s: Is a directory", place);
    ck_assert_str_eq(error, expected);
    free(error);
}
END_TEST

START_TEST(a_scan_never_leaves_the_text)
{
    static const char *const texts[] = {"", "{", "{\"", "{\"a", "{\"a\"", "{\"a\":", "{\"a\":[", "{\"a\":[1",
                                        "{\"a\":[1,", "{\"a\\", "{\"a\":\"\\", "[", "[[", "{}",
                                        "{\"b\":1,\"a\":[0,1]}"};
    const struct scan_step steps[] = {{"a", 0}, {NULL, 1}};
    const char *deepest;

    for (size_t i = 0; i < COUNT(texts); i++) {
        const size_t n = strlen(texts[i]);
        char *exact = memory_check(malloc(n + 1)); /* a sanitizer sees the step beyond */
        memcpy(exact, texts[i], n);
        exact = memory_check(realloc(exact, n ? n : 1));
        const char *p = scan_find(exact, exact + n, steps, 2, &deepest);
        ck_assert(deepest >= exact && deepest <= exact + n);
        if (i + 1 == COUNT(texts))
            ck_assert_int_eq(p - exact, (int)n - 3);
        else
            ck_assert_ptr_null(p);
        free(exact);
    }
}
END_TEST

/* --- by chance -------------------------------------------------------------------------------------------------- */

/* A step of xorshift64: the same inputs in every run. */
static uint64_t chance(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    return *state ^= *state << 17;
}

/* Something of what the text is made of, or what a reader may stumble over, at some place of it. */
static size_t mutate(char *text, size_t n, size_t most, uint64_t *state)
{
    static const char *const pieces[] = {"\"", "\\", "\\u0000", "{", "}", "[", "]", ",", ":", "-", "0", "1e300",
                                         "\n", " ", "\xff", "18446744073709551616", "9223372036854775808",
                                         "999999999999999999", ".5", "null", "true", "\xc3\xa9",
                                         "\"path\":\"/x\",", "\"order\":1,", "{\"a\":"};
    const size_t at = chance(state) % n, run = chance(state) % 8, from = chance(state) % n;
    const char *piece = pieces[chance(state) % COUNT(pieces)];
    size_t len = strlen(piece), cut = at + run < n ? run : n - at;

    switch (chance(state) % 4) {
    case 0: len = 0; break;                                                            /* take away */
    case 1: cut = 0; break;                                                            /* put in */
    case 2: break;                                                                     /* replace */
    default: piece = text + from; len = from + 40 < n ? 40 : n - from; cut = 0; break; /* repeat what is elsewhere */
    }
    char *copy = memory_bytes(piece, len);
    if (n - cut + len < most) {
        memmove(text + at + len, text + at + cut, n - at - cut);
        memcpy(text + at, copy, len);
        n = n - cut + len;
    }
    free(copy);
    return n;
}

/* The same text with a blank behind each brace that begins a line: nothing is as saving writes it. */
static size_t respaced(const char *text, size_t n, char *out)
{
    size_t k = 0;

    for (size_t i = 0; i < n; i++) {
        out[k++] = text[i];
        if (text[i] == '{' && i > 0 && text[i - 1] == '\n')
            out[k++] = ' ';
    }
    return k;
}

/* What saving makes of what was loaded; NULL where it was refused, and then with a line. */
static char *what_is_loaded(const char *text, size_t n, size_t *size)
{
    char start[100], *error = NULL;

    write_bytes(file, text, n);
    struct manifest *m = manifest_load(file, &error);
    if (!m) {
        snprintf(start, sizeof start, "%s:", file);
        ck_assert_msg(strncmp(error, start, strlen(start)) == 0 && atoi(error + strlen(start)) > 0, "%s", error);
        free(error);
        return NULL;
    }
    save(m, other);
    manifest_free(m);
    return read_bytes(other, size);
}

START_TEST(chance_does_no_harm)
{
    enum { INPUTS = 3000, MOST = 8192 };
    struct manifest *m = full();
    uint64_t state = 88172645463325252u;
    unsigned accepted = 0, refused = 0;
    char *text = memory_new(MOST, 1), *spaced = memory_new(MOST, 2);
    size_t n, a_size, b_size;

    save(m, file);
    manifest_free(m);
    char *good = read_bytes(file, &n);
    for (int i = 0; i < INPUTS; i++) {
        memcpy(text, good, n);
        size_t k = n;
        for (uint64_t times = 1 + chance(&state) % 3; times > 0 && k > 0; times--)
            k = mutate(text, k, MOST, &state);
        char *a = what_is_loaded(text, k, &a_size);
        char *b = what_is_loaded(spaced, respaced(text, k, spaced), &b_size);
        ck_assert_msg(!a == !b, "the quick and the careful reader do not agree on input %d", i);
        if (a) {
            ck_assert_uint_eq(a_size, b_size);
            ck_assert_mem_eq(a, b, a_size);
        }
        accepted += a != NULL;
        refused += a == NULL;
        free(a);
        free(b);
    }
    ck_assert_uint_gt(accepted, INPUTS / 50); /* or else nothing was compared */
    ck_assert_uint_gt(refused, INPUTS / 2);
    free(good);
    free(text);
    free(spaced);
}
END_TEST

START_TEST(depth_does_no_harm)
{
    enum { DEPTH = 1000000 };
    char *text = memory_new(2 * DEPTH + 200, 1), *error = NULL;
    size_t n = (size_t)sprintf(text, HEAD "\"entries\":[\n{\"path\":\"/a\",\"kind\":\"data\",\"x\":");

    memset(text + n, '[', DEPTH);
    memset(text + n + DEPTH, ']', DEPTH);
    strcpy(text + n + 2 * DEPTH, "}]}");
    write_bytes(file, text, strlen(text));
    ck_assert_ptr_null(manifest_load(file, &error));
    ck_assert_ptr_nonnull(strstr(error, "m.json:3: not JSON: maximum parsing depth reached"));
    free(error);
    free(text);
}
END_TEST

Suite *suite_input(void)
{
    Suite *suite = suite_create("input");
    TCase *c = manifests_case(suite, "input");

    tcase_add_loop_test(c, bad_input_is_refused_with_its_line, 0, COUNT(bad));
    tcase_add_test(c, every_truncation_is_refused);
    tcase_add_test(c, no_changed_byte_does_harm);
    tcase_add_test(c, a_file_that_cannot_be_read);
    tcase_add_test(c, chance_does_no_harm);
    tcase_add_test(c, depth_does_no_harm);
    tcase_add_test(c, a_scan_never_leaves_the_text);
    return suite;
}
