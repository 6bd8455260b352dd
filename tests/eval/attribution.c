/* tests/eval/attribution.c - attribution and removal of latents, recomputed row by row. */
#include "eval/bench.h"

static world w;
static results o;

/* Cross-entropy of row r at x, and its gradient where grad is not NULL. */
static double loss_at(int r, const sae_real *x, double *grad)
{
    double p[VOCAB];
    world_logprob(&w, x, p);
    for (int i = 0; grad && i < D; i++) {
        grad[i] = -(double)w.head[w.next[r] * D + i];
        for (int v = 0; v < VOCAB; v++)
            grad[i] += exp(p[v]) * (double)w.head[v * D + i];
    }
    return -p[w.next[r]];
}

/* Attribution and effect of latent j over the first `rows` rows. */
static void recompute(int j, int rows, double *attributed, double *removed)
{
    *attributed = *removed = 0;
    for (int r = 0; r < rows; r++) {
        double z = w.scale * (double)w.z[r * N + j], g[D], clean = loss_at(r, &w.x[r * D], g);
        sae_real x[D];
        for (int i = 0; i < D; i++) {
            x[i] = (sae_real)((double)w.x[r * D + i] - z * (double)w.w_dec[j * D + i]);
            *attributed -= z * (double)w.w_dec[j * D + i] * g[i];
        }
        *removed += loss_at(r, x, NULL) - clean;
    }
}

/* All N latents, so that the choice does not matter. The gradient passes through float (2^-24 of
 * values below 10, times activations below 10); the rest is double. */
START_TEST(values)
{
    const int rows = 100;
    const double tol = 100 * 10 * 10 * 0x1p-24;
    double a[N], e[N], aa = 0, ae = 0, size = 0;
    world_fill(&w, 31);
    w.scale = 0.5;
    measure(&w, "attribution:latents=10,rows=100", 7, 0, &o);
    for (int j = 0; j < N; j++) {
        recompute(j, rows, &a[j], &e[j]);
        aa += a[j] * a[j];
        ae += a[j] * e[j];
        size += fabs(e[j]) / N / rows;
    }
    int seen = 0;
    for (int i = 0; i < o.points; i++) {
        double want = !strcmp(o.point[i].key, "removed") ? e[o.point[i].index]
                                                         : a[o.point[i].index];
        ck_assert_double_eq_tol(o.point[i].value, want / rows, tol / rows);
        seen++;
    }
    ck_assert_int_eq(seen, 2 * N);
    ck_assert_double_eq_tol(value_of(&o, "slope"), ae / aa, 2 * tol * N * fabs(ae / aa) / sqrt(aa));
    ck_assert_double_eq_tol(value_of(&o, "effect"), size, 1e-9);
    ck_assert_int_eq(o.row[find_row(&o, "effect")].count, rows);
    ck_assert(se_of(&o, "slope") > 0);
}
END_TEST

/* Small codes change little: the first order is all there is, and both orders of latents agree. */
START_TEST(small_steps_are_linear)
{
    world_fill(&w, 32);
    for (int i = 0; i < ROWS * N; i++)
        w.z[i] *= (sae_real)0x1p-8;
    measure(&w, "attribution:latents=10,rows=240", ROWS, 0, &o);
    ck_assert_double_eq_tol(value_of(&o, "slope"), 1, 0.05);
    ck_assert(value_of(&o, "correlation") > 0.99 && value_of(&o, "rank_correlation") > 0.9);
    memset(w.z, 0, sizeof w.z); /* a silent SAE */
    measure(&w, "attribution:rows=240", ROWS, 0, &o);
    ck_assert(isnan(value_of(&o, "correlation")) && isnan(value_of(&o, "slope")));
    ck_assert(value_of(&o, "effect") == 0);
}
END_TEST

Suite *suite_attribution(void)
{
    Suite *s = suite_create("attribution");
    TCase *t = tcase_create("attribution");
    tcase_add_test(t, values);
    tcase_add_test(t, small_steps_are_linear);
    suite_add_tcase(s, t);
    return s;
}
