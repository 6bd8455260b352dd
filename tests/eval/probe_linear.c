/* tests/eval/probe_linear.c - linear probes: a case worked out by hand, classes that a line parts,
 * labels that are noise, documents that decide the error. */
#include "eval/probe_linear.h"

#include "core/memory.h"
#include "support/support.h"

#include <math.h>
#include <sae/rng.h>
#include <string.h>

static sae_linprobe p;
static sae_err err;

static void open_probe(int64_t d, int64_t classes)
{
    ck_assert_ok(sae_linprobe_open(&p, d, classes, &err), err);
}

/* ---- by hand --------------------------------------------------------------------------------- */

/* Class 0: (9, 5) (11, 5); class 1: (13, 4) (15, 4) (13, 6) (15, 6); a third coordinate is always
 * 7. N = 6, means (10, 5) and (14, 5), of all (38/3, 5). Within the classes the first coordinate
 * has variance 1 and the second 2/3, uncorrelated; in total 41/9 and 2/3. With the ridge R is
 * diag(1 + 41e-8 / 9, ...). Numbers are below 10: 1e-13 is some fifty roundings. */
static const sae_real hand[] = {9, 5, 7, 11, 5, 7, 13, 4, 7, 15, 4, 7, 13, 6, 7, 15, 6, 7, 0, 0, 0};
static const int32_t hand_label[] = {0, 0, 1, 1, 1, 1, -1};

START_TEST(by_hand)
{
    open_probe(3, 3);
    sae_linprobe_add(&p, hand, hand_label, 1, 7);
    ck_assert_ok(sae_linprobe_fit(&p, &err), err);
    double r = 1 + 41e-8 / 9, mean[] = {10 - 38.0 / 3, 14 - 38.0 / 3};
    for (int c = 0; c < 2; c++) {
        ck_assert_double_eq_tol(p.w[3 * c], mean[c] / r, 1e-13);
        ck_assert_double_eq_tol(p.w[3 * c + 1], 0, 1e-13);
        ck_assert(p.w[3 * c + 2] == 0);
        /* b is for rows less the first one, (9, 5, 7). */
        ck_assert_double_eq_tol(p.b[c], -mean[c] / r * (38.0 / 3 - 9 + mean[c] / 2), 1e-13);
        ck_assert_double_eq_tol(p.prior[c], log((c + 1) / 3.0), 1e-13);
    }
    ck_assert(p.b[2] == -(double)INFINITY);
    /* Without priors the border lies at 12, with them at 12 - r ln 2 / 4 = 11.827. */
    const sae_real x[] = {11.8f, 0, 7, 11.85f, 9, 7, 11.9f, 5, 0, 12.1f, 5, 7};
    const int32_t label[] = {0, 9, 1, 9, 1, 9, 0, 9};
    sae_linprobe_test(&p, x, label, 2, 4, 0);
    sae_linprobe_result s = sae_linprobe_score(&p);
    ck_assert_int_eq(s.trained, 6);
    ck_assert_int_eq(s.rows, 4);
    ck_assert_int_eq(s.classes, 2);
    ck_assert_double_eq(s.majority, 0.5);
    ck_assert_double_eq(s.accuracy, 0.75); /* but the last, whose label is 0 */
    ck_assert_double_eq(s.balanced, 0.25); /* the first: 1 of 2, and none of 2 */
    ck_assert(isnan(s.accuracy_se));       /* one document */
    sae_linprobe_close(&p);
}
END_TEST

/* ---- random rows ----------------------------------------------------------------------------- */

enum { D = 6, C = 4, ROWS = 4000, DOC = 20 };

static sae_real x[ROWS * D];
static int32_t label[ROWS];

/* Normal rows; class c lies `apart` away along coordinate c, everything far from 0. */
static void make_rows(uint64_t seed, double apart)
{
    for (int64_t i = 0; i < ROWS; i++) {
        label[i] = (int32_t)(sae_philox(seed, SAE_STREAM_SYNTHETIC, (uint64_t)i, 99).v[0] % C);
        for (int64_t j = 0; j < D; j++)
            x[i * D + j] =
                (sae_real)(1000 + (label[i] == j ? apart : 0) +
                           sae_normal(seed, SAE_STREAM_SYNTHETIC, (uint64_t)i, (uint32_t)j));
    }
}

static sae_linprobe_result fit_and_test(double apart)
{
    make_rows(1, apart);
    open_probe(D, C);
    sae_linprobe_add(&p, x, label, 1, ROWS);
    ck_assert_ok(sae_linprobe_fit(&p, &err), err);
    make_rows(2, apart);
    for (int64_t i = 0; i < ROWS; i += DOC)
        sae_linprobe_test(&p, x + i * D, label + i, 1, DOC, (uint64_t)i);
    sae_linprobe_result r = sae_linprobe_score(&p);
    sae_linprobe_close(&p);
    return r;
}

/* Two classes lie 20 sqrt(2) deviations apart: a row is mistaken with probability below
 * 3 P(normal > 14), 1e-44. */
START_TEST(separable)
{
    sae_linprobe_result r = fit_and_test(20);
    ck_assert_int_eq(r.rows, ROWS);
    ck_assert_double_eq(r.accuracy, 1);
    ck_assert_double_eq(r.balanced, 1);
    ck_assert_double_eq(r.accuracy_se, 0);
}
END_TEST

/* The labels are independent of the rows: each row is told with probability 1/4 whatever the probe
 * says, so both figures stay within 5 deviations of a mean of ROWS draws (the balanced one's are
 * sqrt(3/16 / (ROWS / 4)) / 2 = the same), and the jackknife finds that deviation within 1/4 (its
 * own relative error is about 1 / sqrt(2 * 200 documents) = 0.05). */
