/* sae/stock_vsae_forward.h - forward of the variational family (stock_vsae.h). */
#ifndef SAE_STOCK_VSAE_FORWARD_H
#define SAE_STOCK_VSAE_FORWARD_H

#include "stock_vsae.h"

#define STOCK_MU_CLIP 10.0
#define STOCK_LOGVAR_LO (-6.0)
#define STOCK_LOGVAR_HI 2.0

/* ---- one slab of the model ------------------------------------------------------------------- */

/* *mu = the means, in mem->mu or tape.pre itself. */
static inline int stock_vsae_mu(const sae_ctx *c, const stock_vsae *s, const sae_tape *t,
                                const stock_vsae_mem *mem, stock_slab at, sae_cmat *mu)
{
    sae_cmat pre = stock_slab_rows(at, t->pre);
    sae_cmat gate = stock_slab_rows(at, c->hold ? c->hold->pre : t->pre);
    *mu = s->o->relu_mu ? stock_slab_cmat(at, mem->mu) : pre;
    if (!s->o->relu_mu)
        return SAE_OK;
    return c->k->gate(c->dev, pre, gate, stock_slab_mat(at, mem->mu));
}

/* out = l, the clamped log-variance. Which entries are clamped is a decision: held, if set, has
 * those of the held tape. */
static inline int stock_vsae_logvar(const sae_ctx *c, const stock_vsae_mem *mem,
                                    const stock_vsae_mem *held, stock_slab at, sae_real *out)
{
    int64_t first = at.r0 * at.n;
    const sae_real *x = mem->logvar + first, *h = held ? held->logvar + first : NULL;
    SAE_TRY(c->k->map(c->dev, SAE_FN_CLAMP, STOCK_LOGVAR_LO, STOCK_LOGVAR_HI,
                      stock_slab_cmat(at, x), stock_slab_mat(at, out)));
    for (int64_t i = 0; h && i < at.rows * at.n; i++) {
        double v = (double)h[i];
        if (v <= STOCK_LOGVAR_LO || v >= STOCK_LOGVAR_HI)
            out[i] = (sae_real)(v < 0 ? STOCK_LOGVAR_LO : STOCK_LOGVAR_HI);
        else
            out[i] = x[i];
    }
    return SAE_OK;
}

/* z = mu + s eps of the slab. */
static inline int stock_vsae_sample(const sae_ctx *c, const sae_batch *b, const stock_vsae *s,
                                    const sae_tape *t, const stock_vsae_mem *mem,
                                    const stock_vsae_mem *held, stock_slab at, sae_real *z)
{
    sae_mat sd = stock_slab_mat(at, mem->b), eps = stock_slab_mat(at, mem->a);
    sae_cmat sdc = stock_slab_cmat(at, mem->b), mu;
    int64_t all = at.rows * at.n;
    double scale = 1;
    SAE_TRY(c->k->normal_fill(c->dev, c->seed, SAE_STREAM_NOISE, b->row0 + (uint64_t)at.r0, eps));
    if (s->v->var == STOCK_VAR_LEARNED) {
        SAE_TRY(stock_vsae_logvar(c, mem, held, at, sd.p));
        SAE_TRY(c->k->scale(c->dev, sdc, NULL, mem->half, sd));
        SAE_TRY(c->k->map(c->dev, SAE_FN_EXP, 0, 0, sdc, sd));
        SAE_TRY(stock_slab_mul(c, at, eps.p, sd.p));
    } else {
        scale = s->v->sigma;
    }
    SAE_TRY(stock_vsae_mu(c, s, t, mem, at, &mu));
    return c->k->shift_rows(c->dev, stock_cmat(mu.p, 1, all), (sae_real)scale, eps.p,
                            stock_mat(z, 1, all));
}

/* mem->mask = 1 where the code lists an entry, else 0. */
static inline int stock_vsae_mask(const sae_ctx *c, const sae_code *z, const stock_vsae_mem *mem,
                                  stock_slab at)
{
    sae_code part = *z;
    sae_mat mask = stock_slab_mat(at, mem->mask);
    sae_cmat in = stock_slab_cmat(at, mem->mask);
    part.B = at.rows;
    part.rowptr += at.r0;
    SAE_TRY(c->k->code_to_dense(c->dev, &part, mask));
    SAE_TRY(c->k->map(c->dev, SAE_FN_SIGN, 0, 0, in, mask));
    return c->k->map(c->dev, SAE_FN_ABS, 0, 0, in, mask);
}

