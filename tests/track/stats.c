/* tests/track/stats.c - order statistics, rank tests, change detection: known answers. */
#include "track/stats.h"

#include "support/support.h"
#include "track/detect.h"

#include <math.h>
#include <string.h>

static double u_test(const double *x, int64_t nx, const double *y, int64_t ny)
{
    sae_err err = {0};
    double p = -1;
    ck_assert_ok(sae_mann_whitney(x, nx, y, ny, &p, &err), err);
    return p;
}

/* Values of scipy.stats.mannwhitneyu; 1e-14 leaves room for the order of summation. */
START_TEST(mann_whitney)
{
    double a[10], b[10];
    for (int i = 0; i < 10; i++) {
        a[i] = i + 1;
        b[i] = i + 11;
    }
    const double low[] = {1, 2, 3}, high[] = {4, 5, 6};
    const double tied[2][4] = {{1, 1, 2, 3}, {2, 3, 3, 4}};
    const double odd[] = {1, 3, 5, 7, 9}, even[] = {2, 4, 6, 8, 10};
    ck_assert_double_eq_tol(u_test(low, 3, high, 3), 0.1, 1e-14);
    ck_assert_double_eq(u_test(a, 9, b, 0), 1);
    ck_assert_double_eq_tol(u_test(a, 10, b, 10), 1.826717911095504e-4, 1e-14);
    for (int i = 0; i < 9; i++)
        b[i] = i + 10;
    ck_assert_double_eq_tol(u_test(a, 9, b, 9), 4.122948020616911e-4, 1e-14);
    ck_assert_double_eq_tol(u_test(tied[0], 4, tied[1], 4), 0.13416918012812581, 1e-14);
    ck_assert_double_eq_tol(u_test(odd, 5, even, 5), 0.6904761904761905, 1e-14);
    /* The smallest p of n against n: 2 / C(2n, n). */
    const double least[] = {1, 1, 1.0 / 3, 0.1, 1.0 / 35, 1.0 / 126, 1.0 / 462, 1.0 / 1716,
                            1.0 / 6435};
    for (int n = 1; n <= 8; n++)
        ck_assert_double_eq_tol(u_test(a, n, b, n), least[n], 1e-14);
    /* 8 against 52 is exact: 2 / C(60, 8). */
    double many[52];
    for (int i = 0; i < 52; i++)
        many[i] = 100 + i;
    ck_assert_double_eq_tol(u_test(a, 8, many, 52) * 2558620845.0 / 2, 1, 1e-12);
    const double same[12] = {3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3};
    ck_assert_double_eq(u_test(same, 12, same, 12), 1);
}
END_TEST

START_TEST(signed_ranks)
{
    static const int pairs[] = {5, 6, 7, 8, 9, 10, 12, 16, 20};
    static const int at01[] = {0, 0, 0, 1, 2, 4, 8, 20, 38};
    static const int at05[] = {0, 1, 3, 4, 6, 9, 14, 30, 53};
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        ck_assert_int_eq(sae_signed_rank_k(pairs[i], 0.01), at01[i]);
        ck_assert_int_eq(sae_signed_rank_k(pairs[i], 0.05), at05[i]);
    }
    ck_assert_int_eq(sae_signed_rank_k(10, 0.004), 2);
    ck_assert_int_eq(sae_signed_rank_k(14, 0.003), 8);
    ck_assert_int_eq(sae_signed_rank_k(20, 0.003), 29);
    ck_assert_double_eq(sae_signed_rank_cdf(3, 0), 0.125);
    ck_assert_double_eq(sae_signed_rank_cdf(3, 3), 0.625); /* {}, {1}, {2}, {3}, {1,2} */
    ck_assert_double_eq(sae_signed_rank_cdf(3, 6), 1);
    ck_assert_double_eq_tol(sae_signed_rank_cdf(64, 2080), 1, 1e-12);
}
END_TEST

START_TEST(hodges_lehmann)
{
    const double d[] = {.021, .015, .034, .008, .027, .019, .041, .012, .030, .024};
    sae_interval v = sae_hodges_lehmann(d, 10, 0.01);
    ck_assert_double_eq_tol(v.centre, .023, 1e-15);
    ck_assert_double_eq_tol(v.lo, .012, 1e-15);
    ck_assert_double_eq_tol(v.hi, .034, 1e-15);
    v = sae_hodges_lehmann(d, 10, 0.05);
    ck_assert_double_eq_tol(v.lo, .0155, 1e-15);
    ck_assert_double_eq_tol(v.hi, .0305, 1e-15);
    v = sae_hodges_lehmann(d, 7, 0.01);
    ck_assert(isinf(v.lo) && v.lo < 0 && isinf(v.hi) && v.hi > 0);
    /* The test and the interval are two views of one thing. */
    for (int pairs = 5; pairs <= 10; pairs++)
        for (int i = -20; i < 60; i++) {
            double shift = 0.001 * i + 0.00013;
            v = sae_hodges_lehmann(d, pairs, 0.05);
            ck_assert_int_eq(v.lo > shift, 2 * sae_signed_rank_p(d, pairs, shift) <= 0.05);
        }
}
END_TEST

START_TEST(quantiles)
{
    double x[] = {4, 1, 3, 2}, room[4];
    ck_assert_double_eq(sae_median(x, 4), 2.5);
    ck_assert_double_eq(sae_sorted_quantile(x, 4, 0.25), 1.75);
    ck_assert_double_eq(sae_sorted_quantile(x, 4, 1), 4);
    ck_assert_double_eq(sae_mad(x, 4, 2.5, room), 1);
    ck_assert_double_eq(sae_median(x, 1), 1);
    ck_assert_double_nan(sae_median(x, 0));
}
END_TEST

