/* sae/stock_vsae_backward.h - backward of the variational family (stock_vsae.h), and its cost.
 *
 * Gradients of the means and log-variances are dense where the penalty is: they are formed a slab
 * of rows at a time, in units of alpha, the factor between tape.resid and the gradient of xhat.
 */
#ifndef SAE_STOCK_VSAE_BACKWARD_H
#define SAE_STOCK_VSAE_BACKWARD_H

#include "stock_vsae_forward.h"

typedef struct stock_vsae_grad { /* what one backward is computed from */
    const sae_batch *b;
    const stock_vsae *s;
    const sae_tape *t;
    const stock_vsae_mem *mem;
    sae_cmat dx; /* gradient of xhat in units of alpha */
    sae_real alpha;
    double penalty; /* weight of the penalty on one entry, in units of alpha */
} stock_vsae_grad;

/* The listed rows of a slab as a code of values val. */
static inline sae_code stock_vsae_rows(const sae_code *z, stock_slab at, sae_real *val)
{
    sae_code part = *z;
    part.B = at.rows;
    part.rowptr += at.r0;
    part.val = val;
    return part;
}

/* mem->dz = gradient of z, 0 where the code lists nothing. */
static inline int stock_vsae_dz(const sae_model *m, const sae_ctx *c, const stock_vsae_grad *g,
                                stock_slab at)
{
    sae_mat dz = stock_slab_mat(at, g->mem->dz);
    if (g->t->code.dense)
        return c->k->gemm(c->dev, 0, 1, 1,
                          stock_slab_part(at, g->dx), stock_w(m, STOCK_W_DEC), 0, dz);
    sae_code part = stock_vsae_rows(&g->t->code, at, g->mem->links.dval);
    return c->k->code_to_dense(c->dev, &part, dz);
}

/* mem->a = z; entries that the code does not list are 0. */
static inline int stock_vsae_z(const sae_ctx *c, const stock_vsae_grad *g, stock_slab at)
{
    const sae_code *z = &g->t->code;
    size_t bytes = (size_t)(at.rows * at.n) * sizeof *z->val;
    if (z->dense)
        return c->be->copy(c->dev, g->mem->a, z->val + at.r0 * at.n, bytes, SAE_COPY_D2D);
    sae_code part = stock_vsae_rows(z, at, z->val);
    return c->k->code_to_dense(c->dev, &part, stock_slab_mat(at, g->mem->a));
}

/* The second head: dl = dz (z - mu) / 2 + penalty (exp(l) - 1) / 2, 0 where l is clamped. */
static inline int stock_vsae_logvar_back(sae_model *m, const sae_ctx *c, const stock_vsae_grad *g,
                                         sae_cmat mu, sae_cmat in, stock_slab at)
{
    const stock_vsae_mem *mem = g->mem;
    sae_mat a = stock_slab_mat(at, mem->a), dl = stock_slab_mat(at, mem->b);
    sae_cmat ac = stock_slab_cmat(at, mem->a), dlc = stock_slab_cmat(at, mem->b);
    sae_cmat raw = stock_slab_rows(at, mem->logvar);
    double centre = (STOCK_LOGVAR_LO + STOCK_LOGVAR_HI) / 2;
    SAE_TRY(stock_vsae_z(c, g, at));
    SAE_TRY(stock_slab_add(c, at, a.p, -1, mu.p));
    SAE_TRY(c->k->mul(c->dev, (sae_real)0.5, stock_slab_cmat(at, mem->dz), ac, dl));
    SAE_TRY(stock_vsae_logvar(c, mem, NULL, at, a.p));
    SAE_TRY(c->k->map(c->dev, SAE_FN_EXP, 0, 0, ac, a));
    SAE_TRY(c->k->shift_rows(c->dev, ac, -2, mem->half, a));
    if (g->s->masked)
        SAE_TRY(stock_slab_mul(c, at, a.p, mem->mask));
    SAE_TRY(stock_slab_add(c, at, dl.p, g->penalty / 2, a.p));
    SAE_TRY(c->k->shift_rows(c->dev, raw, (sae_real)(-2 * centre), mem->half, a));
    SAE_TRY(c->k->window(c->dev, dlc, ac, STOCK_LOGVAR_HI - centre, dl));
    SAE_TRY(c->k->gemm(c->dev, 1, 0, g->alpha, dlc, in, 1, stock_grad(m, STOCK_W_VAR)));
    return c->k->col_sum(c->dev, dlc, g->alpha, mem->dbv);
}

