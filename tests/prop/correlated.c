/* tests/prop/correlated.c - marginals and correlations of features that fire together. */
#include "prop/sample.h"

#include <string.h>

static void count_pairs(const sample *a, double *count, double *both)
{
    const int64_t n = a->n;
    const sae_code *z = a->t.code;
    memset(count, 0, (size_t)n * sizeof *count);
    memset(both, 0, (size_t)(n * n) * sizeof *both);
    for (int64_t r = 0; r < ROWS; r++)
        for (int64_t e = z->rowptr[r]; e < z->rowptr[r + 1]; e++) {
            count[z->idx[e]]++;
            for (int64_t f = z->rowptr[r]; f < e; f++)
                both[z->idx[f] * n + z->idx[e]]++;
        }
}

/* Of the two small toys: p = 0.4 each, correlation +-0.4 of g_0 with the others: both fire with
 * 0.222061 or 0.099674 (bivariate normal), of others 0.16. */
START_TEST(small_toys)
{
    sample a = draw(_i ? "correlated:setting=negative" : "correlated:setting=positive",
                    SAE_SPLIT_TRAIN);
    double count[5], both[25];
    count_pairs(&a, count, both);
    ck_assert(a.n == 5 && a.d == 20);
    for (int i = 0; i < 5; i++) {
        assert_share(count[i], 0.4, "feature");
        for (int j = i + 1; j < 5; j++)
            assert_share(both[i * 5 + j],
                         i ? 0.16 : _i ? 0.09967367106095597 : 0.22206130282630376, "pair");
    }
    done(&a);
}
END_TEST

/* p_i = 0.345 (49 - i) / 50 + 0.05; their sum 10.95 is the L0 of about 11; magnitudes N(1, 0.15^2),
 * below 0 never seen. Correlations of both signs, as many of either: their sum over pairs of rows
 * is bounded by what their signs allow. */
START_TEST(large_toy)
{
    sample a = draw("correlated", SAE_SPLIT_EVAL);
    static double count[50], both[2500];
    double sum = 0.0, square = 0.0, total = (double)a.t.code->nnz, l0 = 0.0;
    int positive = 0, negative = 0;
    ck_assert(a.n == 50 && a.d == 100);
    count_pairs(&a, count, both);
    for (int i = 0; i < 50; i++) {
        double p = 0.345 * (49 - i) / 50 + 0.05;
        l0 += p;
        assert_share(count[i], p, "feature");
        for (int j = i + 1; j < 50; j++) {
            double q = p * (0.345 * (49 - j) / 50 + 0.05), sd = sqrt(q * (1 - q) * ROWS);
            positive += both[i * 50 + j] > q * ROWS + 6 * sd;
            negative += both[i * 50 + j] < q * ROWS - 6 * sd;
        }
    }
    ck_assert_double_le(fabs(l0 - 10.9525), 1e-9);
    /* independent features give neither; 1225 pairs, 858 of them correlated before eigenvalues are
     * clipped, halved in strength by it */
    ck_assert_int_gt(positive, 150);
    ck_assert_int_gt(negative, 150);
    for (int64_t e = 0; e < a.t.code->nnz; e++) {
        sum += (double)a.t.code->val[e];
        square += pow((double)a.t.code->val[e] - 1.0, 2);
    }
    assert_mean(sum, total, 1.0, 0.15, "magnitude");
    assert_mean(square, total, 0.15 * 0.15, sqrt(2.0) * 0.15 * 0.15, "its variance");
    done(&a);
}
END_TEST

START_TEST(sharkey_independent)
{
    sample a = draw("correlated:setting=sharkey,d=4", SAE_SPLIT_TRAIN);
    static double count[512], both[512 * 512];
    double sum = 0.0;
    count_pairs(&a, count, both);
    for (int i = 0; i < 512; i++)
        assert_share(count[i], 5.0 / 512.0 * pow(0.99, i), "feature");
    for (int64_t e = 0; e < a.t.code->nnz; e++)
        sum += (double)a.t.code->val[e];
    assert_mean(sum, (double)a.t.code->nnz, 0.5, sqrt(1.0 / 12.0), "value");
    done(&a);
}
END_TEST

/* Squared difference of two counts over their sum, summed over features: about the number of
 * features when the law is the same. */
static double difference(const sample *a, int64_t r0, int64_t r1, int64_t rows)
{
    static double n0[512], n1[512];
    const sae_code *z = a->t.code;
    double sum = 0.0;
    memset(n0, 0, sizeof n0);
    memset(n1, 0, sizeof n1);
    for (int64_t e = z->rowptr[r0]; e < z->rowptr[r0 + rows]; e++)
        n0[z->idx[e]]++;
    for (int64_t e = z->rowptr[r1]; e < z->rowptr[r1 + rows]; e++)
        n1[z->idx[e]]++;
    for (int i = 0; i < 512; i++)
        sum += n0[i] + n1[i] > 0.0 ? pow(n0[i] - n1[i], 2) / (n0[i] + n1[i]) : 0.0;
    return sum;
}

/* Probabilities sum to 5 in every group of 4096 rows and differ between groups. An empty row, of
 * probability at most exp(-5), gets one feature. Rows of the sample start at 100. */
START_TEST(sharkey_correlated)
{
    sample a = draw("correlated:setting=sharkey_correlated,d=4", SAE_SPLIT_TRAIN);
    const sae_code *z = a.t.code;
    double l0 = (double)z->nnz / ROWS, bound = 6.0 * sqrt(5.0 / ROWS);
    for (int64_t r = 0; r < ROWS; r++)
        ck_assert_int_gt(z->rowptr[r + 1], z->rowptr[r]);
    ck_assert(l0 >= 5.0 - bound && l0 <= 5.0 + exp(-5.0) + bound);
    double spread = 6.0 * sqrt(2.0 * 512.0);
    ck_assert_double_le(difference(&a, 0, 1900, 1900), 512.0 + spread);
    ck_assert_double_gt(difference(&a, 0, 4096, 1900), 512.0 + 2 * spread);
    done(&a);
}
END_TEST

Suite *suite_correlated(void)
{
    Suite *s = suite_create("correlated");
    TCase *tc = tcase_create("correlated");
    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, small_toys, 0, 2);
    tcase_add_test(tc, large_toy);
    tcase_add_test(tc, sharkey_independent);
    tcase_add_test(tc, sharkey_correlated);
    suite_add_tcase(s, tc);
    return s;
}
