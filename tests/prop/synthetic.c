/* tests/prop/synthetic.c - the synthetic source has the distribution it states, and its rows are
 * the codes it gives as truth.
 */
#include "prop/sample.h"

#include <stdio.h>
#include <string.h>

START_TEST(frequencies)
{
    /* 50 features, l0 = 6, zipf 1: the weights sum to H = 4.4992, so p_i = 6 / H / (i + 1) is
     * clipped to 1 for i = 0 and the others share the remaining 5. */
    sample a = draw("synthetic:d=4,features=50,l0=6,zipf=1", SAE_SPLIT_TRAIN);
    double count[50] = {0}, rest = 0.0;
    for (int64_t e = 0; e < a.t.code->nnz; e++)
        count[a.t.code->idx[e]]++;
    for (int i = 1; i < 50; i++)
        rest += 1.0 / (i + 1);
    for (int i = 0; i < 50; i++) {
        double p = i == 0 ? 1.0 : fmin(1.0, 5.0 / rest / (i + 1));
        assert_mean(count[i], ROWS, p, sqrt(p * (1.0 - p)), "frequency");
    }
    done(&a);
}
END_TEST

START_TEST(number_active)
{
    static const char *const specs[] = {"synthetic:d=4,features=512", "synthetic:d=4,features=6"};
    sample a = draw(specs[_i], SAE_SPLIT_TRAIN);
    double n = (double)a.n, p = 5.0 / n;
    assert_mean((double)a.t.code->nnz, ROWS, 5.0, sqrt(n * p * (1.0 - p)), "l0");
    done(&a);
    a = draw("synthetic:d=4,features=64,l0=0", SAE_SPLIT_TRAIN);
    ck_assert_int_eq(a.t.code->nnz, 0);
    done(&a);
    a = draw("synthetic:d=4,features=64,l0=64", SAE_SPLIT_TRAIN);
    ck_assert_int_eq(a.t.code->nnz, 64 * ROWS);
    done(&a);
}
END_TEST

START_TEST(exactly_l0)
{
    sample a = draw("synthetic:d=4,features=30,l0=7,firing=exact", SAE_SPLIT_TRAIN);
    double count[30] = {0}, p = 7.0 / 30.0;
    for (int64_t r = 0; r <= ROWS; r++)
        ck_assert_int_eq(a.t.code->rowptr[r], 7 * r);
    for (int64_t e = 0; e < a.t.code->nnz; e++)
        count[a.t.code->idx[e]]++;
    for (int i = 0; i < 30; i++)
        assert_mean(count[i], ROWS, p, sqrt(p * (1.0 - p)), "frequency");
    done(&a);
}
END_TEST

/* A quarter of the rows has 12 features, the others 3. */
START_TEST(two_sparsities)
{
    sample a = draw("synthetic:d=4,features=30,l0=3,alt=0.25,l0_alt=12,firing=exact",
                    SAE_SPLIT_TRAIN);
    double many = 0.0, count[30] = {0}, p = (0.75 * 3 + 0.25 * 12) / 30;
    for (int64_t r = 0; r < ROWS; r++) {
        int64_t l0 = a.t.code->rowptr[r + 1] - a.t.code->rowptr[r];
        ck_assert(l0 == 3 || l0 == 12);
        many += l0 == 12;
    }
    assert_mean(many, ROWS, 0.25, sqrt(0.25 * 0.75), "rows of l0_alt");
    for (int64_t e = 0; e < a.t.code->nnz; e++)
        count[a.t.code->idx[e]]++;
    for (int i = 0; i < 30; i++)
        assert_mean(count[i], ROWS, p, sqrt(p * (1.0 - p)), "frequency");
    done(&a);
}
END_TEST

START_TEST(pairs)
{
    /* Base rate b = 0.1 / 1.5; each of a pair brings the other with probability q = 0.5. */
    sample a = draw("synthetic:d=4,features=100,l0=10,pairs=0.5", SAE_SPLIT_TRAIN);
    double b = 0.1 / 1.5, q = 0.5, both = 0.0;
    const sae_code *z = a.t.code;
    for (int64_t r = 0; r < ROWS; r++)
        for (int64_t e = z->rowptr[r]; e + 1 < z->rowptr[r + 1]; e++)
            both += z->idx[e] % 2 == 0 && z->idx[e + 1] == z->idx[e] + 1;
    double p_both = b * b + 2 * b * (1 - b) * q, p_any = 1 - (1 - b) * (1 - b);
    assert_mean(both, 50.0 * ROWS, p_both, sqrt(p_both * (1 - p_both)), "both of a pair");
    /* Features active per pair: 2 with p_both, 1 with p_any - p_both. */
    double mean = p_any + p_both, square = p_any + 3 * p_both;
    assert_mean((double)z->nnz, 50.0 * ROWS, mean, sqrt(square - mean * mean), "active of a pair");
    done(&a);
}
END_TEST

/* 6 of 60 features are drawn, each brings its partner with q = 0.5: a feature is active when it is
 * drawn (p), or when its partner is and not itself, p - p2, and brings it. */
START_TEST(pairs_of_a_given_number)
{
    sample a = draw("synthetic:d=4,features=60,l0=6,firing=exact,pairs=0.5", SAE_SPLIT_TRAIN);
    double count[60] = {0}, p = 0.1, p2 = 6.0 * 5.0 / (60.0 * 59.0), both = 0.0;
    const sae_code *z = a.t.code;
    for (int64_t r = 0; r < ROWS; r++) {
        ck_assert_int_ge(z->rowptr[r + 1] - z->rowptr[r], 6);
        for (int64_t e = z->rowptr[r]; e < z->rowptr[r + 1]; e++) {
            count[z->idx[e]]++;
            both += z->idx[e] == 9 && e > z->rowptr[r] && z->idx[e - 1] == 8;
        }
    }
    for (int i = 0; i < 60; i++)
        assert_share(count[i], p + 0.5 * (p - p2), "frequency");
    assert_share(both, p2 + 2 * 0.5 * (p - p2), "both of a pair");
    done(&a);
}
END_TEST