START_TEST(noise)
{
    sae_linprobe_result r = fit_and_test(0);
    double sd = sqrt(0.25 * 0.75 / ROWS);
    ck_assert_msg(fabs(r.accuracy - 0.25) < 5 * sd, "accuracy %g", r.accuracy);
    ck_assert_msg(fabs(r.balanced - 0.25) < 5 * sd, "balanced %g", r.balanced);
    ck_assert_msg(fabs(r.accuracy_se / sd - 1) < 0.25, "se %g, expected %g", r.accuracy_se, sd);
    ck_assert_msg(fabs(r.balanced_se / sd - 1) < 0.25, "se %g, expected %g", r.balanced_se, sd);
}
END_TEST

/* Rows of one document that are all the same weigh as one row: the error is that of ROWS / DOC
 * draws, though the rows are ROWS. */
START_TEST(documents_decide_the_error)
{
    make_rows(3, 0);
    open_probe(D, C);
    sae_linprobe_add(&p, x, label, 1, ROWS);
    ck_assert_ok(sae_linprobe_fit(&p, &err), err);
    for (int64_t i = 0; i < ROWS; i += DOC)
        for (int64_t k = 0; k < DOC; k++)
            sae_linprobe_test(&p, x + i * D, label + i, 1, 1, (uint64_t)i);
    sae_linprobe_result r = sae_linprobe_score(&p);
    double share = r.accuracy, sd = sqrt(share * (1 - share) / (ROWS / DOC));
    ck_assert_msg(fabs(r.accuracy_se / sd - 1) < 0.25, "se %g, expected %g", r.accuracy_se, sd);
    sae_linprobe_close(&p);
}
END_TEST

/* How rows are cut into calls changes no bit. */
START_TEST(cuts)
{
    static double w[D * C];
    make_rows(4, 1);
    for (int64_t cut = 1; cut <= 1000; cut = cut == 1 ? 137 : cut == 137 ? 1000 : 1001) {
        open_probe(D, C);
        for (int64_t i = 0; i < ROWS; i += cut)
            sae_linprobe_add(&p, x + i * D, label + i, 1, ROWS - i < cut ? ROWS - i : cut);
        ck_assert_ok(sae_linprobe_fit(&p, &err), err);
        if (cut == 1)
            memcpy(w, p.w, sizeof w);
        ck_assert(memcmp(w, p.w, sizeof w) == 0);
        sae_linprobe_close(&p);
    }
}
END_TEST

/* No rows, rows of one class, rows that are all the same, more coordinates than rows, NaN. */
START_TEST(edges)
{
    const int32_t zero[] = {0, 0}, both[] = {0, 1};
    const sae_real same[6] = {3, 3, 3, 3, 3, 3};
    sae_real bad[6] = {1, 2, 3, 4, 5, 6};
    open_probe(3, 2);
    ck_assert_ok(sae_linprobe_fit(&p, &err), err);
    ck_assert(isnan(sae_linprobe_score(&p).accuracy));
    sae_linprobe_test(&p, same, zero, 1, 2, 0);
    ck_assert_double_eq(sae_linprobe_score(&p).accuracy, 0); /* nothing to tell it by */
    sae_linprobe_close(&p);
    open_probe(3, 2);
    sae_linprobe_add(&p, same, zero, 1, 2);
    ck_assert_ok(sae_linprobe_fit(&p, &err), err);
    sae_linprobe_test(&p, bad, zero, 1, 2, 0);
    ck_assert_double_eq(sae_linprobe_score(&p).accuracy, 1);
    sae_linprobe_close(&p);
    open_probe(3, 2);
    sae_linprobe_add(&p, bad, both, 1, 2);
    ck_assert_ok(sae_linprobe_fit(&p, &err), err);
    sae_linprobe_test(&p, bad, both, 1, 2, 0);
    ck_assert_double_eq(sae_linprobe_score(&p).accuracy, 1);
    sae_linprobe_close(&p);
    for (int i = 0; i < 2; i++) {
        bad[4] = (sae_real)(i ? INFINITY : NAN);
        open_probe(3, 2);
        sae_linprobe_add(&p, bad, both, 1, 2);
        ck_assert_int_eq(sae_linprobe_fit(&p, &err), SAE_ENONFINITE);
        sae_linprobe_close(&p);
    }
}
END_TEST

/* Whatever allocation fails: an error, nothing left behind. */
START_TEST(out_of_memory)
{
    size_t live = sae_alloc_live();
    uint64_t calls = sae_alloc_calls();
    open_probe(3, 2);
    calls = sae_alloc_calls() - calls;
    sae_linprobe_close(&p);
    for (uint64_t i = 1; i <= calls; i++) {
        sae_alloc_fail_at(i);
        ck_assert_int_eq(sae_linprobe_open(&p, 3, 2, &err), SAE_ENOMEM);
        sae_alloc_fail_at(0);
        ck_assert_uint_eq(sae_alloc_live(), live);
    }
    ck_assert_int_eq(sae_linprobe_open(&p, 0, 2, &err), SAE_EINVAL);
}
END_TEST

Suite *suite_probe_linear(void)
{
    Suite *s = suite_create("probe_linear");
    TCase *tc = tcase_create("probe_linear");
    tcase_add_test(tc, by_hand);
    tcase_add_test(tc, separable);
    tcase_add_test(tc, noise);
    tcase_add_test(tc, documents_decide_the_error);
    tcase_add_test(tc, cuts);
    tcase_add_test(tc, edges);
    tcase_add_test(tc, out_of_memory);
    suite_add_tcase(s, tc);
    return s;
}
