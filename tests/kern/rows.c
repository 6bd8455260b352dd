/* tests/kern/rows.c - kernels over rows of dense matrices: sums, residuals, Adam, normals. */
#include "kern/kern.h"
#include "kern/wide.h"

#include <math.h>
#include <sae/rng.h>
#include <string.h>

typedef struct rows_case {
    enum data kind;
    float alpha;
    sae_cmat x, y;
    sae_mat out;
    const float *v;
    float *sums, *g, *m, *w;
    double *reals;
    sae_adam adam;
    /* expectations */
    double *want, *bound, *want2, *bound2, *want3, *bound3, *exact;
    uint64_t row0;
} rows_case;

static float *input(int64_t count, enum data kind)
{
    float *p = kern_in((size_t)count * sizeof *p);
    kern_fill(p, 1, count, count, kind);
    return p;
}

static float *inout(int64_t count, enum data kind)
{
    float *p = kern_out((size_t)count * sizeof *p);
    kern_fill(p, 1, count, count, kind);
    return p;
}

static sae_cmat matrix(int64_t rows, int64_t cols, int64_t ld, enum data kind)
{
    sae_cmat m = {NULL, rows, cols, ld};
    float *p = kern_in((size_t)(rows * ld) * sizeof *p);
    kern_fill(p, rows, cols, ld, kind);
    m.p = p;
    return m;
}

static sae_mat target(int64_t rows, int64_t cols, int64_t ld)
{
    sae_mat m = {kern_out((size_t)(rows * ld) * sizeof(float)), rows, cols, ld};
    return m;
}

static void reserve(rows_case *c, int64_t count)
{
    double **p[] = {&c->want, &c->bound, &c->want2, &c->bound2, &c->want3, &c->bound3};
    for (int i = 0; i < 6; i++)
        *p[i] = kern_temp((size_t)count * sizeof **p[i]);
}

/* ---- shift_rows: two roundings of numbers no larger than |x| + |alpha v| ---- */

static int run_shift(const impl *im, void *ctx)
{
    const rows_case *c = ctx;
    return im->k.shift_rows(im->dev, c->x, c->alpha, c->v, c->out);
}

static int run_shift_in_place(const impl *im, void *ctx)
{
    const rows_case *c = ctx;
    sae_cmat x = {c->out.p, c->out.rows, c->out.cols, c->out.ld};
    return im->k.shift_rows(im->dev, x, c->alpha, c->v, c->out);
}

static void check_out(const impl *im, void *ctx)
{
    const rows_case *c = ctx;
    (void)im;
    kern_close("out", c->out.p, c->out.rows, c->out.cols, c->out.ld, c->want, c->bound);
}

static void shift(int64_t rows, int64_t cols, int in_place)
{
    if (!kern_case("shift_rows %lldx%lld%s", (long long)rows, (long long)cols,
                   in_place ? " in place" : ""))
        return;
    rows_case c = {.alpha = -0.75f, .x = matrix(rows, cols, cols + 2, MIXTURE)};
    c.v = input(cols, MIXTURE);
    c.out = target(rows, cols, cols + 1);
    reserve(&c, rows * cols);
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < cols; j++) {
            float x = c.x.p[i * c.x.ld + j];
            double a = (double)x, b = (double)c.alpha * (double)c.v[j];
            if (in_place)
                c.out.p[i * c.out.ld + j] = x;
            c.want[i * cols + j] = a + b;
            c.bound[i * cols + j] = 2 * U24 * (fabs(a) + fabs(b)) + 0x1p-149;
        }
    double size = (double)(rows * cols);
    kcase k = {in_place ? run_shift_in_place : run_shift, check_out, &c, 2 * size, 8 * size,
               SAE_OK};
    kern_run(&k);
}

/* ---- col_sum, row_dot, sum ---- */

static int run_col_sum(const impl *im, void *ctx)
{
    const rows_case *c = ctx;
    return im->k.col_sum(im->dev, c->x, c->alpha, c->sums);
}

static void check_sums(const impl *im, void *ctx)
{
    const rows_case *c = ctx;
    (void)im;
    kern_close("sums", c->sums, 1, c->x.cols, c->x.cols, c->want, c->bound);
}

