/* sae/stock_jump.h - losses and gradients of the family of stock_jump_code.h.
 *
 * "sparsity" is, with L0 the mean number of active features per row,
 *
 *     target   (L0 / target - 1)^2
 *     l0       L0
 *     tanh     (1 / B) sum_rj tanh(tanh_scale z_rj w_j)      scores that are pre only
 *
 * "pre_act" pulls dead features towards their threshold: (1 / B) sum_rj max(theta_j - pre_rj, 0)
 * w_j over features that were last active at least `dead` rows before this batch; scores that are
 * pre only. w_j: stock_dense.h.
 */
#ifndef SAE_STOCK_JUMP_H
#define SAE_STOCK_JUMP_H

#include "stock_jump_code.h"

/* Mean number of active features per row, exact, into *mean and the scratch. */
static inline int stock_jump_count(const sae_ctx *c, const sae_code *z, const stock_jump_mem *mem,
                                   double *mean)
{
    int64_t chunk[STOCK_CHUNK], total = 0;
    SAE_TRY(c->k->code_norms(c->dev, z, mem->count, NULL));
    for (int64_t r = 0; r < z->B; r += STOCK_CHUNK) {
        int64_t some = stock_some(z->B - r);
        SAE_TRY(stock_get(c, chunk, mem->count + r, (size_t)some * sizeof *chunk));
        for (int64_t i = 0; i < some; i++)
            total += chunk[i];
    }
    *mean = z->B > 0 ? (double)total / (double)z->B : 0;
    return stock_put(c, mem->l0, mean, sizeof *mean);
}

/* (1 / B) sum_rj tanh(tanh_scale z_rj w_j); col keeps tanh_scale w for backward. */
static inline int stock_jump_tanh(const sae_model *m, const sae_ctx *c, const stock_jump_opt *o,
                                  const sae_tape *t, const stock_jump_mem *mem, double *loss)
{
    int64_t n = m->dim.n;
    stock_slab s = stock_slab_of(n, STOCK_DENSE_ROWS);
    SAE_TRY(stock_fill(c, mem->sum, n, 0));
    SAE_TRY(stock_fill(c, mem->col, n, 0));
    SAE_TRY(stock_add(c, mem->col, o->tanh_scale, mem->d.weight, n));
    while (stock_slab_next(&s, t->B)) {
        sae_mat v = stock_slab_mat(s, mem->d.work[0]);
        sae_cmat cv = stock_slab_cmat(s, mem->d.work[0]);
        SAE_TRY(c->k->scale(c->dev, stock_slab_rows(s, t->code.val), NULL, mem->col, v));
        SAE_TRY(c->k->map(c->dev, SAE_FN_TANH, 0, 0, cv, v));
        SAE_TRY(c->k->col_sum(c->dev, cv, 1, mem->sum));
    }
    return stock_mean_of(c, &mem->d, mem->sum, n, t->B, loss);
}

static inline int stock_jump_tanh_slab(const sae_ctx *c, const stock_jump_opt *o, const sae_tape *t,
                                       const stock_jump_mem *mem, stock_slab s)
{
    sae_mat v = stock_slab_mat(s, mem->d.work[0]);
    sae_cmat cv = stock_slab_cmat(s, mem->d.work[0]), z = stock_slab_rows(s, t->code.val);
    double slope = t->coef[1] / (double)t->B;
    SAE_TRY(c->k->scale(c->dev, z, NULL, mem->col, v));
    SAE_TRY(c->k->map(c->dev, SAE_FN_TANH, 0, 0, cv, v));
    SAE_TRY(c->k->mul(c->dev, -1, cv, cv, v));
    SAE_TRY(c->k->shift_rows(c->dev, cv, 1, mem->d.ones, v));
    SAE_TRY(c->k->scale(c->dev, cv, NULL, mem->col, v));
    SAE_TRY(stock_slab_add(c, s, mem->d.dz, slope, cv.p));
    if (o->decoder.rows == STOCK_DECODER_UNIT)
        return SAE_OK;
    SAE_TRY(c->k->mul(c->dev, (sae_real)slope, cv, z, v));
    return c->k->col_sum(c->dev, cv, 1, mem->d.pull);
}

