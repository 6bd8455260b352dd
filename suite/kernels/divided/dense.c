/* suite/kernels/divided/dense.c - products and elementwise entries, a range of rows or columns of
 * the output per device.
 *
 * What has wrong extents goes to the lead, whose entry says so.
 */
#include "divided/parts.h"

#define WHOLE(d, op, ...) (d)->k->op((d)->dev[0], __VA_ARGS__)

/* ---- gemm ------------------------------------------------------------------------------------ */

typedef struct gemm_args {
    int ta, tb, by_rows;
    sae_real alpha, beta;
    sae_cmat a, b;
    sae_mat c;
} gemm_args;

static int gemm_part(const sae_part *p, const void *arg)
{
    gemm_args g = *(const gemm_args *)arg;
    if (g.by_rows) {
        g.a = g.ta ? sae_part_cols(p, g.a) : sae_part_rows(p, g.a);
        g.c = sae_part_out_rows(p, g.c);
    } else {
        g.b = g.tb ? sae_part_rows(p, g.b) : sae_part_cols(p, g.b);
        g.c = sae_part_out_cols(p, g.c);
    }
    return p->k->gemm(p->dev, g.ta, g.tb, g.alpha, g.a, g.b, g.beta, g.c);
}

/* The longer side of c: that of features, where there are more of them than rows. */
SAE_DECL_gemm(SAE_DIVIDED(gemm))
{
    sae_divided *d = sae_divided_of(dev);
    gemm_args g = {ta, tb, c.rows >= c.cols, alpha, beta, a, b, c};
    if (bad_gemm(ta, tb, a, b, c) || sae_is_small(d, c.rows, c.cols))
        return WHOLE(d, gemm, ta, tb, alpha, a, b, beta, c);
    return sae_divide(d, g.by_rows ? c.rows : c.cols, gemm_part, &g);
}

/* ---- rows ------------------------------------------------------------------------------------ */

typedef struct row_args {
    sae_cmat a, b;
    sae_mat out;
    sae_real alpha;
    const sae_real *row, *col;
    double *sums; /* one per row */
    enum sae_fn f;
    double p, q;
} row_args;

static row_args rows_of(const sae_part *p, const void *arg)
{
    row_args a = *(const row_args *)arg;
    a.a = sae_part_rows(p, a.a);
    a.b = sae_part_rows(p, a.b);
    a.out = sae_part_out_rows(p, a.out);
    a.row = a.row ? a.row + p->from : NULL;
    a.sums = a.sums ? a.sums + p->from : NULL;
    return a;
}

/* 1: a and out, and b where `two`, have rows to divide. */
static int divides(const sae_divided *d, sae_cmat a, sae_cmat b, int two, sae_mat out)
{
    return !sae_is_small(d, out.rows, out.cols) && !bad_mat(out) &&
           has_shape(a, out.rows, out.cols) && (!two || has_shape(b, out.rows, out.cols));
}

static int shift_part(const sae_part *p, const void *arg)
{
    row_args a = rows_of(p, arg);
    return p->k->shift_rows(p->dev, a.a, a.alpha, a.col, a.out);
}

SAE_DECL_shift_rows(SAE_DIVIDED(shift_rows))
{
    sae_divided *d = sae_divided_of(dev);
    row_args a = {.a = x, .alpha = alpha, .col = v, .out = out};
    if (!divides(d, x, x, 0, out))
        return WHOLE(d, shift_rows, x, alpha, v, out);
    return sae_divide(d, out.rows, shift_part, &a);
}

static int gate_part(const sae_part *p, const void *arg)
{
    row_args a = rows_of(p, arg);
    return p->k->gate(p->dev, a.a, a.b, a.out);
}

SAE_DECL_gate(SAE_DIVIDED(gate))
{
    sae_divided *d = sae_divided_of(dev);
    row_args a = {.a = value, .b = gate, .out = out};
    if (!divides(d, value, gate, 1, out))
        return WHOLE(d, gate, value, gate, out);
    return sae_divide(d, out.rows, gate_part, &a);
}

static int map_part(const sae_part *p, const void *arg)
{
    row_args a = rows_of(p, arg);
    return p->k->map(p->dev, a.f, a.p, a.q, a.a, a.out);
}

SAE_DECL_map(SAE_DIVIDED(map))
{
    sae_divided *d = sae_divided_of(dev);
    row_args a = {.a = x, .f = f, .p = p, .q = q, .out = out};
    if (!divides(d, x, x, 0, out))
        return WHOLE(d, map, f, p, q, x, out);
    return sae_divide(d, out.rows, map_part, &a);
}

static int mul_part(const sae_part *p, const void *arg)
{
    row_args a = rows_of(p, arg);
    return p->k->mul(p->dev, a.alpha, a.a, a.b, a.out);
}