/* ---- the penalty ----------------------------------------------------------------------------- */

/* mem->w.row += sum_j clip(mu)^2 per row; mem->sum += sum_r (exp(l) - l - 1) per feature. */
static inline int stock_vsae_kl_slab(const sae_ctx *c, const stock_vsae *s, const sae_tape *t,
                                     const stock_vsae_mem *mem, const stock_vsae_mem *held,
                                     stock_slab at)
{
    sae_cmat mu, a = stock_slab_cmat(at, mem->a), e = stock_slab_cmat(at, mem->b);
    SAE_TRY(stock_vsae_mu(c, s, t, mem, at, &mu));
    SAE_TRY(c->k->map(c->dev, SAE_FN_CLAMP, -STOCK_MU_CLIP, STOCK_MU_CLIP, mu,
                      stock_slab_mat(at, mem->a)));
    if (s->masked) {
        SAE_TRY(stock_vsae_mask(c, &t->code, mem, at));
        SAE_TRY(stock_slab_mul(c, at, mem->a, mem->mask));
    }
    SAE_TRY(c->k->row_dot(c->dev, a, a, mem->w.row + at.r0));
    if (!stock_vsae_learned(s))
        return SAE_OK;
    SAE_TRY(stock_vsae_logvar(c, mem, held, at, mem->a));
    SAE_TRY(c->k->map(c->dev, SAE_FN_EXP, 0, 0, a, stock_slab_mat(at, mem->b)));
    SAE_TRY(stock_slab_add(c, at, mem->b, -1, mem->a));
    SAE_TRY(c->k->shift_rows(c->dev, e, -2, mem->half, stock_slab_mat(at, mem->b)));
    if (s->masked)
        SAE_TRY(stock_slab_mul(c, at, mem->b, mem->mask));
    return c->k->col_sum(c->dev, e, 1, mem->sum);
}

/* What a constant variance adds to the penalty of one entry. */
static inline double stock_vsae_constant(const stock_vsae *s)
{
    double v = s->v ? s->v->sigma * s->v->sigma : 1;
    return s->v && s->v->var == STOCK_VAR_FIXED ? 0.5 * (v - 1 - log(v)) : 0;
}

/* loss[1] and coef[1]. */
static inline int stock_vsae_kl(const sae_model *m, const sae_ctx *c, const stock_vsae *s,
                                sae_tape *t, const stock_vsae_mem *mem, const stock_vsae_mem *held)
{
    double mean, variances, ramp = floor(s->o->warmup * (double)c->steps);
    int64_t B = t->B, n = m->dim.n;
    stock_slab at = stock_slab_of(n, STOCK_VSAE_ROWS);
    t->coef[1] = s->o->beta * (ramp > (double)c->step ? (double)c->step / ramp : 1);
    t->loss[1] = 0;
    if (B == 0)
        return SAE_OK;
    SAE_TRY(stock_fill(c, mem->sum, n, 0));
    while (stock_slab_next(&at, B))
        SAE_TRY(stock_vsae_kl_slab(c, s, t, mem, held, at));
    SAE_TRY(stock_mean(c, B, mem->w.row, &mean));
    SAE_TRY(
        c->k->row_dot(c->dev, stock_cmat(mem->sum, 1, n), stock_cmat(mem->half, 1, n), mem->w.row));
    SAE_TRY(stock_get(c, &variances, mem->w.row, sizeof variances));
    double entries = s->masked ? (double)t->code.nnz / (double)B : (double)n;
    t->loss[1] = 0.5 * mean + variances / (double)B + entries * stock_vsae_constant(s);
    return SAE_OK;
}

/* ---- codes ----------------------------------------------------------------------------------- */

/* z gets the entries that the held code lists, with their values in x [B x n]. */
static inline int stock_vsae_gather(const sae_code *held, const sae_real *x, sae_code *z)
{
    SAE_TRY(stock_hold_entries(held, z));
    for (int64_t r = 0; r < held->B; r++)
        for (int64_t i = held->rowptr[r]; i < held->rowptr[r + 1]; i++)
            z->val[i] = x[r * held->n + held->idx[i]];
    return SAE_OK;
}