/* dead[j] = w_j where the feature was last active at least o->dead rows before this batch. */
static inline int stock_jump_dead(const sae_ctx *c, const stock_jump_opt *o, int64_t n,
                                  const stock_jump_mem *mem)
{
    uint64_t fired[STOCK_CHUNK];
    sae_real w[STOCK_CHUNK];
    for (int64_t j = 0; j < n; j += STOCK_CHUNK) {
        int64_t some = stock_some(n - j);
        SAE_TRY(stock_get(c, fired, c->stats->last_fired + j, (size_t)some * sizeof *fired));
        SAE_TRY(stock_get(c, w, mem->d.weight + j, (size_t)some * sizeof *w));
        for (int64_t i = 0; i < some; i++)
            if (c->stats->tokens - fired[i] < (uint64_t)o->dead)
                w[i] = 0;
        SAE_TRY(stock_put(c, mem->dead + j, w, (size_t)some * sizeof *w));
    }
    return SAE_OK;
}

/* (1 / B) sum over inactive entries of dead features of (level - pre) w_j; sum keeps the columns'
 * share for backward. */
static inline int stock_jump_pre_act(const sae_model *m, const sae_ctx *c, const stock_jump_opt *o,
                                     const sae_tape *t, const stock_jump_mem *mem, double *loss)
{
    int64_t n = m->dim.n;
    stock_slab s = stock_slab_of(n, STOCK_DENSE_ROWS);
    const sae_real *code = c->hold ? c->hold->code.val : t->code.val;
    SAE_TRY(stock_jump_dead(c, o, n, mem));
    SAE_TRY(stock_fill(c, mem->sum, n, 0));
    while (stock_slab_next(&s, t->B)) {
        sae_mat off = stock_slab_mat(s, mem->d.dz), active = stock_slab_mat(s, mem->d.work[0]);
        sae_cmat coff = stock_slab_cmat(s, mem->d.dz);
        SAE_TRY(c->k->shift_rows(c->dev, stock_slab_rows(s, t->pre), -1, mem->level, off));
        SAE_TRY(c->k->scale(c->dev, coff, NULL, mem->dead, off));
        SAE_TRY(c->k->gate(c->dev, coff, stock_slab_rows(s, code), active));
        SAE_TRY(stock_slab_add(c, s, off.p, -1, active.p));
        SAE_TRY(c->k->col_sum(c->dev, coff, -1, mem->sum));
    }
    return stock_mean_of(c, &mem->d, mem->sum, n, t->B, loss);
}

static inline int stock_jump_losses(const sae_model *m, const sae_ctx *c,
                                          const stock_jump_opt *o, sae_tape *t,
                                          stock_jump_mem *mem)
{
    double l0, off;
    SAE_TRY(stock_dense_weights(m, c, &o->decoder, t->B, &mem->d));
    SAE_TRY(stock_jump_count(c, &t->code, mem, &l0));
    off = l0 / o->target - 1;
    t->coef[1] = o->weight;
    t->loss[1] = o->penalty == STOCK_JUMP_TARGET ? off * off : l0;
    if (o->penalty == STOCK_JUMP_TANH)
        SAE_TRY(stock_jump_tanh(m, c, o, t, mem, &t->loss[1]));
    t->coef[2] = o->pre_act;
    return o->pre_act > 0 ? stock_jump_pre_act(m, c, o, t, mem, &t->loss[2]) : SAE_OK;
}

static inline int stock_jump_forward(const sae_model *m, const sae_ctx *c, const sae_batch *b,
                                     const stock_jump *j, sae_tape *t)
{
    stock_jump_mem mem;
    stock_jump_layout(j, &m->dim, b->B, c->mode, t->scratch, &mem);
    SAE_TRY(stock_jump_levels(m, c, j->o, &mem));
    SAE_TRY(stock_jump_code(m, c, b, j, t, &mem));
    SAE_TRY(stock_mse(m, c, b, t, j->o->mse, &mem.d.w));
    t->loss[1] = t->coef[1] = t->loss[2] = t->coef[2] = 0;
    return c->mode == SAE_EVAL ? SAE_OK : stock_jump_losses(m, c, j->o, t, &mem);
}

/* ---- backward -------------------------------------------------------------------------------- */

