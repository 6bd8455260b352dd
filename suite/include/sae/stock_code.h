/* sae/stock_code.h - sparse codes: decoding, and the gradients that flow back through them. */
#ifndef SAE_STOCK_CODE_H
#define SAE_STOCK_CODE_H

#include "stock.h"

/* xhat = z W_dec + b_dec: the `decode` method of every model with SAE_CAP_LINEAR_DEC. */
static inline int stock_decode(const sae_model *m, const sae_ctx *c, const sae_code *z,
                               sae_mat xhat)
{
    return c->k->code_decode(c->dev, z, stock_w(m, STOCK_W_DEC),
                             (const sae_real *)m->t[STOCK_B_DEC].w, xhat);
}

/* A code that val holds in full. */
static inline sae_cmat stock_dense_code(sae_code *z, int64_t B, int64_t n)
{
    z->B = B;
    z->n = n;
    z->nnz = B * n;
    z->nan = 0;
    return stock_cmat(z->val, B, n);
}

/* 2 coef / B: the factor between tape.resid and the gradient of coef * mse; 0 for B == 0. */
static inline sae_real stock_alpha(double coef, int64_t B)
{
    return B > 0 ? (sae_real)(2 * coef / (double)B) : 0;
}

/* What the backward pass of one sparse code works in. */
typedef struct stock_links {
    sae_csc csc;
    sae_real *dval;         /* [cap] gradient of the listed values */
    const sae_real *beside; /* [nnz] their gradient from elsewhere; NULL: 0 */
    /* listed value = weight[j] * factor[i] * encoder's output; NULL: 1 */
    const sae_real *weight; /* [n] */
    const sae_real *factor; /* [nnz] */
} stock_links;

static inline void stock_take_csc(stock_bump *s, int64_t n, int64_t cap, sae_csc *out)
{
    out->n = n;
    out->nnz = 0;
    out->cap = cap;
    out->colptr = (int64_t *)stock_take(s, n < INT64_MAX ? n + 1 : -1, sizeof(int64_t));
    out->row = (int32_t *)stock_take(s, cap, sizeof(int32_t));
    out->pos = (int64_t *)stock_take(s, cap, sizeof(int64_t));
}

static inline void stock_take_links(stock_bump *s, int64_t n, int64_t cap, stock_links *out)
{
    stock_take_csc(s, n, cap, &out->csc);
    out->dval = stock_take_real(s, cap, 1);
    out->beside = out->weight = out->factor = NULL;
}

/* alpha * dx, alpha > 0, is the gradient of the loss with respect to z W_dec: alpha * dval becomes
 * that of the listed values of z, and W_dec (unless it is STATE) gains its own. */
static inline int stock_code_dec(sae_model *m, const sae_ctx *c, const sae_code *z, stock_links *l,
                                 sae_cmat dx, sae_real alpha)
{
    if (z->nnz > l->csc.cap)
        return SAE_RECORD(c->err, SAE_ECAPACITY, "a code of %lld entries, scratch for %lld",
                          (long long)z->nnz, (long long)l->csc.cap);
    SAE_TRY(c->k->code_grad(c->dev, z, dx, stock_w(m, STOCK_W_DEC), l->dval));
    SAE_TRY(c->k->code_transpose(c->dev, z, &l->csc));
    if (m->t[STOCK_W_DEC].spec->role == SAE_PARAM)
        SAE_TRY(c->k->code_outer(c->dev, &l->csc, z->val, alpha, dx, stock_grad(m, STOCK_W_DEC)));
    if (l->beside)
        SAE_TRY(stock_add(c, l->dval, 1 / (double)alpha, l->beside, z->nnz));
    return SAE_OK;
}

/* Add what flows on from alpha * dval to W_enc, and its sum over rows to dbe [n], the gradient of
 * the encoder's output (alpha folded in). in [B x d_in]: what the encoder reads, a centred copy
 * rather than x with a rank-one correction, which cancels and loses the digits that matter when the
 * mean of x dominates; the copy costs B d. */
static inline int stock_code_enc(sae_model *m, const sae_ctx *c, const sae_code *z,
                                 const stock_links *l, sae_real alpha, sae_cmat in, sae_real *dbe)
{
    if (l->weight)
        SAE_TRY(c->k->code_scale(c->dev, z, l->dval, NULL, l->weight, l->dval));
    if (l->factor)
        SAE_TRY(c->k->mul(c->dev, 1, stock_cmat(l->dval, 1, z->nnz),
                          stock_cmat(l->factor, 1, z->nnz), stock_mat(l->dval, 1, z->nnz)));
    SAE_TRY(c->k->code_outer(c->dev, &l->csc, l->dval, alpha, in, stock_grad(m, STOCK_W_ENC)));
    return c->k->code_col_sum(c->dev, &l->csc, l->dval, alpha, dbe);
}

/* Both: the gradients that flow through the listed entries of z. */
static inline int stock_code_back(sae_model *m, const sae_ctx *c, const sae_code *z, stock_links *l,
                                  sae_cmat dx, sae_real alpha, sae_cmat in, sae_real *dbe)
{
    SAE_TRY(stock_code_dec(m, c, z, l, dx, alpha));
    return stock_code_enc(m, c, z, l, alpha, in, dbe);
}

#endif
