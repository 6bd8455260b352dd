/* suite/kernels/divided/code.c - products with codes: every device has a range of the code's rows,
 * or of the features of its column index. */
#include "divided/parts.h"

#define WHOLE(d, op, ...) (d)->k->op((d)->dev[0], __VA_ARGS__)

/* Rows of z: a range of it (sae/kernels.h). */
static sae_code rows_of(const sae_part *p, const sae_code *z)
{
    sae_code part = *z;
    part.B = p->to - p->from;
    if (z->dense)
        part.val += p->from * z->n;
    else
        part.rowptr += p->from;
    return part;
}

/* Where the part begins in an array of z's layout: entries of sparse codes keep their place. */
static int64_t place_of(const sae_part *p, const sae_code *z)
{
    return z->dense ? p->from * z->n : 0;
}

/* ---- rows ------------------------------------------------------------------------------------ */

typedef struct code_args {
    const sae_code *z;
    sae_cmat x, w; /* x [B x d] */
    const sae_real *val, *row, *col;
    sae_real *out;
    sae_mat rows; /* of output */
} code_args;

static int dense_part(const sae_part *p, const void *arg)
{
    const code_args *a = arg;
    sae_code z = rows_of(p, a->z);
    return p->k->code_to_dense(p->dev, &z, sae_part_out_rows(p, a->rows));
}

SAE_DECL_code_to_dense(SAE_DIVIDED(code_to_dense))
{
    sae_divided *d = sae_divided_of(dev);
    code_args a = {.z = z, .rows = out};
    if (bad_code(z) || !has_shape(as_const(out), z->B, z->n) || sae_is_small(d, z->B, z->n))
        return WHOLE(d, code_to_dense, z, out);
    return sae_divide(d, z->B, dense_part, &a);
}

static int decode_part(const sae_part *p, const void *arg)
{
    const code_args *a = arg;
    sae_code z = rows_of(p, a->z);
    return p->k->code_decode(p->dev, &z, a->w, a->col, sae_part_out_rows(p, a->rows));
}

SAE_DECL_code_decode(SAE_DIVIDED(code_decode))
{
    sae_divided *d = sae_divided_of(dev);
    code_args a = {.z = z, .w = w, .col = bias, .rows = xhat};
    if (bad_code(z) || bad_mat(xhat) || xhat.rows != z->B || !has_shape(w, z->n, xhat.cols) ||
        sae_is_small(d, z->B, xhat.cols))
        return WHOLE(d, code_decode, z, w, bias, xhat);
    return sae_divide(d, z->B, decode_part, &a);
}

static int grad_part(const sae_part *p, const void *arg)
{
    const code_args *a = arg;
    sae_code z = rows_of(p, a->z);
    sae_cmat dx = sae_part_near(p, sae_part_rows(p, a->x));
    if (!dx.p)
        return SAE_ENOMEM;
    return p->k->code_grad(p->dev, &z, dx, a->w, a->out + place_of(p, a->z));
}

SAE_DECL_code_grad(SAE_DIVIDED(code_grad))
{
    sae_divided *d = sae_divided_of(dev);
    code_args a = {.z = z, .x = dx, .w = w, .out = dval};
    if (bad_code(z) || bad_cmat(dx) || dx.rows != z->B || !has_shape(w, z->n, dx.cols) ||
        sae_is_small(d, z->B, dx.cols))
        return WHOLE(d, code_grad, z, dx, w, dval);
    return sae_divide(d, z->B, grad_part, &a);
}

static int scale_part(const sae_part *p, const void *arg)
{
    const code_args *a = arg;
    sae_code z = rows_of(p, a->z);
    int64_t at = place_of(p, a->z);
    return p->k->code_scale(p->dev, &z, a->val + at, a->row ? a->row + p->from : NULL, a->col,
                            a->out + at);
}

SAE_DECL_code_scale(SAE_DIVIDED(code_scale))
{
    sae_divided *d = sae_divided_of(dev);
    code_args a = {.z = z, .val = val, .row = row, .col = col, .out = out};
    int64_t each = bad_code(z) || !z->dense ? 1 : z->n; /* sparse ones are small: the lead's */
    if (bad_code(z) || sae_is_small(d, z->B, each))
        return WHOLE(d, code_scale, z, val, row, col, out);
    return sae_divide(d, z->B, scale_part, &a);
}

/* ---- features -------------------------------------------------------------------------------- */

typedef struct outer_args {
    const sae_csc *t;
    const sae_real *val;
    sae_real alpha;
    sae_cmat x;
    sae_mat dw;
} outer_args;

static int outer_part(const sae_part *p, const void *arg)
{
    const outer_args *a = arg;
    sae_csc t = *a->t;
    t.colptr += p->from;
    t.n = p->to - p->from;
    sae_cmat x = sae_part_near(p, a->x);
    if (a->x.p && !x.p)
        return SAE_ENOMEM;
    return p->k->code_outer(p->dev, &t, a->val, a->alpha, x, sae_part_out_rows(p, a->dw));
}

SAE_DECL_code_outer(SAE_DIVIDED(code_outer))
{
    sae_divided *d = sae_divided_of(dev);
    outer_args a = {t, val, alpha, x, dw};
    if (t->n < 0 || bad_cmat(x) || !has_shape(as_const(dw), t->n, x.cols) ||
        sae_is_small(d, t->n, x.cols))
        return WHOLE(d, code_outer, t, val, alpha, x, dw);
    return sae_divide(d, t->n, outer_part, &a);
}
