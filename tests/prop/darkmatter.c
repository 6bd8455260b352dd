/* tests/prop/darkmatter.c - the synthetic test of the decomposition of an SAE's error (Engels et
 * al. 2024, appendix C.3): its closed form on rows of the synthetic source.
 *
 * x has covariance eigenvalues 100 / i, i = 1..64: orthogonal atoms whose coefficients are +-sqrt(8
 * * 100 / i) with probability 1/8. x' = x + s_act N(0, I) is what the source gives, rec = x + s_rec
 * N(0, I) a reconstruction; err = x' - rec is regressed on x'.
 */
#include "prop/sample.h"
#include "truth/truth.h"

#include <stdio.h>
#include <string.h>

enum { D = 64, BLOCKS = 10, PART = ROWS / BLOCKS };

/* Shares of the variance of x': FVU(rec) - FVU(rec + x' b), and FVU(rec + x' b). */
static const struct {
    double s_act, s_rec, linear, nonlinear;
} published[] = {
    {0, 1, 0, .1349},         {1, 0, .0274, .0915},  {1, 1, .0274, .2104}, {2, 0, .1786, .1719},
    {2, 3, .1786, .9605},     {3, 1, .3700, .2393},  {4, 0, .5267, .1567}, {4, 4, .5267, .8401},
    {0, 4, 0, 2.1586},
};
enum { SETTINGS = sizeof published / sizeof published[0] };

/* Least squares of err on x without intercept: sums of squares of err before and after. */
static void regress(const double *x, const double *err, double *before, double *after)
{
    static double gram[D * D], b[D * D];
    memset(gram, 0, sizeof gram);
    memset(b, 0, sizeof b);
    *before = *after = 0.0;
    for (int r = 0; r < PART; r++)
        for (int i = 0; i < D; i++) {
            double xi = x[r * D + i];
            for (int j = 0; j < D; j++) {
                gram[i * D + j] += xi * x[r * D + j];
                b[i * D + j] += xi * err[r * D + j];
            }
            *before += err[r * D + i] * err[r * D + i];
        }
    ck_assert(truth_cholesky(gram, D));
    for (int i = 0; i < D; i++) /* b becomes L^-1 X^T err: what is explained is its square */
        for (int j = 0; j < D; j++) {
            for (int k = 0; k < i; k++)
                b[i * D + j] -= gram[i * D + k] * b[k * D + j];
            b[i * D + j] /= gram[i * D + i];
            *after -= b[i * D + j] * b[i * D + j];
        }
    *after += *before;
}

static void split(const sample *a, int part, double s_rec, double out[2])
{
    static double x[PART * D], err[PART * D];
    const sae_code *z = a->t.code;
    double total = 0.0, before, after;
    for (int r = 0; r < PART; r++) {
        int64_t row = (int64_t)part * PART + r;
        double *e = err + r * D;
        for (int j = 0; j < D; j++) {
            x[r * D + j] = (double)a->x[row * D + j];
            total += x[r * D + j] * x[r * D + j];
            e[j] = x[r * D + j] - s_rec * sae_normal(9, 1024, (uint64_t)row, (uint32_t)j);
        }
        for (int64_t k = z->rowptr[row]; k < z->rowptr[row + 1]; k++)
            for (int j = 0; j < D; j++)
                e[j] -= (double)z->val[k] * (double)a->t.dict[z->idx[k] * D + j];
    }
    regress(x, err, &before, &after);
    out[0] = (before - after) / total;
    out[1] = after / total;
}

/* Standard errors from ten parts of the rows; ten of them exclude chance (t with 9 degrees of
 * freedom, 4e-6). A fit of D coefficients to PART rows takes the share D / PART of what is noise, a
 * tenth of it more or less as the noise depends on x; the table has four digits. */
START_TEST(closed_form)
{
    char text[160];
    const double want[2] = {published[_i].linear, published[_i].nonlinear};
    snprintf(text, sizeof text,
             "synthetic:d=64,features=64,l0=8,coef=const,symmetric=1,atoms=orthogonal,"
             "scale=28.284271247461902,decay=0.5,noise=%g", published[_i].s_act);
    sample a = draw(text, SAE_SPLIT_TRAIN);
    double part[BLOCKS][2];
    for (int b = 0; b < BLOCKS; b++)
        split(&a, b, published[_i].s_rec, part[b]);
    for (int k = 0; k < 2; k++) {
        double mean = 0.0, var = 0.0;
        for (int b = 0; b < BLOCKS; b++)
            mean += part[b][k] / BLOCKS;
        for (int b = 0; b < BLOCKS; b++)
            var += pow(part[b][k] - mean, 2) / (BLOCKS - 1);
        double fit = want[1] * D / PART;
        ck_assert_msg(fabs(mean + (k ? fit : -fit) - want[k]) <=
                          10.0 * sqrt(var / BLOCKS) + 0.1 * fit + 5e-5,
                      "s_act %g s_rec %g: %s %g, published %g", published[_i].s_act,
                      published[_i].s_rec, k ? "nonlinear" : "linear", mean, want[k]);
    }
    done(&a);
}
END_TEST

Suite *suite_darkmatter(void)
{
    Suite *s = suite_create("darkmatter");
    TCase *tc = tcase_create("darkmatter");
    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, closed_form, 0, SETTINGS);
    suite_add_tcase(s, tc);
    return s;
}