SAE_DECL_mul(SAE_DIVIDED(mul))
{
    sae_divided *d = sae_divided_of(dev);
    row_args args = {.a = a, .b = b, .alpha = alpha, .out = out};
    if (!divides(d, a, b, 1, out))
        return WHOLE(d, mul, alpha, a, b, out);
    return sae_divide(d, out.rows, mul_part, &args);
}

static int scale_part(const sae_part *p, const void *arg)
{
    row_args a = rows_of(p, arg);
    return p->k->scale(p->dev, a.a, a.row, a.col, a.out);
}

SAE_DECL_scale(SAE_DIVIDED(scale))
{
    sae_divided *d = sae_divided_of(dev);
    row_args a = {.a = x, .row = row, .col = col, .out = out};
    if (!divides(d, x, x, 0, out))
        return WHOLE(d, scale, x, row, col, out);
    return sae_divide(d, out.rows, scale_part, &a);
}

static int window_part(const sae_part *p, const void *arg)
{
    row_args a = rows_of(p, arg);
    return p->k->window(p->dev, a.a, a.b, a.p, a.out);
}

SAE_DECL_window(SAE_DIVIDED(window))
{
    sae_divided *d = sae_divided_of(dev);
    row_args a = {.a = value, .b = gate, .p = half, .out = out};
    if (!divides(d, value, gate, 1, out))
        return WHOLE(d, window, value, gate, half, out);
    return sae_divide(d, out.rows, window_part, &a);
}

static int dot_part(const sae_part *p, const void *arg)
{
    row_args a = rows_of(p, arg);
    return p->k->row_dot(p->dev, a.a, a.b, a.sums);
}

SAE_DECL_row_dot(SAE_DIVIDED(row_dot))
{
    sae_divided *d = sae_divided_of(dev);
    row_args args = {.a = a, .b = b, .sums = out};
    if (sae_is_small(d, a.rows, a.cols) || bad_cmat(a) || !has_shape(b, a.rows, a.cols))
        return WHOLE(d, row_dot, a, b, out);
    return sae_divide(d, a.rows, dot_part, &args);
}

static int residual_part(const sae_part *p, const void *arg)
{
    row_args a = rows_of(p, arg);
    return p->k->residual(p->dev, a.a, a.b, a.out, a.sums);
}

SAE_DECL_residual(SAE_DIVIDED(residual))
{
    sae_divided *d = sae_divided_of(dev);
    row_args a = {.a = xhat, .b = y, .out = resid, .sums = sse};
    sae_mat like = {NULL, xhat.rows, xhat.cols, xhat.ld};
    if (!divides(d, xhat, y, 1, resid.p ? resid : like))
        return WHOLE(d, residual, xhat, y, resid, sse);
    return sae_divide(d, xhat.rows, residual_part, &a);
}

/* ---- columns --------------------------------------------------------------------------------- */

typedef struct col_args {
    sae_cmat x, b;
    sae_real alpha, *out;
    double *cross;
} col_args;

static int sum_part(const sae_part *p, const void *arg)
{
    const col_args *a = arg;
    return p->k->col_sum(p->dev, sae_part_cols(p, a->x), a->alpha, a->out + p->from);
}

SAE_DECL_col_sum(SAE_DIVIDED(col_sum))
{
    sae_divided *d = sae_divided_of(dev);
    col_args a = {.x = x, .alpha = alpha, .out = out};
    if (bad_cmat(x) || sae_is_small(d, x.rows, x.cols))
        return WHOLE(d, col_sum, x, alpha, out);
    return sae_divide(d, x.cols, sum_part, &a);
}

static int max_part(const sae_part *p, const void *arg)
{
    const col_args *a = arg;
    return p->k->col_max(p->dev, sae_part_cols(p, a->x), a->out + p->from);
}

SAE_DECL_col_max(SAE_DIVIDED(col_max))
{
    sae_divided *d = sae_divided_of(dev);
    col_args a = {.x = x, .out = out};
    if (bad_cmat(x) || sae_is_small(d, x.rows, x.cols))
        return WHOLE(d, col_max, x, out);
    return sae_divide(d, x.cols, max_part, &a);
}

static int cross_part(const sae_part *p, const void *arg)
{
    const col_args *a = arg;
    return p->k->cross(p->dev, sae_part_cols(p, a->x), a->b, a->cross + p->from * a->b.cols);
}

/* A column of a is a row of the output. */
SAE_DECL_cross(SAE_DIVIDED(cross))
{
    sae_divided *d = sae_divided_of(dev);
    col_args args = {.x = a, .b = b, .cross = out};
    if (bad_cmat(a) || bad_cmat(b) || a.rows != b.rows || sae_is_small(d, a.rows, a.cols))
        return WHOLE(d, cross, a, b, out);
    return sae_divide(d, a.cols, cross_part, &args);
}