static void col_sum(int64_t rows, int64_t cols, enum data kind)
{
    if (!kern_case("col_sum %lldx%lld data %d", (long long)rows, (long long)cols, (int)kind))
        return;
    rows_case c = {.alpha = 0.5f, .x = matrix(rows, cols, cols + 1, kind)};
    c.sums = inout(cols, kind);
    c.want = kern_widen(c.sums, 1, cols, cols);
    c.bound = kern_abs(c.want, cols);
    double *x = kern_widen(c.x.p, rows, cols, c.x.ld);
    wide_col_sum(x, rows, cols, 0.5, c.want);
    wide_col_sum(kern_abs(x, rows * cols), rows, cols, 0.5, c.bound);
    for (int64_t j = 0; j < cols; j++) /* sums in double, one rounding to float */
        c.bound[j] = 2 * U24 * fabs(c.want[j]) + 1e-12 * c.bound[j] + 0x1p-149;
    kcase k = {run_col_sum, check_sums, &c, (double)(rows * cols), 4.0 * (double)(rows * cols),
               SAE_OK};
    kern_run(&k);
}

static int run_row_dot(const impl *im, void *ctx)
{
    const rows_case *c = ctx;
    return im->k.row_dot(im->dev, c->x, c->y, c->reals);
}

/* Products of floats are exact in double and the tree is fixed: every bit is. */
static void check_reals(const impl *im, void *ctx)
{
    const rows_case *c = ctx;
    (void)im;
    kern_same("double sums", c->reals, c->exact, (size_t)c->x.rows * sizeof(double));
}

static void row_dot(int64_t rows, int64_t cols)
{
    if (!kern_case("row_dot %lldx%lld", (long long)rows, (long long)cols))
        return;
    rows_case c = {.x = matrix(rows, cols, cols + 1, MIXTURE)};
    c.y = matrix(rows, cols, cols, MIXTURE);
    c.reals = kern_out((size_t)rows * sizeof(double));
    c.exact = kern_temp((size_t)rows * sizeof(double));
    wide_row_dot(kern_widen(c.x.p, rows, cols, c.x.ld), kern_widen(c.y.p, rows, cols, c.y.ld), rows,
                 cols, c.exact);
    kcase k = {run_row_dot, check_reals, &c, 2.0 * (double)(rows * cols),
               8.0 * (double)(rows * cols), SAE_OK};
    kern_run(&k);
}

static int run_sum(const impl *im, void *ctx)
{
    const rows_case *c = ctx;
    return im->k.sum(im->dev, c->y.cols, c->want, c->reals);
}

static void sum(int64_t n)
{
    if (!kern_case("sum %lld", (long long)n))
        return;
    rows_case c = {.x = {NULL, 1, 0, 0}, .y = {NULL, 1, n, n}};
    float *f = input(n, MIXTURE);
    c.want = kern_widen(f, 1, n, n);
    c.reals = kern_out(sizeof(double));
    c.exact = kern_temp(sizeof(double));
    wide_sum(n, c.want, c.exact);
    kcase k = {run_sum, check_reals, &c, (double)n, 8.0 * (double)n, SAE_OK};
    kern_run(&k);
}

/* ---- residual: exact in float, its squares exact in double ---- */

static int run_residual(const impl *im, void *ctx)
{
    const rows_case *c = ctx;
    return im->k.residual(im->dev, c->x, c->y, c->out, c->reals);
}

static void check_residual(const impl *im, void *ctx)
{
    const rows_case *c = ctx;
    for (int64_t r = 0; r < c->x.rows && c->out.p; r++)
        for (int64_t i = 0; i < c->x.cols; i++) {
            float want = c->x.p[r * c->x.ld + i] - c->y.p[r * c->y.ld + i];
            if (c->out.p[r * c->out.ld + i] != want)
                kern_fail("resid[%lld,%lld]", (long long)r, (long long)i);
        }
    check_reals(im, ctx);
}

static void residual(int64_t rows, int64_t cols, int stored)
{
    if (!kern_case("residual %lldx%lld%s", (long long)rows, (long long)cols,
                   stored ? "" : " sums only"))
        return;
    rows_case c = {.x = matrix(rows, cols, cols + 1, MIXTURE)};
    c.y = matrix(rows, cols, cols + 2, MIXTURE);
    if (stored)
        c.out = target(rows, cols, cols + 3);
    c.reals = kern_out((size_t)rows * sizeof(double));
    c.exact = kern_temp((size_t)rows * sizeof(double));
    double *diff = kern_temp((size_t)(rows * cols) * sizeof *diff);
    for (int64_t i = 0; i < rows * cols; i++)
        diff[i] = (double)(c.x.p[i / cols * c.x.ld + i % cols] -
                           c.y.p[i / cols * c.y.ld + i % cols]);
    wide_row_dot(diff, diff, rows, cols, c.exact);
    kcase k = {run_residual, check_residual, &c, 3.0 * (double)(rows * cols),
               12.0 * (double)(rows * cols), SAE_OK};
    kern_run(&k);
}

