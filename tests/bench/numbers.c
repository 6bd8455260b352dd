/* tests/bench/numbers.c - ranges, the predictor, statistics, curves, numbers for people: known
 * values of the original library. */
#include "bench/harness/report.h"
#include "support/support.h"

#include <math.h>
#include <string.h>

static void check_range(int64_t lo, int64_t hi, int m, const int64_t *expected, int n)
{
    struct sbh_pool p = {NULL};
    int64_t *list = NULL;
    int count = sbh_range(&p, &list, 0, lo, hi, m);
    ck_assert_int_eq(count, n);
    for (int i = 0; i < n; i++)
        ck_assert_int_eq(list[i], expected[i]);
    sbh_release(&p);
}
#define CHECK_RANGE(lo, hi, m, ...)                                                                \
    check_range(lo, hi, m, (int64_t[]){__VA_ARGS__},                                               \
                (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)))

START_TEST(ranges)
{
    CHECK_RANGE(8, 8192, 8, 8, 64, 512, 4096, 8192);
    CHECK_RANGE(1, 100, 8, 1, 8, 64, 100);
    CHECK_RANGE(-8, 8, 2, -8, -4, -2, -1, 0, 1, 2, 4, 8);
    CHECK_RANGE(5, 5, 8, 5);
    CHECK_RANGE(5, 6, 8, 5, 6);
    CHECK_RANGE(-1, 0, 8, -1, 0);
    CHECK_RANGE(0, 1, 8, 0, 1);
    CHECK_RANGE(0, 9, 8, 0, 1, 8, 9);
    CHECK_RANGE(-100, -3, 8, -100, -64, -8, -3);
    CHECK_RANGE(INT64_MAX - 1, INT64_MAX, 2, INT64_MAX - 1, INT64_MAX);
    CHECK_RANGE(INT64_C(1) << 61, INT64_MAX, 2, INT64_C(1) << 61, INT64_C(1) << 62, INT64_MAX);
}
END_TEST

START_TEST(prediction)
{
    ck_assert_int_eq(sbh_predict(1, 0.02, 0.5), 10); /* 4 % of the time: tenfold */
    ck_assert_int_eq(sbh_predict(1, 0.06, 0.5), 12); /* 1.4 * 0.5 / 0.06 = 11.67 */
    ck_assert_int_eq(sbh_predict(100, 0.49, 0.5), 143);
    ck_assert_int_eq(sbh_predict(100, 0.4999999, 0.5), 140);
    ck_assert_int_eq(sbh_predict(1, 0, 0.5), 10);
    ck_assert_int_eq(sbh_predict(1, 0.75, 0.5), 2); /* always more than before */
    ck_assert_int_eq(sbh_predict(SBH_MAX_ITERATIONS / 2, 0, 0.5), SBH_MAX_ITERATIONS);
}
END_TEST

START_TEST(statistics)
{
    const double x[] = {4.92, 5.04, 4.99, 5.30}, odd[] = {3, 1, 2}, zero[] = {-1, 1};
    ck_assert_double_eq_tol(sbh_mean(x, 4), 5.0625, 1e-12);
    ck_assert_double_eq_tol(sbh_median(x, 4), 5.015, 1e-12);
    ck_assert_double_eq_tol(sbh_stddev(x, 4), 0.165806111668619340, 1e-12);
    ck_assert_double_eq_tol(sbh_cv(x, 4), 0.03275182452713468456, 1e-12);
    ck_assert_double_eq(sbh_median(odd, 3), 2);
    ck_assert_double_eq(sbh_median(odd, 2), 2); /* of two: their mean */
    ck_assert_double_eq(sbh_stddev(x, 1), 0);
    ck_assert_double_eq(sbh_cv(zero, 2), 0);
    ck_assert_double_eq(sbh_mean(x, 0), 0);
    /* where a difference of squares has no digit left: deviation 1 around 1e9 */
    const double far[] = {1e9, 1e9 + 1, 1e9 + 2};
    ck_assert_double_eq(sbh_stddev(far, 3), 1);
}
END_TEST

START_TEST(curves)
{
    static const int64_t n[] = {8, 64, 512, 4096};
    static const double t[] = {10, 70, 530, 4100};
    static const struct {
        enum sae_bench_curve curve;
        double coefficient, rms;
        const char *name;
    } expected[] = {
        {SAE_BENCH_O_1, 1177.5, 1.443104, "(1)"},
        {SAE_BENCH_O_LOG_N, 201.555556, 1.051095, "lgN"},
        {SAE_BENCH_O_N, 1.0015255065, 0.0078336392, "N"},
        {SAE_BENCH_O_N_LOG_N, 0.0836960953, 0.0637215234, "NlgN"},
        {SAE_BENCH_O_N2, 2.448139e-4, 0.200029, "N^2"},
        {SAE_BENCH_O_N3, 5.967769e-8, 0.223676, "N^3"},
    };
    for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++) {
        struct sbh_fit f = sbh_least_squares(n, t, 4, expected[i].curve, NULL);
        double c = expected[i].coefficient; /* six digits are given */
        ck_assert_double_eq_tol(f.coefficient, c, 1e-6 * c);
        ck_assert_double_eq_tol(f.rms, expected[i].rms, 1e-6);
        ck_assert_str_eq(sbh_curve_name(f.curve), expected[i].name);
    }
    struct sbh_fit best = sbh_least_squares(n, t, 4, SAE_BENCH_O_AUTO, NULL);
    ck_assert_int_eq(best.curve, SAE_BENCH_O_N);
}
END_TEST

