/* tests/models/sample.c - tokens drawn from logits. */
#include "models/sample.h"

#include "core/error.h"
#include "support/support.h"

#include <math.h>
#include <sae/rng.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 200 };

static sae_lm_choice room[MOST];

static int32_t draw(double temperature, double top_p, int64_t n, const sae_real *z, double u)
{
    sae_lm_sampling s = {temperature, top_p, 0};
    return sae_lm_sample(&s, n, z, u, room);
}

/* Logits of n tokens in steps of `step`, so that a larger step makes more of them equal. */
static void random_logits(sae_real *z, int64_t n, uint64_t seed, double step)
{
    for (int64_t i = 0; i < n; i++)
        z[i] = (sae_real)(step *
                          round(2 * sae_normal(seed, SAE_STREAM_SYNTHETIC, 0, (uint32_t)i) / step));
}

/* ---- by definition --------------------------------------------------------------------------- */

typedef struct entry {
    double p;
    int32_t id;
} entry;

static int more_probable(const void *a, const void *b)
{
    const entry *x = a, *y = b;
    return x->p != y->p ? (x->p < y->p) - (x->p > y->p) : (x->id > y->id) - (x->id < y->id);
}

/* The distribution that is drawn from, by sorting: p [n] becomes the probabilities. Returns how
 * near the mass of a set comes to top_p: when that is rounding, the set is not certain. */
static double distribution(double temperature, double top_p, int64_t n, const sae_real *z,
                           double *p)
{
    entry e[MOST];
    double sum = 0, cum = 0, nearest = 1;
    for (int64_t i = 0; i < n; i++) {
        e[i] = (entry){exp((double)z[i] / temperature), (int32_t)i};
        sum += e[i].p;
        p[i] = 0;
    }
    qsort(e, (size_t)n, sizeof *e, more_probable);
    int64_t kept = 0;
    while (kept < n && (kept == 0 || cum < top_p)) {
        cum += e[kept++].p / sum;
        nearest = fmin(nearest, fabs(cum - top_p));
    }
    for (int64_t i = 0; i < kept; i++)
        p[e[i].id] = e[i].p / (sum * cum);
    return nearest;
}

/* ---- tests ----------------------------------------------------------------------------------- */

START_TEST(greedy)
{
    const sae_real z[] = {-3, 2, 5, 5, -1e30f, 4.9999995f};
    for (int i = 1; i < 10; i++)
        ck_assert_int_eq(draw(0, 0.5, 6, z, i / 10.0), 2);
    ck_assert_int_eq(draw(0, 1, 1, z, 0.5), 0);
    ck_assert_int_eq(draw(0, 1, 2, z, 0.5), 1);
}
END_TEST

