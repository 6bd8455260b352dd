/* sae/stock_lp.h - the family "positive part of pre, made sparse by an Lp penalty".
 *
 *     z = max(pre - shrink, 0)
 *     S_r = sum_j (w_j z_rj)^p        lp = (1 / B) sum_r S_r, or (1 / B) sum_r S_r^(1/p) with root
 *
 * w_j: stock_dense.h. The derivative is 0 at z = 0. Losses, in this order: "mse" (stock_loss.h),
 * the penalty (0 with coefficient 0 in EVAL). Training is dense; evaluation selects in the fused
 * kernel.
 */
#ifndef SAE_STOCK_LP_H
#define SAE_STOCK_LP_H

#include "stock_dense.h"

typedef struct stock_lp { /* the rule of one step */
    double p;             /* > 0 */
    double weight;        /* coefficient of the penalty */
    double shrink;
    int64_t root, mse;    /* mse: STOCK_MSE_* */
    const stock_decoder_opt *decoder;
} stock_lp;

typedef struct stock_lp_mem {
    stock_dense d;
    sae_real *bias; /* [n] b_enc - shrink */
    /* TRAIN */
    sae_real *wp;      /* [n] w^p */
    sae_real *power;   /* [B] S_r */
    sae_real *penalty; /* [B] S_r or S_r^(1/p) */
    sae_real *slope;   /* [B] */
} stock_lp_mem;

static inline stock_bump stock_lp_layout(const sae_dims *dim, int64_t B, enum sae_mode mode,
                                         void *scratch, stock_lp_mem *mem)
{
    stock_bump s = stock_bump_at(scratch);
    stock_take_dense(&s, dim, B, mode, 1, &mem->d);
    mem->bias = stock_take_real(&s, 1, dim->n);
    if (mode == SAE_EVAL)
        return s;
    mem->wp = stock_take_real(&s, 1, dim->n);
    mem->power = stock_take_real(&s, B, 1);
    mem->penalty = stock_take_real(&s, B, 1);
    mem->slope = stock_take_real(&s, B, 1);
    return s;
}

static inline int stock_lp_workspace(const sae_dims *dim, int64_t B, enum sae_mode mode,
                                     sae_workspace *out)
{
    stock_lp_mem mem;
    stock_bump s = stock_lp_layout(dim, B, mode, NULL, &mem);
    return stock_dense_workspace(s, dim, B, mode, 0, out);
}

/* S_r and what the penalty makes of it for the rows of z; the mean over rows goes to *loss. Writes
 * wp, power, penalty and a slab. */
static inline int stock_lp_penalty(const sae_ctx *c, const stock_lp *o, sae_cmat z,
                                   const stock_lp_mem *mem, double *loss)
{
    int64_t B = z.rows, n = z.cols;
    sae_cmat weight = stock_cmat(mem->d.weight, 1, n), power = stock_cmat(mem->power, 1, B);
    const sae_real *w = o->p == 1 ? mem->d.weight : mem->wp;
    stock_slab s = stock_slab_of(n, STOCK_DENSE_ROWS);
    if (o->p != 1)
        SAE_TRY(c->k->map(c->dev, SAE_FN_POWER, o->p, 0, weight, stock_mat(mem->wp, 1, n)));
    while (stock_slab_next(&s, B)) {
        sae_cmat part = stock_slab_rows(s, z.p), zp = part;
        if (o->p != 1) {
            zp = stock_slab_cmat(s, mem->d.work[0]);
            SAE_TRY(c->k->map(c->dev, SAE_FN_POWER, o->p, 0, part,
                              stock_slab_mat(s, mem->d.work[0])));
        }
        SAE_TRY(c->k->gemm(c->dev, 0, 0, 1, zp, stock_cmat(w, n, 1), 0,
                           stock_mat(mem->power + s.r0, s.rows, 1)));
    }
    SAE_TRY(c->k->map(c->dev, SAE_FN_POWER, o->root ? 1 / o->p : 1, 0, power,
                      stock_mat(mem->penalty, 1, B)));
    return stock_mean_of(c, &mem->d, mem->penalty, B, B, loss);
}

/* The whole of z; with a held tape, pre - shrink where the held code is active. */
static inline int stock_lp_code(const sae_ctx *c, const sae_encoder *e, sae_code *z)
{
    int64_t B = e->x.rows, n = e->w.rows;
    sae_cmat all = stock_dense_code(z, B, n);
    sae_cmat gate = c->hold ? stock_cmat(c->hold->code.val, B, n) : all;
    SAE_TRY(c->k->encode_dense(c->dev, e, stock_mat(z->val, B, n)));
    return c->k->gate(c->dev, all, gate, stock_mat(z->val, B, n));
}