START_TEST(for_people)
{
    static const struct {
        double x;
        int flags;
        const char *text;
    } expected[] = {
        {0, 0, "0"}, {0.001, 0, "1m"}, {0.0099, 0, "9.9m"}, {0.01, 0, "0.01"}, {0.5, 0, "0.5"},
        {998, 0, "998"}, {999, 0, "999"}, {999.5, 0, "0.9995k"}, {1000, 0, "1k"},
        {123456, 0, "123.456k"}, {-1500, 0, "-1.5k"}, {1e30, 0, "1e+30"},
        {1023, SAE_BENCH_BASE_1024, "1023"}, {1023.5, SAE_BENCH_BASE_1024, "0.999512Ki"},
        {16384, SAE_BENCH_BASE_1024, "16Ki"}, {3.5e9, SAE_BENCH_BASE_1024, "3.25963Gi"},
        {(double)INFINITY, 0, "inf"}, {1e-30, 0, "1e-30"}, {-2e-6, 0, "-2u"},
    };
    for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++) {
        char text[32];
        sbh_human(text, expected[i].x, expected[i].flags);
        ck_assert_str_eq(text, expected[i].text);
    }
}
END_TEST

START_TEST(truth)
{
    static const char *const yes[] = {"", "1", "t", "y", "true", "yes", "on", "anything", "of"};
    static const char *const no[] = {"0", "f", "F", "n", "N", "-", "false", "FALSE", "no", "Off"};
    for (size_t i = 0; i < sizeof yes / sizeof yes[0]; i++)
        ck_assert_msg(sbh_truthy(yes[i]), "%s", yes[i]);
    for (size_t i = 0; i < sizeof no / sizeof no[0]; i++)
        ck_assert_msg(!sbh_truthy(no[i]), "%s", no[i]);
}
END_TEST

START_TEST(counters)
{
    static const struct {
        int flags;
        double value;
    } expected[] = { /* of 12, with 8 iterations, 2 seconds a thread, 4 threads */
        {SAE_BENCH_VALUE, 12}, {SAE_BENCH_RATE, 6}, {SAE_BENCH_AVG_THREADS, 3},
        {SAE_BENCH_RATE | SAE_BENCH_AVG_THREADS, 1.5}, {SAE_BENCH_PER_ITERATION_IN, 96},
        {SAE_BENCH_AVG_ITERATIONS, 1.5}, {SAE_BENCH_AVG_ITERATIONS | SAE_BENCH_RATE, 0.75},
        {SAE_BENCH_INVERT, 1 / 12.0}, {SAE_BENCH_RATE | SAE_BENCH_INVERT, 1 / 6.0},
    };
    for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++) {
        struct sbh_counters c = {NULL, 0};
        sbh_counter_at(&c, "x", expected[i].flags)->value = 12;
        sbh_counters_finish(&c, 8, 2, 4);
        ck_assert_double_eq(c.item[0].value, expected[i].value);
        sbh_counters_free(&c);
    }
    struct sbh_counters c = {NULL, 0};
    sbh_counter_at(&c, "b", 0)->value = 1;
    sbh_counter_at(&c, "a", 0)->value = 2;
    sbh_counter_at(&c, "B", 0)->value = 3;
    sbh_counters_add(&c, &c);
    ck_assert_int_eq(c.count, 3);
    ck_assert_str_eq(c.item[0].name, "B"); /* byte order */
    ck_assert_double_eq(sbh_counter_find(&c, "a")->value, 4);
    ck_assert_ptr_null(sbh_counter_at(&c, "a name that is longer than the sixty-three characters "
                                          "that there is room for", 0));
    sbh_counters_free(&c);
}
END_TEST

Suite *suite_numbers(void)
{
    Suite *s = suite_create("numbers");
    TCase *c = tcase_create("values");
    tcase_add_test(c, ranges);
    tcase_add_test(c, prediction);
    tcase_add_test(c, statistics);
    tcase_add_test(c, curves);
    tcase_add_test(c, for_people);
    tcase_add_test(c, truth);
    tcase_add_test(c, counters);
    suite_add_tcase(s, c);
    return s;
}