/* Four equal tokens have weights of exactly one: every border is exact. */
START_TEST(borders)
{
    const sae_real z[4] = {1.5f, 1.5f, 1.5f, 1.5f};
    static const struct {
        double top_p;
        int kept;
    } cases[] = {{1, 4},      {0.75, 3}, {0.7500001, 4}, {0.5, 2},
                 {0.5001, 3}, {0.25, 1}, {0.2499, 1},    {1e-300, 1}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        for (int k = 0; k < cases[i].kept; k++) {
            double share = 1.0 / cases[i].kept;
            ck_assert_int_eq(draw(1, cases[i].top_p, 4, z, share * k + 1e-12), k);
            ck_assert_int_eq(draw(1, cases[i].top_p, 4, z, share * (k + 1) - 1e-12), k);
        }
    ck_assert_int_eq(draw(1, 1, 4, z, 0.25), 1); /* u = 1/4 is the first of the second token */
    ck_assert_int_eq(draw(1, 1, 4, z, 0x1p-53), 0);
    ck_assert_int_eq(draw(1, 1, 4, z, 1 - 0x1p-53), 3);
}
END_TEST

/* Everything that a grid of numbers draws, against the definition: shares are right to one step
 * of the grid, tokens outside the set never come. */
START_TEST(grid)
{
    enum { STEPS = 2000 };
    static const double temperatures[] = {0.3, 1, 2.5}, shares[] = {1, 0.95, 0.5, 0.1};
    static int32_t hits[MOST];
    static double p[MOST];
    static sae_real z[MOST];
    int64_t n = 3 + 13 * _i;
    random_logits(z, n, (uint64_t)_i, _i % 2 ? 0.5 : 1e-3);
    for (int t = 0; t < 3; t++)
        for (int s = 0; s < 4; s++) {
            double nearest = distribution(temperatures[t], shares[s], n, z, p);
            memset(hits, 0, sizeof hits);
            for (int k = 0; k < STEPS; k++)
                hits[draw(temperatures[t], shares[s], n, z, (k + 0.5) / STEPS)]++;
            if (shares[s] < 1 && nearest < 1e-12)
                continue;
            for (int64_t i = 0; i < n; i++) {
                if (shares[s] < 1 && p[i] == 0)
                    ck_assert_int_eq(hits[i], 0);
                ck_assert_double_le(fabs(hits[i] - p[i] * STEPS), 1 + 1e-9);
            }
        }
}
END_TEST

/* N draws with the generator's numbers: a count of mean N p has deviation sqrt(N p (1 - p)); six of
 * them, and one for the smallest p. */
START_TEST(frequencies)
{
    enum { N = 20000, WORDS = 40 };
    static int32_t hits[WORDS];
    static double p[WORDS];
    static sae_real z[WORDS];
    random_logits(z, WORDS, 99, 1e-3);
    double top_p = _i ? 0.9 : 1;
    distribution(0.8, top_p, WORDS, z, p);
    memset(hits, 0, sizeof hits);
    for (int k = 0; k < N; k++) {
        sae_u4 u = sae_philox(5, SAE_STREAM_SAMPLE, (uint64_t)k, 3);
        hits[draw(0.8, top_p, WORDS, z, sae_u01_wide(u.v[0], u.v[1]))]++;
    }
    for (int i = 0; i < WORDS; i++)
        ck_assert_double_le(fabs(hits[i] - N * p[i]), 6 * sqrt(N * p[i] * (1 - p[i])) + 1);
}
END_TEST

START_TEST(extremes)
{
    const sae_real z[] = {-1e30f, 3e38f, 1e30f, 3e38f};
    for (int i = 0; i < 5; i++) {
        double u = (i + 0.5) / 5;
        ck_assert_int_eq(draw(1, 1, 4, z, u), u < 0.5 ? 1 : 3);
        ck_assert_int_eq(draw(1e-300, 0.9, 4, z, u), u < 0.5 ? 1 : 3);
        ck_assert_int_eq(draw(1, 0.5, 4, z, u), 1);
        ck_assert_int_eq(draw(1, 0.1, 1, z, u), 0);
    }
    const sae_real near[] = {1, 0, -1, 2};
    for (int i = 0; i < 4; i++) /* hot: all alike */
        ck_assert_int_eq(draw(1e9, 1, 4, near, i / 4.0 + 0.1), i);
}
END_TEST

START_TEST(refusals)
{
    static const sae_lm_sampling bad[] = {
        {-1, 1, 0},        {NAN, 1, 0}, {INFINITY, 1, 0}, {1, 0, 0},
        {1, 1.0000001, 0}, {1, NAN, 0}, {1, -0.5, 0},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        sae_err err = {0};
        ck_assert_int_eq(sae_lm_sampling_check(&bad[i], &err), SAE_EINVAL);
        ck_assert_ptr_nonnull(strstr(err.msg, i < 3 ? "temperature" : "top-p"));
    }
    static const sae_lm_sampling good[] = {{0, 1, 0}, {1e6, 1e-300, 0}};
    for (size_t i = 0; i < 2; i++) {
        sae_err err = {0};
        ck_assert_ok(sae_lm_sampling_check(&good[i], &err), err);
    }
}
END_TEST

Suite *suite_sample(void)
{
    Suite *s = suite_create("sample");
    TCase *t = tcase_create("sample");
    tcase_add_test(t, greedy);
    tcase_add_test(t, borders);
    tcase_add_loop_test(t, grid, 0, 14);
    tcase_add_loop_test(t, frequencies, 0, 2);
    tcase_add_test(t, extremes);
    tcase_add_test(t, refusals);
    suite_add_tcase(s, t);
    return s;
}
