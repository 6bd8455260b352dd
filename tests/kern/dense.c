/* tests/kern/dense.c - gemm, and that its rows do not see each other. */
#include "kern/kern.h"
#include "kern/wide.h"

#include <math.h>
#include <string.h>

typedef struct gemm_case {
    int ta, tb;
    float alpha, beta;
    int64_t m, n, depth;
    sae_cmat a, b;
    sae_mat c;
    double *want, *bound;
} gemm_case;

static int run_gemm(const impl *im, void *ctx)
{
    const gemm_case *g = ctx;
    return im->k.gemm(im->dev, g->ta, g->tb, g->alpha, g->a, g->b, g->beta, g->c);
}

static void check_gemm(const impl *im, void *ctx)
{
    const gemm_case *g = ctx;
    (void)im;
    kern_close("c", g->c.p, g->m, g->n, g->c.ld, g->want, g->bound);
}

static sae_cmat operand(int64_t rows, int64_t cols, enum data kind)
{
    int64_t ld = cols + kern_random(5);
    float *p = kern_in((size_t)(rows * ld) * sizeof *p);
    memset(p, 0xFF, (size_t)(rows * ld) * sizeof *p); /* NaN in the padding */
    kern_fill(p, rows, cols, ld, kind);
    sae_cmat m = {p, rows, cols, ld};
    return m;
}

static void expect_gemm(gemm_case *g, enum data kind)
{
    double *a = kern_widen(g->a.p, g->a.rows, g->a.cols, g->a.ld);
    double *b = kern_widen(g->b.p, g->b.rows, g->b.cols, g->b.ld);
    g->want = kern_widen(g->c.p, g->m, g->n, g->c.ld);
    double *s = kern_abs(g->want, g->m * g->n);
    g->bound = s;
    wide_gemm(g->ta, g->tb, (double)g->alpha, a, b, (double)g->beta, g->want, g->m, g->n, g->depth);
    wide_gemm(g->ta, g->tb, fabs((double)g->alpha), kern_abs(a, g->m * g->depth),
              kern_abs(b, g->n * g->depth), fabs((double)g->beta), s, g->m, g->n, g->depth);
    for (int64_t i = 0; i < g->m * g->n; i++)
        g->bound[i] = kern_t1(kind, (double)g->depth + 1, (double)g->depth + 1, s[i]);
}

static void one_gemm(int64_t m, int64_t n, int64_t depth, int ta, int tb, float alpha, float beta,
                     enum data kind)
{
    if (!kern_case("gemm %c%c %lldx%lldx%lld beta %g data %d", ta ? 't' : 'n', tb ? 't' : 'n',
                   (long long)m, (long long)n, (long long)depth, (double)beta, (int)kind))
        return;
    gemm_case g = {ta, tb, alpha, beta, m, n, depth, {0}, {0}, {0}, NULL, NULL};
    g.a = ta ? operand(depth, m, kind) : operand(m, depth, kind);
    g.b = tb ? operand(n, depth, kind) : operand(depth, n, kind);
    int64_t ld = n + 3;
    g.c.p = kern_out((size_t)(m * ld) * sizeof(float));
    g.c.rows = m;
    g.c.cols = n;
    g.c.ld = ld;
    if (beta != 0)
        kern_fill(g.c.p, m, n, ld, kind);
    expect_gemm(&g, kind);
    kcase c = {run_gemm, check_gemm, &g, 2.0 * (double)(m * n * depth),
               4.0 * (double)(m * n + m * depth + n * depth), SAE_OK};
    kern_run(&c);
}

/* Each row of a larger product, computed alone, has the same bits. */
static void rows_alone(const impl *im, void *ctx)
{
    const gemm_case *g = ctx;
    float *row = kern_temp((size_t)g->n * sizeof *row);
    for (int64_t r = 0; r < g->m; r += 1 + kern_random(9)) {
        sae_cmat a = {g->a.p + r * g->a.ld, 1, g->depth, g->a.ld};
        sae_mat c = {row, 1, g->n, g->n};
        if (im->k.gemm(im->dev, 0, g->tb, g->alpha, a, g->b, 0, c) || im->be->sync(im->dev))
            kern_fail("row %lld failed", (long long)r);
        kern_same("row alone", row, g->c.p + r * g->c.ld, (size_t)g->n * sizeof *row);
    }
}

static void independent_rows(void)
{
    for (int tb = 0; tb < 2; tb++) {
        if (!kern_case("gemm rows alone, n%c", tb ? 't' : 'n'))
            continue;
        gemm_case g = {.tb = tb, .alpha = 1, .m = 77, .n = 45, .depth = 1030};
        g.a = operand(g.m, g.depth, NORMAL);
        g.b = tb ? operand(g.n, g.depth, NORMAL) : operand(g.depth, g.n, NORMAL);
        sae_mat c = {kern_out((size_t)(g.m * g.n) * sizeof(float)), g.m, g.n, g.n};
        g.c = c;
        kcase k = {run_gemm, rows_alone, &g, 0, 0, SAE_OK};
        kern_run(&k);
    }
}

static void bad_shapes(void)
{
    if (!kern_case("gemm wrong extents"))
        return;
    gemm_case g = {.alpha = 1, .m = 3, .n = 4, .depth = 5};
    g.a = operand(3, 5, NORMAL);
    g.b = operand(6, 4, NORMAL);
    sae_mat c = {kern_out(12 * sizeof(float)), 3, 4, 4};
    g.c = c;
    kcase k = {run_gemm, NULL, &g, 0, 0, SAE_EINVAL};
    kern_run(&k);
}

void test_dense(void)
{
    static const float scale[][2] = {{1, 0}, {0.5f, 1}, {-1, 0.25f}};
    for (int i = 0; i < 14; i++)
        for (int t = 0; t < 4; t++) {
            int64_t m = kern_sizes[i], n = kern_sizes[kern_pick(14)];
            int64_t depth = kern_sizes[kern_pick(14)];
            const float *s = scale[kern_pick(3)];
            one_gemm(t % 2 ? n : m, t % 2 ? m : n, depth, t & 1, t >> 1, s[0], s[1],
                     (enum data)kern_pick(3));
        }
    one_gemm(0, 5, 7, 0, 0, 1, 0, NORMAL);
    one_gemm(5, 0, 7, 0, 1, 1, 0, NORMAL);
    one_gemm(5, 7, 0, 0, 1, 1, 0, NORMAL); /* an empty sum is 0 */
    one_gemm(5, 7, 0, 0, 1, 1, 0.5f, NORMAL);
    one_gemm(520, 140, 700, 0, 1, 1, 0, NORMAL); /* several blocks and strips */
    one_gemm(140, 300, 1100, 1, 0, 1, 1, NORMAL);
    if (kern_benching())
        one_gemm(1024, 1024, 768, 0, 1, 1, 0, NORMAL);
    independent_rows();
    bad_shapes();
}
