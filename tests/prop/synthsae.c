/* tests/prop/synthsae.c - SynthSAEBench's frequencies, hierarchy, magnitudes and correlations.
 *
 * Statistics need no width: d = 2 and random atoms.
 */
#include "prop/sample.h"

#include <string.h>

enum { N = 16384, SMALL = 2048, ROOTS = 128, TREE = 10880, FIRST = 4096 };
#define ALL "synthsae:d=2,atoms=gaussian"

/* p_i of the publication: Zipf with exponent 1/2 mapped to [5e-4, 0.4]. */
static double probability(int64_t i, int64_t n)
{
    double least = 1.0 / sqrt((double)n);
    return 5e-4 + (0.4 - 5e-4) * (1.0 / sqrt((double)(i + 1)) - least) / (1.0 - least);
}

static void count_features(const sample *a, double *count)
{
    memset(count, 0, (size_t)a->n * sizeof *count);
    for (int64_t e = 0; e < a->t.code->nnz; e++)
        count[a->t.code->idx[e]]++;
}

/* Sums of features [begin, end) over rows: mean and standard deviation. */
static void l0_of(const sample *a, int64_t begin, int64_t end, double *mean, double *sd)
{
    const sae_code *z = a->t.code;
    double sum = 0.0, square = 0.0;
    for (int64_t r = 0; r < ROWS; r++) {
        double active = 0.0;
        for (int64_t e = z->rowptr[r]; e < z->rowptr[r + 1]; e++)
            active += z->idx[e] >= begin && z->idx[e] < end;
        sum += active;
        square += active * active;
    }
    *mean = sum / ROWS;
    *sd = sqrt(square / ROWS - *mean * *mean);
}

/* relu(mu_i + sigma_i z), mu from 5 to 4: deviations from mu average to 0 up to what is cut off
 * below 0: 6e-4 on average over sigma = |N(0.5, 0.5)|. */
static void assert_magnitudes(const sample *a)
{
    double sum = 0.0, square = 0.0, count = (double)a->t.code->nnz;
    for (int64_t e = 0; e < a->t.code->nnz; e++) {
        double v = (double)a->t.code->val[e];
        double dev = v - 5.0 + a->t.code->idx[e] / ((double)a->n - 1.0);
        ck_assert_double_gt(v, 0.0);
        sum += dev;
        square += dev * dev;
    }
    ck_assert_double_le(fabs(sum / count), 6.0 * sqrt(square / count / count) + 1e-3);
}

/* Without trees the probabilities are the base ones, with the copula or without: 59.1 in all, 40.1
 * of the first 4096. Common factors widen the distribution of the number. */
START_TEST(base_probabilities)
{
    sample a = draw_codes(_i ? ALL ",roots=0" : ALL ",roots=0,rank=0,features=2048",
                          SAE_SPLIT_TRAIN);
    double *count = malloc((size_t)a.n * sizeof *count), total = 0.0, first = 0.0, spread = 0.0;
    double mean, sd;
    count_features(&a, count);
    for (int64_t i = 0; i < a.n; i++) {
        double p = probability(i, a.n);
        total += p;
        first += i < FIRST ? p : 0.0;
        spread += p * (1.0 - p);
        assert_share(count[i], p, "feature");
    }
    l0_of(&a, 0, a.n, &mean, &sd);
    assert_mean(mean * ROWS, ROWS, total, sd, "l0");
    if (_i) { /* sample variances of independent sums scatter by 1 %, sqrt(2 / ROWS) */
        ck_assert(fabs(total - 59.1) < 0.05 && fabs(first - 40.1) < 0.05);
        ck_assert_double_gt(sd * sd, 1.06 * spread);
        l0_of(&a, 0, FIRST, &mean, &sd);
        assert_mean(mean * ROWS, ROWS, first, sd, "l0 of the first");
    } else {
        ck_assert_double_le(fabs(sd * sd / spread - 1.0), 0.07);
    }
    assert_magnitudes(&a);
    free(count);
    done(&a);
}
END_TEST

/* Published: about 34 active features, about 25 of the first 4096. Roots keep their base
 * probability, no child is without its parent or beside a sibling. */