/* ---- project_rows: coefficient in double, one subtraction rounded to float ---- */

static int run_project(const impl *im, void *ctx)
{
    const rows_case *c = ctx;
    return im->k.project_rows(im->dev, c->x, c->out, c->reals);
}

static void check_project(const impl *im, void *ctx)
{
    const rows_case *c = ctx;
    check_out(im, ctx);
    if (!c->x.p) /* of numbers as they are: exact, as every double sum */
        kern_same("norm2", c->reals, c->exact, sizeof(double));
    /* Relative error of the norm: twice that of its elements, plus the double sums. */
    if (!(fabs(*c->reals - *c->exact) <= 8 * U24 * *c->exact))
        kern_fail("norm2 %.17g, expected %.17g", *c->reals, *c->exact);
}

static void project(int64_t rows, int64_t cols, int with_w)
{
    if (!kern_case("project_rows %lldx%lld%s", (long long)rows, (long long)cols,
                   with_w ? "" : " norm only"))
        return;
    rows_case c = {.out = target(rows, cols, cols + 1)};
    kern_fill(c.out.p, rows, cols, c.out.ld, NORMAL);
    if (with_w) {
        float *w = kern_in((size_t)(rows * cols) * sizeof *w);
        kern_fill(w, rows, cols, cols, NORMAL);
        for (int64_t i = 0; i < cols; i++) /* a zero row leaves its gradient alone */
            w[rows / 2 * cols + i] = 0;
        sae_cmat m = {w, rows, cols, cols};
        c.x = m;
    }
    c.reals = kern_out(sizeof(double));
    c.exact = kern_temp(sizeof(double));
    c.want = kern_widen(c.out.p, rows, cols, c.out.ld);
    c.bound = kern_abs(c.want, rows * cols);
    wide_project(with_w ? kern_widen(c.x.p, rows, cols, cols) : NULL, c.want, rows, cols, c.exact);
    for (int64_t i = 0; i < rows * cols; i++)
        c.bound[i] = 2 * U24 * fabs(c.want[i]) + 1e-12 * c.bound[i] + 1e-12;
    kcase k = {run_project, check_project, &c, 6.0 * (double)(rows * cols),
               12.0 * (double)(rows * cols), SAE_OK};
    kern_run(&k);
}

/* ---- unit_rows: the factor in double, one rounding (two through 1 / norm) ---- */

static int run_unit(const impl *im, void *ctx)
{
    const rows_case *c = ctx;
    return im->k.unit_rows(im->dev, c->out);
}

static void unit(int64_t rows, int64_t cols, float scale)
{
    if (!kern_case("unit_rows %lldx%lld times %g", (long long)rows, (long long)cols, (double)scale))
        return;
    rows_case c = {.out = target(rows, cols, cols + 2)};
    kern_fill(c.out.p, rows, cols, c.out.ld, NORMAL);
    for (int64_t r = 0; r < rows; r++)
        for (int64_t i = 0; i < cols; i++)
            c.out.p[r * c.out.ld + i] *= r == rows / 2 ? 0 : scale;
    c.want = kern_widen(c.out.p, rows, cols, c.out.ld);
    wide_unit_rows(c.want, rows, cols);
    c.bound = kern_abs(c.want, rows * cols);
    for (int64_t i = 0; i < rows * cols; i++)
        c.bound[i] = 2 * U24 * c.bound[i] + 0x1p-149;
    kcase k = {run_unit, check_out, &c, 4.0 * (double)(rows * cols), 8.0 * (double)(rows * cols),
               SAE_OK};
    kern_run(&k);
}

/* ---- adam_step ---- */

static int run_adam(const impl *im, void *ctx)
{
    const rows_case *c = ctx;
    return im->k.adam_step(im->dev, &c->adam, c->out, c->g, c->m, c->sums);
}

