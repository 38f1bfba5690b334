/* What a replay tells of times. */
#include <string.h>

#include "replayer/replay/histogram.h"
#include "test/check/suites.h"

static struct histogram h;

static void setup(void)
{
    memset(&h, 0, sizeof h);
}

START_TEST(test_nothing)
{
    ck_assert_uint_eq(histogram_percentile(&h, 0.5), 0);
    ck_assert_uint_eq(histogram_percentile(&h, 1), 0);
}
END_TEST

/* Each bucket begins where the one before it ends, and is no wider than a 32nd of what it holds. */
START_TEST(test_buckets)
{
    ck_assert_uint_eq(histogram_least(0), 0);
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS - 1; i++) {
        const uint64_t least = histogram_least(i), next = histogram_least(i + 1);
        ck_assert_uint_gt(next, least);
        ck_assert_uint_le((next - least - 1) * 32, least);
        setup();
        histogram_add(&h, least);
        histogram_add(&h, next - 1);
        ck_assert_uint_eq(h.buckets[i], 2);
        ck_assert_uint_eq(histogram_percentile(&h, 0.5), next - 1);
    }
    setup();
    histogram_add(&h, UINT64_MAX);
    ck_assert_uint_eq(h.buckets[HISTOGRAM_BUCKETS - 1], 1);
    ck_assert_uint_eq(histogram_least(HISTOGRAM_BUCKETS - 1), (uint64_t)1 << 40);
    ck_assert_uint_eq(histogram_percentile(&h, 0.5), UINT64_MAX);
}
END_TEST

START_TEST(test_percentiles)
{
    struct histogram twice;

    for (uint64_t i = 1; i <= 1000; i++)
        histogram_add(&h, i * 1000);
    ck_assert_uint_eq(h.count, 1000);
    ck_assert_uint_eq(h.sum, 500500000);
    ck_assert_uint_eq(h.most, 1000000);
    const double shares[] = {0.001, 0.1, 0.5, 0.9, 0.99};
    for (unsigned i = 0; i < 5; i++) {
        const double exact = shares[i] * 1000000;
        const double told = (double)histogram_percentile(&h, shares[i]);
        ck_assert_double_ge(told, exact);
        ck_assert_double_le(told, exact * 33 / 32);
    }
    ck_assert_uint_eq(histogram_percentile(&h, 1), 1000000);
    memset(&twice, 0, sizeof twice);
    histogram_merge(&twice, &h);
    histogram_merge(&twice, &h);
    ck_assert_uint_eq(twice.count, 2000);
    ck_assert_uint_eq(twice.sum, 1001000000);
    ck_assert_uint_eq(twice.most, 1000000);
    ck_assert_uint_eq(histogram_percentile(&twice, 0.5), histogram_percentile(&h, 0.5));
}
END_TEST

Suite *suite_replay(void)
{
    Suite *s = suite_create("replay");
    TCase *t = tcase_create("histogram");

    tcase_add_checked_fixture(t, setup, NULL);
    tcase_add_test(t, test_nothing);
    tcase_add_test(t, test_buckets);
    tcase_add_test(t, test_percentiles);
    suite_add_tcase(s, t);
    return s;
}