/* near_grad += sum over the window of sign(pre) dz, dz being the gradient of z. */
static inline int stock_jump_near_grad(const sae_ctx *c, const stock_jump *j, const sae_tape *t,
                                       const stock_jump_mem *mem, stock_slab s)
{
    sae_mat v = stock_slab_mat(s, mem->d.work[0]);
    sae_cmat cv = stock_slab_cmat(s, mem->d.work[0]), pre = stock_slab_rows(s, t->pre), score;
    SAE_TRY(stock_jump_score(c, j, pre, v, &score));
    SAE_TRY(c->k->shift_rows(c->dev, score, -1, mem->theta, v));
    SAE_TRY(c->k->window(c->dev, stock_slab_cmat(s, mem->d.dz), cv, j->o->bandwidth / 2, v));
    if (j->key == SAE_KEY_ABS) {
        sae_real *sign = mem->d.work[1];
        SAE_TRY(c->k->map(c->dev, SAE_FN_SIGN, 0, 0, pre, stock_slab_mat(s, sign)));
        SAE_TRY(stock_slab_mul(c, s, v.p, sign));
    }
    return c->k->col_sum(c->dev, cv, 1, mem->near_grad);
}

/* near += entries in the penalty's window; dz is overwritten. */
static inline int stock_jump_near(const sae_ctx *c, const stock_jump *j, const sae_tape *t,
                                  const stock_jump_mem *mem, stock_slab s)
{
    sae_mat v = stock_slab_mat(s, mem->d.work[0]), one = stock_slab_mat(s, mem->d.dz);
    sae_cmat cv = stock_slab_cmat(s, mem->d.work[0]), cone = stock_slab_cmat(s, mem->d.dz), score;
    const sae_real *of = j->o->window == STOCK_JUMP_POST ? t->code.val : t->pre;
    SAE_TRY(stock_jump_score(c, j, stock_slab_rows(s, of), v, &score));
    SAE_TRY(c->k->shift_rows(c->dev, score, -1, mem->theta, v));
    SAE_TRY(c->k->map(c->dev, SAE_FN_CLAMP, 1, 1, cv, one));
    SAE_TRY(c->k->window(c->dev, cone, cv, j->o->bandwidth / 2, one));
    return c->k->col_sum(c->dev, cone, 1, mem->near);
}

/* dz passes where z is active, and dead features are pulled towards their threshold elsewhere. */
static inline int stock_jump_gate(const sae_ctx *c, const stock_jump *j, const sae_tape *t,
                                  const stock_jump_mem *mem, stock_slab s)
{
    sae_mat dz = stock_slab_mat(s, mem->d.dz), v = stock_slab_mat(s, mem->d.work[0]);
    sae_cmat cdz = stock_slab_cmat(s, mem->d.dz), active;
    sae_real slope = (sae_real)(t->coef[2] / (double)t->B);
    SAE_TRY(stock_jump_score(c, j, stock_slab_rows(s, t->code.val), v, &active));
    if (!(t->coef[2] > 0))
        return c->k->gate(c->dev, cdz, active, dz);
    SAE_TRY(c->k->shift_rows(c->dev, cdz, slope, mem->dead, dz));
    SAE_TRY(c->k->gate(c->dev, cdz, active, dz));
    SAE_TRY(c->k->shift_rows(c->dev, cdz, -slope, mem->dead, dz));
    SAE_TRY(c->k->map(c->dev, SAE_FN_SIGN, 0, 0, active, v));
    return c->k->col_sum(c->dev, stock_slab_cmat(s, v.p), 1, mem->active);
}

/* What the penalty's derivative with respect to the number of active entries is. */
static inline int stock_jump_per_entry(const sae_ctx *c, const stock_jump_opt *o, const sae_tape *t,
                                       const stock_jump_mem *mem, double *out)
{
    double l0;
    SAE_TRY(stock_get(c, &l0, mem->l0, sizeof l0));
    *out = t->coef[1] / (double)t->B;
    if (o->penalty == STOCK_JUMP_TARGET)
        *out *= 2 * (l0 / o->target - 1) / o->target;
    if (o->penalty == STOCK_JUMP_TANH)
        *out = 0;
    return SAE_OK;
}