static void check_adam(const impl *im, void *ctx)
{
    const rows_case *c = ctx;
    int64_t count = c->out.rows * c->out.cols;
    check_out(im, ctx);
    kern_close("m", c->m, 1, count, count, c->want2, c->bound2);
    kern_close("v", c->sums, 1, count, count, c->want3, c->bound3);
    for (int64_t i = 0; i < count; i++)
        if (c->g[i] != 0 || fpclassify(c->m[i]) == FP_SUBNORMAL ||
            fpclassify(c->sums[i]) == FP_SUBNORMAL) {
            kern_fail("g[%lld] is not 0 or its moments are denormal", (long long)i);
            break;
        }
}

/* Bounds. m and v: constants, product and sum are rounded once each, and the gradient's scaling
 * twice in v: 4 u and 6 u of the sum of absolute terms. The update, step m / (root sqrt(v) + eps),
 * has the relative error of m (in absolute terms), half of that of v, and 8 u of its operations; to
 * it come u of the result and 2 u |w| of the decay. Unit rows divide by the norm of the result,
 * which is off by at most the norm of the errors. */
static void adam_bounds(rows_case *c, const double *w, const double *g, const double *m,
                        const double *v)
{
    const sae_adam *a = &c->adam;
    int64_t rows = c->out.rows, cols = c->out.cols;
    double fix1 = 1 - pow(a->beta1, (double)a->t), fix2 = 1 - pow(a->beta2, (double)a->t);
    for (int64_t r = 0; r < rows; r++) {
        double norm = 0, error = 0;
        for (int64_t i = r * cols; i < (r + 1) * cols; i++) {
            double gs = g[i] * a->grad_scale, m_abs, v_new, den, after;
            m_abs = fabs(a->beta1 * m[i]) + fabs((1 - a->beta1) * gs);
            v_new = a->beta2 * v[i] + (1 - a->beta2) * gs * gs;
            c->bound2[i] = 4 * U24 * m_abs + 0x1p-126; /* denormals become 0 */
            c->bound3[i] = 6 * U24 * v_new + 0x1p-126;
            den = sqrt(v_new / fix2) + a->eps;
            after = w[i] - a->lr * ((a->beta1 * m[i] + (1 - a->beta1) * gs) / fix1 / den +
                                    a->weight_decay * w[i]);
            c->bound[i] = a->lr / fix1 / den * (m_abs * (4 + 3 + 8) * U24 + 0x1p-148) +
                          3 * U24 * fabs(w[i]) + U24 * fabs(after);
            norm += after * after;
            error += c->bound[i] * c->bound[i];
        }
        norm = sqrt(norm);
        error = sqrt(error);
        for (int64_t i = r * cols; i < (r + 1) * cols && a->unit_rows && norm > 0; i++)
            c->bound[i] = (c->bound[i] + error * fabs(c->want[i])) / norm +
                          2 * U24 * fabs(c->want[i]);
    }
}

static void adam(int64_t rows, int64_t cols, int unit_rows, double decay)
{
    if (!kern_case("adam_step %lldx%lld unit %d decay %g", (long long)rows, (long long)cols,
                   unit_rows, decay))
        return;
    rows_case c = {.adam = {1e-3, 0.9, 0.999, 1e-8, decay, 0.7, 3, unit_rows}};
    int64_t count = rows * cols;
    c.out = target(rows, cols, cols);
    kern_fill(c.out.p, rows, cols, cols, NORMAL);
    c.g = inout(count, NORMAL);
    c.m = inout(count, NORMAL);
    c.sums = inout(count, NORMAL);
    for (int64_t i = 0; i < count; i++) {
        c.sums[i] *= c.sums[i];
        if (i / cols == rows - 1) /* a row that never moved */
            c.out.p[i] = c.g[i] = c.m[i] = c.sums[i] = 0;
        if (i / cols == rows / 2) { /* one whose moments have decayed */
            c.g[i] = 0;
            c.m[i] = c.sums[i] = 1.2e-38f;
        }
    }
    reserve(&c, count);
    double *w = kern_widen(c.out.p, rows, cols, cols), *g = kern_widen(c.g, 1, count, count);
    double *m = kern_widen(c.m, 1, count, count), *v = kern_widen(c.sums, 1, count, count);
    size_t bytes = (size_t)count * sizeof(double);
    double *g_new = kern_temp(bytes);
    memcpy(c.want, w, bytes);
    memcpy(g_new, g, bytes);
    memcpy(c.want2, m, bytes);
    memcpy(c.want3, v, bytes);
    wide_adam(&c.adam, c.want, g_new, c.want2, c.want3, rows, cols);
    adam_bounds(&c, w, g, m, v);
    kcase k = {run_adam, check_adam, &c, 13.0 * (double)count, 32.0 * (double)count, SAE_OK};
    kern_run(&k);
}

