/* The figures of a report, without the page: intervals, what has room, searches, and texts. */
#include <check.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "manifests/report/parts.h"
#include "test/check/suites.h"

static struct manifest_entry *add(struct manifest *m, const char *path, enum manifest_kind kind, uint64_t order,
                                  uint64_t first_ns)
{
    struct manifest_entry *e = manifest_add(m, path, kind);

    e->order = order;
    e->first_ns = first_ns;
    e->counts.stat = 1;
    return e;
}

static json_int_t number_at(const json_t *array, size_t i)
{
    return json_integer_value(json_array_get(array, i));
}

static const char *text_at(const json_t *array, size_t i)
{
    return json_string_value(json_array_get(array, i));
}

static json_int_t total(const json_t *array)
{
    json_int_t n = 0;

    for (size_t i = 0; i < json_array_size(array); i++)
        n += number_at(array, i);
    return n;
}

/* --- times ------------------------------------------------------------------------------------------------------ */

static const struct {
    uint64_t end; /* touched from 0 to here, in ten steps */
    json_int_t width, bins;
} intervals[] = {
    {0, 1, 11}, {10, 1, 11}, {239, 1, 240}, {240, 2, 121}, {480, 5, 97}, {1199, 5, 240}, {1200, 10, 121},
    {1000000000, 5000000, 201}, {INT64_MAX, 50000000000000000, 185},
};

START_TEST(intervals_are_easily_read)
{
    struct manifest *m = manifest_new();

    for (uint64_t i = 0; i <= 10; i++) {
        char path[16];
        snprintf(path, sizeof path, "/f%" PRIu64, i);
        add(m, path, MANIFEST_DATA, i, i == 10 ? intervals[_i].end : intervals[_i].end / 10 * i);
    }
    json_t *figures = report_figures(m), *times = json_object_get(figures, "times");
    ck_assert_int_eq(json_integer_value(json_object_get(times, "bins")), intervals[_i].bins);
    ck_assert_int_eq(json_integer_value(json_object_get(times, "width")), intervals[_i].width);
    ck_assert_int_eq(total(json_array_get(json_object_get(times, "touches"), REPORT_DATA)), 11);
    ck_assert_int_eq(total(json_object_get(times, "calls")), 11);
    /* Without a time, the ranks are it. */
    ck_assert_int_eq(json_is_true(json_object_get(times, "timed")), intervals[_i].end != 0);
    json_decref(figures);
    manifest_free(m);
}
END_TEST

START_TEST(the_longest_gaps_come_first)
{
    struct manifest *m = manifest_new();
    static const uint64_t when[] = {1, 5, 5, 6, 16, 36, 40};

    for (size_t i = 0; i < 7; i++) {
        const char path[] = {'/', (char)('a' + i), '\0'};
        add(m, path, MANIFEST_DATA, i, when[i]);
    }
    json_t *figures = report_figures(m), *gaps = json_object_get(json_object_get(figures, "times"), "gaps");
    static const struct {
        json_int_t ns, from;
        const char *after, *before;
    } expected[] = {{20, 16, "/e", "/f"}, {10, 6, "/d", "/e"}, {4, 1, "/a", "/b"}, {4, 36, "/f", "/g"},
                  {1, 5, "/c", "/d"}};
    ck_assert_uint_eq(json_array_size(gaps), 5); /* what is touched at the same time is no gap */
    for (size_t i = 0; i < 5; i++) {
        const json_t *gap = json_array_get(gaps, i);
        ck_assert_int_eq(number_at(gap, 0), expected[i].ns);
        ck_assert_int_eq(number_at(gap, 1), expected[i].from);
        ck_assert_str_eq(text_at(gap, 2), expected[i].after);
        ck_assert_str_eq(text_at(gap, 3), expected[i].before);
    }
    json_decref(figures);
    manifest_free(m);
}
END_TEST

/* --- searches --------------------------------------------------------------------------------------------------- */

START_TEST(a_search_ends_where_it_is_found)
{
    struct manifest *m = manifest_new();

    /* Found before it was missed; missed twice; found; missed again by somebody else; found elsewhere. */
    add(m, "/z/x", MANIFEST_DATA, 0, 0);
    add(m, "/c/x", MANIFEST_ABSENT, 1, 0);
    add(m, "/b/x", MANIFEST_ABSENT, 2, 0);
    add(m, "/a/x", MANIFEST_SYMLINK, 3, 0);
    add(m, "/d/x", MANIFEST_ABSENT, 4, 0);
    add(m, "/e/x", MANIFEST_DATA, 5, 0);
    add(m, "/a/y", MANIFEST_ABSENT, 7, 0);
    add(m, "/b/y", MANIFEST_DATA, 6, 0);
    json_t *figures = report_figures(m), *names = json_object_get(figures, "names");
    const json_t *x = json_array_get(names, 0), *y = json_array_get(names, 1);
    ck_assert_uint_eq(json_array_size(names), 2);
    ck_assert_str_eq(text_at(x, 0), "x");
    ck_assert_int_eq(number_at(x, 1), 2);
    ck_assert_str_eq(text_at(x, 3), "/a/x");
    ck_assert_str_eq(text_at(y, 0), "y");
    ck_assert_int_eq(number_at(y, 1), 1);
    ck_assert(json_is_null(json_array_get(y, 3)));
    json_decref(figures);
    manifest_free(m);
}
END_TEST

