/* sae/stock_centre.h - models whose encoder may read x as it is, without subtracting b_dec.
 *
 *     pre_bias=1   pre = (x - b_dec) W_enc^T + b_enc      b_dec has two paths, as in stock.h
 *     pre_bias=0   pre = x W_enc^T + b_enc                b_dec belongs to the decoder alone
 */
#ifndef SAE_STOCK_CENTRE_H
#define SAE_STOCK_CENTRE_H

#include "stock_loss.h"

/* One row of an option table; T is the option struct, m an int64_t member. */
#define STOCK_CENTRE_OPTION(T, m, def)                                                             \
    {                                                                                              \
        "pre_bias", SAE_OPT_BOOL, 0, offsetof(T, m), (def), 0, 1, NULL, NULL, "1",                 \
            "the encoder reads x - b_dec (1) or x (0)"                                             \
    }

static inline sae_encoder stock_centre_encoder(const sae_model *m, const sae_batch *b,
                                               int64_t pre_bias)
{
    sae_encoder e = stock_encoder(m, b);
    if (!pre_bias)
        e.shift = NULL;
    return e;
}

/* Start of backward: w->xc = what the encoder multiplies, dbe = 0. */
static inline int stock_centre_begin(const sae_model *m, const sae_ctx *c, const sae_batch *b,
                                     int64_t pre_bias, const stock_work *w)
{
    size_t bytes = (size_t)(b->B * m->dim.d_in) * sizeof *b->x;
    if (pre_bias)
        return stock_begin_back(m, c, b, w);
    SAE_TRY(stock_fill(c, w->dbe, m->dim.n, 0));
    return c->be->copy(c->dev, w->xc, b->x, bytes, SAE_COPY_D2D);
}

/* dst += v, both [1 x n]. */
static inline int stock_add(const sae_ctx *c, sae_mat dst, const sae_real *v)
{
    return c->k->shift_rows(c->dev, stock_cmat(dst.p, dst.rows, dst.cols), 1, v, dst);
}

/* The gradient of b_dec from the decoder: alpha sum_r dx[r]. */
static inline int stock_centre_decoder(sae_model *m, const sae_ctx *c, sae_cmat dx, sae_real alpha)
{
    return c->k->col_sum(c->dev, dx, alpha, m->t[STOCK_B_DEC].grad);
}

/* One encoder of weights w and bias b, whose output's gradient has the sum db over rows: b += db,
 * and b_dec's path through the centring. */
static inline int stock_centre_head(sae_model *m, const sae_ctx *c, int w, int b, int64_t pre_bias,
                                    const sae_real *db)
{
    SAE_TRY(stock_add(c, stock_grad(m, b), db));
    if (!pre_bias)
        return SAE_OK;
    return c->k->gemm(c->dev, 0, 0, -1, stock_cmat(db, 1, m->dim.n), stock_w(m, w), 1,
                      stock_grad(m, STOCK_B_DEC));
}

#endif