static inline int stock_vsae_slab_back(sae_model *m, const sae_ctx *c, const stock_vsae_grad *g,
                                       stock_slab at)
{
    const stock_vsae_mem *mem = g->mem;
    sae_mat dz = stock_slab_mat(at, mem->dz), a = stock_slab_mat(at, mem->a);
    sae_cmat dzc = stock_slab_cmat(at, mem->dz), in = stock_slab_part(at, mem->w.in);
    sae_cmat mu, pre = stock_slab_rows(at, g->t->pre);
    SAE_TRY(stock_vsae_mu(c, g->s, g->t, mem, at, &mu));
    SAE_TRY(stock_vsae_dz(m, c, g, at));
    if (g->s->masked)
        SAE_TRY(stock_vsae_mask(c, &g->t->code, mem, at));
    if (mem->logvar)
        SAE_TRY(stock_vsae_logvar_back(m, c, g, mu, in, at));
    SAE_TRY(c->k->window(c->dev, mu, mu, STOCK_MU_CLIP, a));
    if (g->s->masked)
        SAE_TRY(stock_slab_mul(c, at, a.p, mem->mask));
    SAE_TRY(stock_slab_add(c, at, dz.p, g->penalty, a.p));
    if (g->s->o->relu_mu)
        SAE_TRY(c->k->gate(c->dev, dzc, pre, dz));
    SAE_TRY(c->k->gemm(c->dev, 1, 0, g->alpha, dzc, in, 1, stock_grad(m, STOCK_W_ENC)));
    return c->k->col_sum(c->dev, dzc, g->alpha, mem->w.dbe);
}

/* The decoder's gradient, and for a listed code the gradient of its values in links.dval. */
static inline int stock_vsae_decoder_back(sae_model *m, const sae_ctx *c, const stock_vsae_grad *g,
                                          stock_links *l)
{
    const sae_code *z = &g->t->code;
    sae_mat dw = stock_grad(m, STOCK_W_DEC);
    SAE_TRY(c->k->col_sum(c->dev, g->dx, g->alpha, m->t[STOCK_B_DEC].grad));
    if (z->dense)
        return c->k->gemm(c->dev, 1, 0, g->alpha, stock_cmat(z->val, z->B, z->n), g->dx, 1, dw);
    SAE_TRY(c->k->code_grad(c->dev, z, g->dx, stock_w(m, STOCK_W_DEC), l->dval));
    SAE_TRY(c->k->code_transpose(c->dev, z, &l->csc));
    return c->k->code_outer(c->dev, &l->csc, z->val, g->alpha, g->dx, dw);
}

/* The dead-feature loss; *dx as in stock_auxk_back. */
static inline int stock_vsae_aux_back(sae_model *m, const sae_ctx *c, const stock_vsae *s,
                                      sae_tape *t, stock_vsae_mem *mem, sae_cmat *dx)
{
    if (!s->auxk || !(t->coef[2] > 0))
        return SAE_OK;
    SAE_TRY(stock_auxk_back(m, c, t, &mem->w, &mem->aux, dx));
    if (s->o->pre_bias)
        return SAE_OK;
    return c->k->col_sum(c->dev, stock_cmat(mem->aux.err, t->B, m->dim.d_out),
                         stock_alpha(t->coef[2], t->B), m->t[STOCK_B_DEC].grad);
}

/* The bias of one head with weights w, and b_dec's path through it. */
static inline int stock_vsae_head_back(sae_model *m, const sae_ctx *c, const stock_vsae *s, int w,
                                       int b, const sae_real *db)
{
    SAE_TRY(stock_add(c, m->t[b].grad, 1, db, m->dim.n));
    return stock_shift_back(m, c, w, s->o->pre_bias, db);
}

static inline int stock_vsae_backward(sae_model *m, const sae_ctx *c, const sae_batch *b,
                                      const stock_vsae *s, sae_tape *t)
{
    stock_vsae_mem mem;
    stock_slab at = stock_slab_of(m->dim.n, STOCK_VSAE_ROWS);
    stock_vsae_layout(s, &m->dim, b->B, c->mode, t->scratch, &mem);
    stock_vsae_grad g = {b,
                         s,
                         t,
                         &mem,
                         stock_resid(m, t),
                         stock_alpha(t->coef[0], b->B),
                         t->coef[1] / (2 * t->coef[0])};
    SAE_TRY(stock_begin_back(m, c, b, s->o->pre_bias, &mem.w));
    SAE_TRY(stock_fill(c, mem.dbv, m->dim.n, 0));
    SAE_TRY(stock_vsae_aux_back(m, c, s, t, &mem, &g.dx));
    SAE_TRY(stock_vsae_decoder_back(m, c, &g, &mem.links));
    while (stock_slab_next(&at, b->B))
        SAE_TRY(stock_vsae_slab_back(m, c, &g, at));
    if (mem.logvar)
        SAE_TRY(stock_vsae_head_back(m, c, s, STOCK_W_VAR, STOCK_B_VAR, mem.dbv));
    return stock_vsae_head_back(m, c, s, STOCK_W_ENC, STOCK_B_ENC, mem.w.dbe);
}

/* Floating-point operations of forward, and of backward in TRAIN. */
static inline double stock_vsae_flops(const stock_vsae *s, const sae_dims *dim, int64_t B,
                                      enum sae_mode mode)
{
    double heads = stock_vsae_learned(s) ? 2 : 1, dense = s->k == STOCK_VSAE_ALL ? 1 : 0;
    double one = 2 * (double)B * (double)dim->n * (double)dim->d_in;
    double listed = 2 * (double)stock_vsae_cap(s, dim, B) * (double)dim->d_in * (1 - dense);
    if (mode == SAE_EVAL)
        return one * (stock_vsae_fused(s, mode) ? 1 : heads) + one * dense + listed;
    return one * (2 * heads + 3 * dense) + 3 * listed;
}

#endif
