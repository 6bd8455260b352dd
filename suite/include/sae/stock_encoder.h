/* sae/stock_encoder.h - the encoder, what it reads, entries held from another tape, and biases.
 *
 *     pre_bias=1   pre = (x - b_dec) W_enc^T + b_enc      b_dec has two paths
 *     pre_bias=0   pre = x W_enc^T + b_enc                b_dec belongs to the decoder alone
 *
 * A model with a target of its own reads x as it is whatever pre_bias says; most models pass 1.
 */
#ifndef SAE_STOCK_ENCODER_H
#define SAE_STOCK_ENCODER_H

#include "stock.h"

/* One row of an option table; T is the option struct, m an int64_t member. */
#define STOCK_PRE_BIAS_OPTION(T, m, def)                                                           \
    {                                                                                              \
        "pre_bias", SAE_OPT_BOOL, 0, offsetof(T, m), (def), 0, 1, NULL, NULL, "1",                 \
            "the encoder reads x - b_dec (1) or x (0)"                                             \
    }

/* What the encoder subtracts from x: b_dec, or NULL where it reads x as it is. */
static inline const sae_real *stock_shift(const sae_model *m, int64_t pre_bias)
{
    if (!pre_bias || m->v->needs(m->opt, SAE_EVAL) & SAE_NEED_TARGET)
        return NULL;
    return (const sae_real *)m->t[STOCK_B_DEC].w;
}

static inline sae_encoder stock_encoder(const sae_model *m, const sae_batch *b, int64_t pre_bias)
{
    sae_encoder e;
    e.x = stock_cmat(b->x, b->B, m->dim.d_in);
    e.shift = stock_shift(m, pre_bias);
    e.w = stock_w(m, STOCK_W_ENC);
    e.bias = (const sae_real *)m->t[STOCK_B_ENC].w;
    e.subset = NULL;
    e.m = 0;
    return e;
}

/* z lists the entries of `held`, values undefined. Needs host memory (stock.h). */
static inline int stock_hold_entries(const sae_code *held, sae_code *z)
{
    z->B = held->B;
    z->n = held->n;
    z->nnz = held->nnz;
    z->nan = 0;
    z->dense = 0;
    if (z->cap < held->nnz)
        return SAE_ECAPACITY;
    for (int64_t r = 0; r <= held->B; r++)
        z->rowptr[r] = held->rowptr[r];
    for (int64_t i = 0; i < held->nnz; i++)
        z->idx[i] = held->idx[i];
    return SAE_OK;
}

/* The same with values from the encoder: the function whose derivative backward computes when every
 * selection is a constant. */
static inline int stock_hold_code(const sae_encoder *e, const sae_code *held, sae_code *z)
{
    SAE_TRY(stock_hold_entries(held, z));
    for (int64_t r = 0; r < held->B; r++)
        for (int64_t i = held->rowptr[r]; i < held->rowptr[r + 1]; i++) {
            int32_t j = held->idx[i];
            sae_real pre = e->bias[j];
            for (int64_t k = 0; k < e->x.cols; k++) {
                sae_real shift = e->shift ? e->shift[k] : 0;
                pre += (e->x.p[r * e->x.ld + k] - shift) * e->w.p[j * e->w.ld + k];
            }
            z->val[i] = pre;
        }
    return SAE_OK;
}

/* ---- biases ---------------------------------------------------------------------------------- */

/* db [n]: the gradient of the products of what is read with tensor w, summed over rows. The
 * gradient of b_dec gains its path through them, -db W, if there is one. */
static inline int stock_shift_back(sae_model *m, const sae_ctx *c, int w, int64_t pre_bias,
                                   const sae_real *db)
{
    if (!stock_shift(m, pre_bias))
        return SAE_OK;
    return c->k->gemm(c->dev, 0, 0, -1, stock_cmat(db, 1, m->dim.n), stock_w(m, w), 1,
                      stock_grad(m, STOCK_B_DEC));
}

/* b_dec, once per step, by both paths: alpha * dx is the gradient of xhat, dbe that of the
 * encoder's output, summed over rows. */
static inline int stock_b_dec_back(sae_model *m, const sae_ctx *c, sae_cmat dx, sae_real alpha,
                                   int64_t pre_bias, const sae_real *dbe)
{
    SAE_TRY(c->k->col_sum(c->dev, dx, alpha, m->t[STOCK_B_DEC].grad));
    return stock_shift_back(m, c, STOCK_W_ENC, pre_bias, dbe);
}

/* Both biases, once per step. */
static inline int stock_bias_back(sae_model *m, const sae_ctx *c, sae_cmat dx, sae_real alpha,
                                  int64_t pre_bias, const sae_real *dbe)
{
    SAE_TRY(stock_add(c, m->t[STOCK_B_ENC].grad, 1, dbe, m->dim.n));
    return stock_b_dec_back(m, c, dx, alpha, pre_bias, dbe);
}

#endif