START_TEST(scaled_coefficients)
{
    sample a = draw("synthetic:d=4,features=40,l0=6,coef=const,symmetric=1,scale=3,decay=0.5",
                    SAE_SPLIT_TRAIN);
    double positive = 0.0;
    for (int64_t e = 0; e < a.t.code->nnz; e++) {
        double c = 3.0 / sqrt(1.0 + a.t.code->idx[e]), v = (double)a.t.code->val[e];
        ck_assert(fabs(fabs(v) - c) <= 2 * U * c);
        positive += v > 0.0;
    }
    assert_mean(positive, (double)a.t.code->nnz, 0.5, 0.5, "sign");
    done(&a);
}
END_TEST

static const struct {
    const char *coef;
    double mean, sd, least;
} laws[] = {
    {"const", 1.0, 0.0, 1.0},
    {"uniform", 0.5, 0.28867513459481287, 0.0},
    {"exponential", 1.0, 1.0, 0.0},
    /* |N|: mean sqrt(2 / pi), variance 1 - 2 / pi */
    {"gaussian", 0.7978845608028654, 0.6028102749890869, 0.0},
    /* |N| above t = 2.2414027276, where 2 P(N > t) = 1 / 40: mean m = 80 phi(t), variance
     * 1 + t m - m^2 */
    {"tail", 2.5886720127100, 0.3178580198373, 2.2414027},
    {"near", 1.0, 0.28867513459481287, 0.5},
};

START_TEST(coefficients)
{
    char text[128];
    snprintf(text, sizeof text, "synthetic:d=4,features=160,l0=4,coef=%s", laws[_i].coef);
    sample a = draw(text, SAE_SPLIT_TRAIN);
    double sum = 0.0, least = (double)INFINITY;
    for (int64_t e = 0; e < a.t.code->nnz; e++) {
        sum += (double)a.t.code->val[e];
        least = fmin(least, (double)a.t.code->val[e]);
    }
    assert_mean(sum, (double)a.t.code->nnz, laws[_i].mean, laws[_i].sd, laws[_i].coef);
    ck_assert_msg(least >= laws[_i].least, "%s: %g", laws[_i].coef, least);
    done(&a);
    strcat(text, ",symmetric=1");
    a = draw(text, SAE_SPLIT_TRAIN);
    double signs = 0.0;
    for (int64_t e = 0; e < a.t.code->nnz; e++)
        signs += a.t.code->val[e] > 0 ? 1.0 : -1.0;
    assert_mean(signs, (double)a.t.code->nnz, 0.0, 1.0, "signs");
    done(&a);
}
END_TEST

START_TEST(noise_and_offset)
{
    sample a = draw("synthetic:d=8,features=8,l0=0,noise=0.5,offset=2", SAE_SPLIT_TRAIN);
    double mean[8] = {0}, sq = 0.0, length = 0.0;
    for (int64_t i = 0; i < ROWS * 8; i++)
        mean[i % 8] += (double)a.x[i] / ROWS;
    for (int64_t i = 0; i < ROWS * 8; i++)
        sq += pow((double)a.x[i] - mean[i % 8], 2);
    for (int j = 0; j < 8; j++)
        length += mean[j] * mean[j];
    /* variance of z^2 is 2 sigma^4; |mean| is off by at most the error vector's length */
    assert_mean(sq, 8.0 * ROWS, 0.25, 0.25 * sqrt(2.0), "variance");
    ck_assert(fabs(sqrt(length) - 2.0) <= 6 * 0.5 * sqrt(8.0 / ROWS));
    done(&a);
}
END_TEST

START_TEST(unit_norms)
{
    sample a = draw("synthetic:d=16,features=40,l0=4,unit=row", SAE_SPLIT_TRAIN);
    sample b = draw("synthetic:d=16,features=40,l0=4,unit=code", SAE_SPLIT_TRAIN);
    for (int64_t r = 0; r < ROWS; r++) {
        double row = 0.0, code = 0.0;
        for (int64_t j = 0; j < 16; j++)
            row += pow((double)a.x[r * 16 + j], 2);
        for (int64_t e = b.t.code->rowptr[r]; e < b.t.code->rowptr[r + 1]; e++)
            code += pow((double)b.t.code->val[e], 2);
        int empty = b.t.code->rowptr[r] == b.t.code->rowptr[r + 1];
        ck_assert(fabs(row - !empty) <= 2 * U * 1.001);
        ck_assert(fabs(code - !empty) <= 2 * U * 1.001);
    }
    done(&a);
    done(&b);
}
END_TEST

Suite *suite_synthetic(void)
{
    Suite *s = suite_create("synthetic");
    TCase *tc = tcase_create("synthetic");
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, frequencies);
    tcase_add_loop_test(tc, number_active, 0, 2);
    tcase_add_test(tc, exactly_l0);
    tcase_add_test(tc, two_sparsities);
    tcase_add_test(tc, pairs);
    tcase_add_test(tc, pairs_of_a_given_number);
    tcase_add_test(tc, scaled_coefficients);
    tcase_add_loop_test(tc, coefficients, 0, (int)(sizeof laws / sizeof laws[0]));
    tcase_add_test(tc, noise_and_offset);
    tcase_add_test(tc, unit_norms);
    suite_add_tcase(s, tc);
    return s;
}