/* The gradient of theta from the sums over the batch; near_grad is overwritten. */
static inline int stock_jump_theta_back(sae_model *m, const sae_ctx *c, const stock_jump_opt *o,
                                        const sae_tape *t, double per_entry,
                                        const stock_jump_mem *mem)
{
    int64_t n = m->dim.n;
    double per = 1 / o->bandwidth, dead = t->coef[2];
    sae_mat g = stock_mat(mem->near_grad, 1, n);
    sae_cmat cg = stock_cmat(mem->near_grad, 1, n), theta = stock_cmat(mem->theta, 1, n);
    SAE_TRY(c->k->mul(c->dev, (sae_real)-per, theta, cg, g));
    SAE_TRY(stock_add(c, g.p, -per_entry * per, mem->near, n));
    if (dead > 0) { /* each of the B - active entries has the derivative dead / B */
        SAE_TRY(stock_add(c, g.p, dead, mem->dead, n));
        SAE_TRY(c->k->mul(c->dev, (sae_real)(dead / (double)t->B), stock_cmat(mem->dead, 1, n),
                          stock_cmat(mem->active, 1, n), stock_mat(mem->active, 1, n)));
        SAE_TRY(stock_add(c, g.p, -1, mem->active, n));
    }
    if (o->param == STOCK_JUMP_LOG)
        SAE_TRY(c->k->mul(c->dev, 1, cg, theta, g));
    return stock_add(c, m->t[STOCK_JUMP].grad, 1, g.p, n);
}

static inline int stock_jump_slab(sae_model *m, const sae_ctx *c, const sae_tape *t,
                                  const stock_jump *j, double per_entry, const stock_jump_mem *mem,
                                  stock_slab s)
{
    SAE_TRY(stock_dense_dz(m, c, t, &mem->d, 0, s));
    if (j->o->penalty == STOCK_JUMP_TANH)
        SAE_TRY(stock_jump_tanh_slab(c, j->o, t, mem, s));
    SAE_TRY(stock_jump_near_grad(c, j, t, mem, s));
    SAE_TRY(stock_jump_gate(c, j, t, mem, s));
    SAE_TRY(stock_dense_enc(m, c, &mem->d, s));
    return per_entry > 0 || per_entry < 0 ? stock_jump_near(c, j, t, mem, s) : SAE_OK;
}

static inline int stock_jump_backward(sae_model *m, const sae_ctx *c, const sae_batch *b,
                                      const stock_jump *j, sae_tape *t)
{
    stock_jump_mem mem;
    double per_entry;
    int64_t n = m->dim.n;
    stock_slab s = stock_slab_of(n, STOCK_DENSE_ROWS);
    if (b->B == 0)
        return SAE_OK;
    stock_jump_layout(j, &m->dim, b->B, c->mode, t->scratch, &mem);
    SAE_TRY(stock_dense_open(m, c, b, j->o->pre_bias, &mem.d));
    SAE_TRY(stock_jump_per_entry(c, j->o, t, &mem, &per_entry));
    SAE_TRY(stock_fill(c, mem.near_grad, n, 0));
    SAE_TRY(stock_fill(c, mem.near, n, 0));
    SAE_TRY(stock_fill(c, mem.active, n, 0));
    while (stock_slab_next(&s, b->B))
        SAE_TRY(stock_jump_slab(m, c, t, j, per_entry, &mem, s));
    if (t->coef[2] > 0 && j->o->decoder.rows == STOCK_DECODER_FREE)
        SAE_TRY(stock_add(c, mem.d.pull, t->coef[2] / (double)t->B, mem.sum, n));
    SAE_TRY(stock_jump_theta_back(m, c, j->o, t, per_entry, &mem));
    return stock_dense_close(m, c, t, &j->o->decoder, j->o->pre_bias, &mem.d);
}

/* param=clamped: what the optimiser moved below 0 returns to 0, from where its gradient can lift it
 * again. */
static inline int stock_jump_adapt(sae_model *m, const sae_ctx *c, const stock_jump_opt *o)
{
    sae_cmat theta = stock_w(m, STOCK_JUMP);
    if (o->param != STOCK_JUMP_CLAMPED)
        return SAE_OK;
    return c->k->map(c->dev, SAE_FN_CLAMP, 0, HUGE_VAL, theta, stock_w_out(m, STOCK_JUMP));
}

#endif