/* EVAL codes without noise. */
static inline int stock_vsae_mean_code(const sae_ctx *c, const sae_encoder *e, const stock_vsae *s,
                                       sae_code *z)
{
    if (s->k != STOCK_VSAE_ALL)
        return c->k->encode_topk(c->dev, e, stock_vsae_key(s), s->k, z);
    if (s->o->relu_mu)
        return c->k->encode_threshold(c->dev, e, SAE_KEY_RELU, 0, NULL, z);
    stock_dense_code(z, e->x.rows, e->w.rows);
    return c->k->encode_dense(c->dev, e, stock_mat(z->val, e->x.rows, e->w.rows));
}

/* z of every entry into out [B x n]. */
static inline int stock_vsae_all(const sae_ctx *c, const sae_batch *b, const stock_vsae *s,
                                 const sae_tape *t, const stock_vsae_mem *mem,
                                 const stock_vsae_mem *held, stock_slab at, sae_real *out)
{
    sae_cmat mu;
    while (stock_slab_next(&at, b->B)) {
        sae_real *z = out + at.r0 * at.n;
        if (stock_vsae_noise(s, c->mode)) {
            SAE_TRY(stock_vsae_sample(c, b, s, t, mem, held, at, z));
            continue;
        }
        SAE_TRY(stock_vsae_mu(c, s, t, mem, at, &mu));
        SAE_TRY(c->be->copy(c->dev, z, mu.p, (size_t)(at.rows * at.n) * sizeof *z, SAE_COPY_D2D));
    }
    return SAE_OK;
}

/* Both heads, then the code. */
static inline int stock_vsae_code(const sae_model *m, const sae_ctx *c, const sae_batch *b,
                                  const sae_encoder *e, const stock_vsae *s, sae_tape *t,
                                  const stock_vsae_mem *mem, const stock_vsae_mem *held)
{
    int64_t B = b->B, n = m->dim.n;
    stock_slab start = stock_slab_of(n, STOCK_VSAE_ROWS);
    sae_encoder var = *e;
    sae_scores of = {stock_cmat(mem->z ? mem->z : t->pre, B, n), {NULL, 0, 0, 0}, SAE_KEY_ABS};
    SAE_TRY(stock_fill(c, mem->half, n, (sae_real)0.5));
    SAE_TRY(c->k->encode_dense(c->dev, e, stock_mat(t->pre, B, n)));
    if (mem->logvar) {
        var.w = stock_w(m, STOCK_W_VAR);
        var.bias = stock_w(m, STOCK_B_VAR).p;
        SAE_TRY(c->k->encode_dense(c->dev, &var, stock_mat(mem->logvar, B, n)));
    }
    if (s->k == STOCK_VSAE_ALL) {
        stock_dense_code(&t->code, B, n);
        return stock_vsae_all(c, b, s, t, mem, held, start, t->code.val);
    }
    if (mem->z)
        SAE_TRY(stock_vsae_all(c, b, s, t, mem, held, start, mem->z));
    else
        of.key = stock_vsae_key(s);
    if (c->hold)
        return stock_vsae_gather(&c->hold->code, of.value.p, &t->code);
    return c->k->row_topk(c->dev, &of, s->k, &t->code);
}

static inline int stock_vsae_forward(const sae_model *m, const sae_ctx *c, const sae_batch *b,
                                     const stock_vsae *s, sae_tape *t)
{
    stock_vsae_mem mem, other, *held = c->hold ? &other : NULL;
    sae_encoder e = stock_encoder(m, b, s->o->pre_bias);
    stock_vsae_layout(s, &m->dim, b->B, c->mode, t->scratch, &mem);
    if (held)
        stock_vsae_layout(s, &m->dim, b->B, c->mode, c->hold->scratch, held);
    if (stock_vsae_fused(s, c->mode))
        SAE_TRY(stock_vsae_mean_code(c, &e, s, &t->code));
    else
        SAE_TRY(stock_vsae_code(m, c, b, &e, s, t, &mem, held));
    SAE_TRY(stock_mse(m, c, b, t, STOCK_MSE_ROW, &mem.w));
    t->loss[1] = t->coef[1] = t->loss[2] = t->coef[2] = 0;
    if (c->mode == SAE_EVAL)
        return SAE_OK;
    SAE_TRY(stock_vsae_kl(m, c, s, t, &mem, held));
    if (!s->auxk || !(s->auxk->alpha > 0))
        return SAE_OK;
    mem.aux.enc = &e;
    mem.aux.bias = s->o->pre_bias ? NULL : stock_w(m, STOCK_B_DEC).p;
    return stock_auxk_loss(m, c, b, t, &mem.w, &mem.aux, held ? &held->aux : NULL);
}

#endif