START_TEST(hierarchy)
{
    sample a = draw_codes(ALL, SAE_SPLIT_TRAIN);
    const sae_code *z = a.t.code;
    double *count = malloc(N * sizeof *count), mean, sd;
    int64_t *last = malloc(N * sizeof *last), *family = malloc(N * sizeof *family);
    count_features(&a, count);
    for (int64_t i = 0; i < N; i++)
        last[i] = family[i] = -1;
    for (int64_t r = 0; r < ROWS; r++)
        for (int64_t e = z->rowptr[r]; e < z->rowptr[r + 1]; e++) {
            int64_t i = z->idx[e], parent = (i - ROOTS) / 4;
            last[i] = r;
            if (i < ROOTS || i >= TREE)
                continue;
            ck_assert_msg(last[parent] == r, "a child without its parent");
            ck_assert_msg(family[parent] != r, "two children");
            family[parent] = r;
        }
    for (int64_t i = 0; i < N; i++)
        if (i < ROOTS || i >= TREE)
            assert_share(count[i], probability(i, N), "root or free feature");
    l0_of(&a, 0, N, &mean, &sd);
    ck_assert_msg(fabs(mean - 34.0) <= 0.5 + 6.0 * sd / sqrt(ROWS), "l0 %g", mean);
    l0_of(&a, 0, FIRST, &mean, &sd);
    ck_assert_msg(fabs(mean - 25.0) <= 0.5 + 6.0 * sd / sqrt(ROWS), "l0 of the first %g", mean);
    free(count);
    free(last);
    free(family);
    done(&a);
}
END_TEST

/* Independent draws, 20 roots of four children: a child is drawn with s = p / P (1 + siblings / P),
 * P its parent's probability, and stays with s E[1 / (1 + others drawn)]. */
START_TEST(one_child_stays)
{
    sample a = draw_codes("synthsae:d=2,features=100,roots=20,depth=1,rank=0", SAE_SPLIT_TRAIN);
    double count[100] = {0};
    count_features(&a, count);
    for (int i = 0; i < 20; i++) {
        double parent = probability(i, 100), sum = 0.0, s[4];
        for (int c = 0; c < 4; c++)
            sum += probability(20 + 4 * i + c, 100);
        for (int c = 0; c < 4; c++) {
            double p = probability(20 + 4 * i + c, 100);
            s[c] = fmin(1.0, p / parent * (1.0 + (sum - p) / parent));
        }
        assert_share(count[i], parent, "root");
        for (int c = 0; c < 4; c++) {
            double stays = 0.0;
            for (int set = 0; set < 16; set++) { /* of children drawn */
                double p = 1.0, members = 0.0;
                for (int k = 0; k < 4; k++) {
                    p *= set >> k & 1 ? s[k] : 1.0 - s[k];
                    members += set >> k & 1;
                }
                stays += set >> c & 1 ? p / members : 0.0;
            }
            assert_share(count[20 + 4 * i + c], parent * stays, "child");
        }
    }
    done(&a);
}
END_TEST

/* The same draws with and without scaling: level by level values differ by parent / mu(parent). */
START_TEST(children_follow)
{
    sample v2 = draw_codes(ALL ",features=2048,roots=16", SAE_SPLIT_TRAIN);
    sample v1 = draw_codes(ALL ",features=2048,roots=16,scale_children=0", SAE_SPLIT_TRAIN);
    const sae_code *z = v2.t.code, *y = v1.t.code;
    double value[SMALL];
    ck_assert_int_eq(z->nnz, y->nnz);
    for (int64_t e = 0; e < z->nnz; e++) {
        int64_t i = z->idx[e], parent = (i - 16) / 4;
        double own = (double)y->val[e], v = (double)z->val[e];
        int child = i >= 16 && i < 1360; /* 16 + 64 + 256 + 1024 in trees */
        double factor = child ? value[parent] / (5.0 - (double)parent / (SMALL - 1.0)) : 1.0;
        ck_assert_int_eq(y->idx[e], i);
        ck_assert_double_le(fabs(v - own * factor), 4 * U * fabs(v)); /* three roundings */
        value[i] = v;
    }
    done(&v1);
    done(&v2);
}
END_TEST

Suite *suite_synthsae(void)
{
    Suite *s = suite_create("synthsae");
    TCase *tc = tcase_create("synthsae");
    tcase_set_timeout(tc, 120);
    tcase_add_loop_test(tc, base_probabilities, 0, 2);
    tcase_add_test(tc, hierarchy);
    tcase_add_test(tc, one_child_stays);
    tcase_add_test(tc, children_follow);
    suite_add_tcase(s, tc);
    return s;
}