static inline int stock_lp_forward(const sae_model *m, const sae_ctx *c, const sae_batch *b,
                                   const stock_lp *o, sae_tape *t)
{
    stock_lp_mem mem;
    sae_encoder e = stock_encoder(m, b, 1);
    stock_lp_layout(&m->dim, b->B, c->mode, t->scratch, &mem);
    if (o->shrink > 0) {
        SAE_TRY(stock_fill(c, mem.bias, m->dim.n, (sae_real)-o->shrink));
        SAE_TRY(stock_add(c, mem.bias, 1, e.bias, m->dim.n));
        e.bias = mem.bias;
    }
    t->loss[1] = t->coef[1] = 0;
    if (c->mode == SAE_EVAL) {
        SAE_TRY(c->k->encode_threshold(c->dev, &e, SAE_KEY_RELU, 0, NULL, &t->code));
        return stock_mse(m, c, b, t, o->mse, &mem.d.w);
    }
    SAE_TRY(stock_lp_code(c, &e, &t->code));
    SAE_TRY(stock_mse(m, c, b, t, o->mse, &mem.d.w));
    SAE_TRY(stock_dense_weights(m, c, o->decoder, b->B, &mem.d));
    t->coef[1] = o->weight;
    return stock_lp_penalty(c, o, stock_cmat(t->code.val, b->B, m->dim.n), &mem, &t->loss[1]);
}

/* slope[r] = what d S_r is multiplied with in the gradient of the total. */
static inline int stock_lp_slope(const sae_ctx *c, const stock_lp *o, const sae_tape *t,
                                 const stock_lp_mem *mem)
{
    sae_cmat power = stock_cmat(mem->power, 1, t->B), slope = stock_cmat(mem->slope, 1, t->B);
    sae_mat out = stock_mat(mem->slope, 1, t->B);
    double each = t->coef[1] / (double)t->B;
    if (!o->root)
        return stock_fill(c, mem->slope, t->B, (sae_real)each);
    SAE_TRY(c->k->map(c->dev, SAE_FN_POWER, 1 / o->p - 1, 0, power, out));
    return c->k->mul(c->dev, (sae_real)(each / o->p), slope, stock_cmat(mem->d.ones, 1, t->B), out);
}

/* dz += the penalty's gradient for p != 1; pull gains its share. */
static inline int stock_lp_slab(const sae_ctx *c, const stock_lp *o, const stock_lp_mem *mem,
                                sae_cmat z, stock_slab s)
{
    sae_mat out = stock_slab_mat(s, mem->d.work[0]);
    sae_cmat v = stock_slab_cmat(s, mem->d.work[0]);
    SAE_TRY(c->k->map(c->dev, SAE_FN_POWER, o->p - 1, 0, z, out));
    SAE_TRY(c->k->scale(c->dev, v, mem->slope + s.r0, mem->wp, out));
    SAE_TRY(stock_slab_add(c, s, mem->d.dz, o->p, v.p));
    if (o->decoder->rows == STOCK_DECODER_UNIT)
        return SAE_OK;
    SAE_TRY(c->k->mul(c->dev, (sae_real)o->p, v, z, out));
    return c->k->col_sum(c->dev, v, 1, mem->d.pull);
}

/* The same for p = 1, where the slope is one number: dz += slope w, pull += slope w_j sum_r z_rj
 * (the factor w_j at the end). */
static inline int stock_l1_slab(const sae_ctx *c, const stock_lp *o, double each,
                                const stock_lp_mem *mem, sae_cmat z, stock_slab s)
{
    sae_real slope = (sae_real)each;
    SAE_TRY(c->k->shift_rows(c->dev, stock_slab_cmat(s, mem->d.dz), slope, mem->d.weight,
                             stock_slab_mat(s, mem->d.dz)));
    return o->decoder->rows == STOCK_DECODER_UNIT ? SAE_OK
                                                  : c->k->col_sum(c->dev, z, slope, mem->d.pull);
}

/* One slab of backward. */
static inline int stock_lp_slab_back(sae_model *m, const sae_ctx *c, const stock_lp *o,
                                     const sae_tape *t, const stock_lp_mem *mem, stock_slab s)
{
    sae_cmat z = stock_slab_rows(s, t->code.val);
    double each = t->coef[1] / (double)t->B;
    SAE_TRY(stock_dense_dz(m, c, t, &mem->d, s));
    SAE_TRY(o->p == 1 ? stock_l1_slab(c, o, each, mem, z, s) : stock_lp_slab(c, o, mem, z, s));
    SAE_TRY(c->k->gate(c->dev, stock_slab_cmat(s, mem->d.dz), z, stock_slab_mat(s, mem->d.dz)));
    return stock_dense_enc(m, c, &mem->d, s);
}

static inline int stock_lp_backward(sae_model *m, const sae_ctx *c, const sae_batch *b,
                                    const stock_lp *o, sae_tape *t)
{
    stock_lp_mem mem;
    stock_slab s = stock_slab_of(m->dim.n, STOCK_DENSE_ROWS);
    if (b->B == 0)
        return SAE_OK;
    stock_lp_layout(&m->dim, b->B, c->mode, t->scratch, &mem);
    SAE_TRY(stock_dense_open(m, c, b, 1, &mem.d));
    SAE_TRY(stock_lp_slope(c, o, t, &mem));
    while (stock_slab_next(&s, b->B))
        SAE_TRY(stock_lp_slab_back(m, c, o, t, &mem, s));
    if (o->p == 1)
        SAE_TRY(c->k->mul(c->dev, 1, stock_cmat(mem.d.pull, 1, m->dim.n),
                          stock_cmat(mem.d.weight, 1, m->dim.n),
                          stock_mat(mem.d.pull, 1, m->dim.n)));
    return stock_dense_close(m, c, t, o->decoder, 1, &mem.d);
}

#endif