static const struct {
    const char *value;
    const char *parts; /* as text: directory=where it stood before, … */
} paths[] = {
    {"", ""},
    {"/a", "/a=0,"},
    {"/a:/b:/a", "/a=0,/b=0,/a=1,"},
    {"/a/:/a//:/ab:/", "/a=0,/a=1,/ab=0,/=0,"},
    {":/a::", "=0,/a=0,=1,=1,"},
};

START_TEST(what_stands_twice_in_a_search_path)
{
    struct manifest *m = manifest_new();
    char text[200] = "";

    m->search = calloc(1, sizeof *m->search);
    m->search_count = 1;
    m->search[0].name = strdup("PATH");
    m->search[0].value = strdup(paths[_i].value);
    json_t *figures = report_figures(m);
    const json_t *parts = json_array_get(json_array_get(json_object_get(figures, "search"), 0), 1);
    for (size_t i = 0; i < json_array_size(parts); i++) {
        const json_t *part = json_array_get(parts, i);
        snprintf(text + strlen(text), sizeof text - strlen(text), "%s=%d,", text_at(part, 0), (int)number_at(part, 1));
    }
    ck_assert_str_eq(text, paths[_i].parts);
    json_decref(figures);
    manifest_free(m);
}
END_TEST

/* --- what has room ---------------------------------------------------------------------------------------------- */

START_TEST(no_package_is_lost)
{
    struct manifest *m = manifest_new();

    /* The biggest are called least: both ends are shown, what is between is summed up. */
    for (int i = 0; i < 1000; i++) {
        char path[64];
        snprintf(path, sizeof path, "/sw/site-packages/p%03d/x.so", i);
        struct manifest_entry *e = add(m, path, MANIFEST_SHARED_OBJECT, (uint64_t)i, 0);
        e->size = 1000 + (uint64_t)i;
        e->counts.stat = 2000 - (uint64_t)i;
    }
    json_t *figures = report_figures(m), *packages = json_object_get(figures, "packages");
    const json_t *others = json_object_get(figures, "other_packages");
    json_int_t bytes = total(json_array_get(others, 2)), calls = total(json_array_get(others, 3));
    ck_assert_uint_eq(json_array_size(packages), 500);
    ck_assert_int_eq(number_at(others, 0), 500);
    ck_assert_int_eq(bytes, 500 * 1000 + (250 + 749) * 500 / 2);
    ck_assert_str_eq(text_at(json_array_get(packages, 0), 0), "p999");
    ck_assert_str_eq(text_at(json_array_get(packages, 499), 0), "p000");
    for (size_t i = 0; i < 500; i++) {
        bytes += total(json_array_get(json_array_get(packages, i), 2));
        calls += total(json_array_get(json_array_get(packages, i), 3));
    }
    ck_assert_int_eq(bytes, 1000 * 1000 + 999 * 500);
    ck_assert_int_eq(calls, 1000 * 2000 - 999 * 500);
    json_decref(figures);
    manifest_free(m);
}
END_TEST

START_TEST(long_texts_are_cut_between_characters)
{
    char text[2000], *p = text;

    for (int i = 0; i < _i; i++)
        *p++ = 'x';
    for (int i = 0; i < 400; i++)
        p = stpcpy(p, "漢");
    json_t *value = report_text(text, (size_t)(p - text));
    const char *shown = json_string_value(value), *cut = strstr(shown, "…");
    ck_assert_ptr_nonnull(cut);
    ck_assert_uint_le(strlen(shown), 403);
    ck_assert_uint_ge(strlen(shown), 397);
    ck_assert_uint_eq((size_t)(cut - shown - _i) % 3, 0);
    ck_assert_int_eq(strncmp(cut + 3, "漢", 3), 0);
    ck_assert_str_eq(shown + strlen(shown) - 3, "漢");
    json_decref(value);
}
END_TEST

START_TEST(short_texts_stay_and_show_what_they_are)
{
    json_t *value = report_text("/\xff</script>\n\"\\x", 15);

    ck_assert_str_eq(json_string_value(value), "/\\xff</script>\\x0a\"\\x");
    json_decref(value);
}
END_TEST

Suite *suite_report(void)
{
    Suite *suite = suite_create("report");
    TCase *tcase = tcase_create("figures");

    tcase_add_loop_test(tcase, intervals_are_easily_read, 0, sizeof intervals / sizeof *intervals);
    tcase_add_test(tcase, the_longest_gaps_come_first);
    tcase_add_test(tcase, a_search_ends_where_it_is_found);
    tcase_add_loop_test(tcase, what_stands_twice_in_a_search_path, 0, sizeof paths / sizeof *paths);
    tcase_add_test(tcase, no_package_is_lost);
    tcase_add_loop_test(tcase, long_texts_are_cut_between_characters, 0, 4);
    tcase_add_test(tcase, short_texts_stay_and_show_what_they_are);
    suite_add_tcase(suite, tcase);
    return suite;
}