/* ---- normal_fill: the same function on the host ---- */

static int run_normal(const impl *im, void *ctx)
{
    const rows_case *c = ctx;
    return im->k.normal_fill(im->dev, 42, SAE_STREAM_NOISE, c->row0, c->out);
}

static void check_normal(const impl *im, void *ctx)
{
    const rows_case *c = ctx;
    (void)im;
    for (int64_t r = 0; r < c->out.rows; r++)
        for (int64_t i = 0; i < c->out.cols; i++) {
            double want = sae_normal(42, SAE_STREAM_NOISE, c->row0 + (uint64_t)r, (uint32_t)i);
            if (c->out.p[r * c->out.ld + i] != (float)want) {
                kern_fail("normal [%lld,%lld]", (long long)r, (long long)i);
                return;
            }
        }
}

static void normal(int64_t rows, int64_t cols)
{
    if (!kern_case("normal_fill %lldx%lld", (long long)rows, (long long)cols))
        return;
    rows_case c = {.out = target(rows, cols, cols + 1), .row0 = UINT64_C(1) << 33};
    kcase k = {run_normal, check_normal, &c, 0, 4.0 * (double)(rows * cols), SAE_OK};
    kern_run(&k);
}

/* ---- gate ---- */

static int run_gate(const impl *im, void *ctx)
{
    const rows_case *c = ctx;
    return im->k.gate(im->dev, c->x, c->y, c->out);
}

static void check_gate(const impl *im, void *ctx)
{
    const rows_case *c = ctx;
    (void)im;
    for (int64_t i = 0; i < c->x.rows * c->x.cols; i++) {
        int64_t row = i / c->x.cols, col = i % c->x.cols;
        float v = c->x.p[row * c->x.ld + col], g = c->y.p[row * c->y.ld + col];
        float want = g > 0 ? v : isnan(g) ? g : 0, got = c->out.p[row * c->out.ld + col];
        if (got != want && !(isnan(got) && isnan(want)))
            kern_fail("gate [%lld,%lld]", (long long)row, (long long)col);
    }
}

static void gate(int64_t rows, int64_t cols)
{
    if (!kern_case("gate %lldx%lld", (long long)rows, (long long)cols))
        return;
    rows_case c = {.x = matrix(rows, cols, cols + 1, SPECIAL)};
    c.y = matrix(rows, cols, cols + 2, SPECIAL);
    c.out = target(rows, cols, cols + 1);
    kcase k = {run_gate, check_gate, &c, 0, 12.0 * (double)(rows * cols), SAE_OK};
    kern_run(&k);
}

void test_rows(void)
{
    for (int i = 0; i < 14; i++) {
        int64_t a = kern_sizes[i], b = kern_sizes[kern_pick(14)];
        shift(a, b, i % 2);
        col_sum(b, a, (enum data)kern_pick(3));
        row_dot(b, a);
        sum(a * b);
        residual(b, a, i % 3 != 0);
        project(b, a, i % 3 != 0);
        unit(b, a, i % 2 ? 1 : 1e-30f);
        adam(b, a, i % 2, i % 3 ? 0 : 0.1);
        normal(b, a);
        gate(b, a);
    }
    col_sum(70000, 3, MIXTURE); /* several waves of blocks */
    adam(40, 1000, 0, 0);       /* several pieces */
    shift(1, 20001, 1);         /* several pieces of a row */
    gate(2, 20001);
    shift(0, 5, 0);
    shift(5, 0, 0);
    col_sum(0, 4, NORMAL);
    sum(0);
    project(5003, 16, 0); /* the sums of rows in several pieces */
    unit(3, 4, 1e-42f); /* denormals are kept */
    if (kern_benching()) {
        col_sum(4096, 768, NORMAL);
        residual(4096, 768, 1);
        project(4096, 768, 1);
        adam(4096, 768, 1, 0);
        normal(512, 768);
    }
}
