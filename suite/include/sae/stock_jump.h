/* sae/stock_jump.h - losses and thresholds of the family of stock_jump_code.h; the gradients are in
 * stock_jump_back.h.
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

#include "stock_jump_back.h"

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
                                  const sae_tape *t, stock_jump_mem *mem, double *loss)
{
    int64_t n = m->dim.n;
    stock_run *run = &mem->run;
    SAE_TRY(stock_fill(c, mem->sum, n, 0));
    SAE_TRY(stock_fill(c, mem->col, n, 0));
    SAE_TRY(stock_add(c, mem->col, o->tanh_scale, mem->d.weight, n));
    for (int64_t r = 0; r < t->B; r += run->part.B) {
        sae_real *v = mem->d.work[0];
        SAE_TRY(stock_run_at(c, &t->code, r, run));
        SAE_TRY(c->k->code_scale(c->dev, &run->part, run->part.val, NULL, mem->col, v));
        SAE_TRY(c->k->map(c->dev, SAE_FN_TANH, 0, 0, stock_run_cmat(run, v),
                          stock_run_mat(run, v)));
        if (!run->part.dense)
            SAE_TRY(c->k->code_transpose(c->dev, &run->part, &run->links.csc));
        SAE_TRY(stock_run_sum(c, run, v, 1, mem->sum));
    }
    return stock_mean_of(c, &mem->d, mem->sum, n, t->B, loss);
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