/* ---- detection ------------------------------------------------------------------------------- */

static const double golden[] = {100.3, 99.8,  100.1, 99.6,  100.4, 100.0, 99.9,
                                112.0, 100.2, 99.7,  100.1, 100.5, 99.5,  100.0,
                                100.2, 99.9,  103.2, 103.6, 102.9, 103.4, 103.1,
                                103.3, 102.8, 103.5, 103.0, 103.2, 103.7, 103.1};
enum { GOLDEN = sizeof golden / sizeof golden[0] };

static int64_t changes(const double *x, int64_t n, double p_max, sae_change *c)
{
    sae_err err = {0};
    sae_detect d = {p_max, 0.02, 4};
    int64_t count = -1;
    ck_assert_ok(sae_detect_changes(x, n, &d, c, &count, NULL, &err), err);
    return count;
}

START_TEST(energy)
{
    const double z[] = {10, 10.2, 9.9, 10.1, 10, 11, 11.2, 10.9, 11.1, 11};
    ck_assert_double_eq_tol(sae_energy(z, 5, 10), 4.3, 1e-12);
    for (int64_t kappa = 2; kappa <= 10; kappa++)
        for (int64_t tau = 1; tau < kappa; tau++)
            ck_assert_double_le(sae_energy(z, tau, kappa), 4.3 + 1e-12);
}
END_TEST

START_TEST(golden_series)
{
    sae_change c[GOLDEN];
    double z[GOLDEN];
    unsigned char flag[GOLDEN];
    sae_hampel(golden, GOLDEN, z, flag);
    for (int i = 0; i < GOLDEN; i++) {
        ck_assert_int_eq(flag[i], i == 7);
        ck_assert_double_eq(z[i], i == 7 ? 100.1 : golden[i]);
    }
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(changes(golden, GOLDEN, i ? 1e-4 : 1e-3, c), 1);
        ck_assert_int_eq(c[0].index, 16);
        ck_assert_int_eq(c[0].n_left, 16);
        ck_assert_int_eq(c[0].n_right, 12);
        ck_assert_double_eq_tol(c[0].left, 100.05, 1e-12);
        ck_assert_double_eq_tol(c[0].right, 103.2, 1e-12);
        ck_assert_double_eq_tol(c[0].p, 9.040039e-6, 5e-13);
        ck_assert_double_eq_tol(c[0].rel, 3.15 / 100.05, 1e-12);
    }
    int first[2] = {0, 0};
    for (int i = 0; i < 2; i++)
        for (int n = GOLDEN; n > 16 && changes(golden, n, i ? 1e-4 : 1e-3, c) == 1; n--)
            first[i] = n - 16;
    ck_assert_int_eq(first[0], 6);
    ck_assert_int_eq(first[1], 8);
}
END_TEST

/* A second change must not hide the first, and both are found. */
START_TEST(two_steps)
{
    double x[60];
    sae_change c[60];
    for (int i = 0; i < 60; i++)
        x[i] = (i < 20 ? 100 : i < 40 ? 110 : 100) + 0.1 * ((i * 7) % 11 - 5);
    ck_assert_int_eq(changes(x, 60, 1e-3, c), 2);
    ck_assert_int_eq(c[0].index, 20);
    ck_assert_int_eq(c[1].index, 40);
    ck_assert_double_gt(c[0].rel, 0.09);
    ck_assert_double_lt(c[1].rel, -0.08);
}
END_TEST

/* Nothing crashes and nothing is found where there is nothing. */
START_TEST(degenerate)
{
    double x[60];
    sae_change c[60];
    for (int n = 0; n <= 60; n++) {
        for (int i = 0; i < n; i++)
            x[i] = 5;
        ck_assert_int_eq(changes(x, n, 1e-3, c), 0); /* constant: MAD 0 */
        for (int i = 0; i < n; i++)
            x[i] = 0;
        ck_assert_int_eq(changes(x, n, 1e-3, c), 0);
        for (int i = 0; i < n; i++)
            x[i] = i % 2 ? 1e300 : -1e300;
        ck_assert_int_eq(changes(x, n, 1e-3, c), 0);
        for (int i = 0; i < n; i++)
            x[i] = i % 2; /* ties only */
        ck_assert_int_eq(changes(x, n, 1e-3, c), 0);
    }
    /* From zero to something, from negative to less negative: the ratio has a sign of its own. */
    for (int i = 0; i < 40; i++)
        x[i] = i < 20 ? 0 : 1;
    ck_assert_int_eq(changes(x, 40, 1e-3, c), 1);
    ck_assert(isinf(c[0].rel) && c[0].rel > 0);
    for (int i = 0; i < 40; i++)
        x[i] = i < 20 ? -2 : -1;
    ck_assert_int_eq(changes(x, 40, 1e-3, c), 1);
    ck_assert_double_eq(c[0].rel, 0.5);
}
END_TEST

Suite *suite_stats(void);
Suite *suite_stats(void)
{
    Suite *s = suite_create("stats");
    TCase *c = tcase_create("stats");
    tcase_add_test(c, mann_whitney);
    tcase_add_test(c, signed_ranks);
    tcase_add_test(c, hodges_lehmann);
    tcase_add_test(c, quantiles);
    tcase_add_test(c, energy);
    tcase_add_test(c, golden_series);
    tcase_add_test(c, two_steps);
    tcase_add_test(c, degenerate);
    suite_add_tcase(s, c);
    return s;
}
