/* sae/stock_jump_back.h - gradients of the family of stock_jump_code.h.
 *
 * Backward goes through the code in runs: slabs of a dense one, listed entries of a sparse one. The
 * window of a sparse one may hold entries that are not listed, all with score 0, where |theta| is
 * below e / 2. Each such feature (silent) is counted as B of them, less 1 for every listed entry.
 */
#ifndef SAE_STOCK_JUMP_BACK_H
#define SAE_STOCK_JUMP_BACK_H

#include "stock_jump_code.h"

/* v = score(of) - theta for the run's entries. */
static inline int stock_jump_offset(const sae_ctx *c, const stock_jump *j,
                                    const stock_jump_mem *mem, const sae_real *of, sae_real *v)
{
    sae_mat out = stock_run_mat(&mem->run, v);
    sae_cmat score;
    SAE_TRY(stock_jump_score(c, j, stock_run_cmat(&mem->run, of), out, &score));
    return stock_run_shift(c, &mem->run, score, -1, mem->theta, out);
}

/* dz += slope (1 - tanh^2(col z)) col, slope being the penalty's derivative in each tanh. */
static inline int stock_jump_tanh_back(const sae_ctx *c, const stock_jump_opt *o, const sae_tape *t,
                                       const stock_jump_mem *mem)
{
    const stock_run *run = &mem->run;
    const sae_code *z = &run->part;
    sae_mat v = stock_run_mat(run, mem->d.work[0]);
    sae_cmat cv = stock_run_cmat(run, mem->d.work[0]), val = stock_run_cmat(run, z->val);
    double slope = t->coef[1] / (double)t->B;
    SAE_TRY(c->k->code_scale(c->dev, z, z->val, NULL, mem->col, v.p));
    SAE_TRY(c->k->map(c->dev, SAE_FN_TANH, 0, 0, cv, v));
    SAE_TRY(c->k->mul(c->dev, -1, cv, cv, v));
    SAE_TRY(stock_run_shift(c, run, cv, 1, mem->d.ones, v));
    SAE_TRY(c->k->code_scale(c->dev, z, cv.p, NULL, mem->col, v.p));
    SAE_TRY(stock_add(c, mem->dz, slope / mem->unit, cv.p, z->nnz));
    if (o->decoder.rows == STOCK_DECODER_UNIT)
        return SAE_OK;
    SAE_TRY(c->k->mul(c->dev, (sae_real)slope, cv, val, v));
    return stock_run_sum(c, run, cv.p, 1, mem->d.pull);
}

/* dz of the run's entries, and W_dec of listed ones. */
static inline int stock_jump_dz(sae_model *m, const sae_ctx *c, const stock_jump_opt *o,
                                const sae_tape *t, stock_jump_mem *mem)
{
    stock_run *run = &mem->run;
    if (run->part.dense)
        SAE_TRY(stock_dense_dz(m, c, t, &mem->d, 0, stock_run_slab(run)));
    else
        SAE_TRY(stock_code_dec(m, c, &run->part, &run->links,
                               stock_run_rows(run, stock_resid(m, t)),
                               stock_alpha(t->coef[0], t->B)));
    return o->penalty == STOCK_JUMP_TANH ? stock_jump_tanh_back(c, o, t, mem) : SAE_OK;
}

/* near_grad += sum over the window of sign(pre) dz, dz being the gradient of z. */
static inline int stock_jump_near_grad(const sae_ctx *c, const stock_jump *j, const sae_tape *t,
                                       const stock_jump_mem *mem)
{
    const stock_run *run = &mem->run;
    const sae_real *pre = stock_jump_pre(t, mem);
    sae_mat v = stock_run_mat(run, mem->d.work[0]);
    sae_cmat cv = stock_run_cmat(run, mem->d.work[0]);
    SAE_TRY(stock_jump_offset(c, j, mem, pre, v.p));
    SAE_TRY(c->k->window(c->dev, stock_run_cmat(run, mem->dz), cv, j->o->bandwidth / 2, v));
    if (j->key == SAE_KEY_ABS) {
        sae_mat sign = stock_run_mat(run, mem->d.work[1]);
        SAE_TRY(c->k->map(c->dev, SAE_FN_SIGN, 0, 0, stock_run_cmat(run, pre), sign));
        SAE_TRY(c->k->mul(c->dev, 1, cv, stock_run_cmat(run, sign.p), v));
    }
    return stock_run_sum(c, run, cv.p, mem->unit, mem->near_grad);
}

/* silent, and near before the first run. Of scores that are pre a sparse code lists the whole
 * window; of codes, and of magnitudes, the rest is 0. */
static inline int stock_jump_silent(const sae_ctx *c, const stock_jump *j, const sae_tape *t,
                                    const stock_jump_mem *mem)
{
    int64_t n = t->code.n;
    int all = t->code.dense || (j->key != SAE_KEY_ABS && j->o->window == STOCK_JUMP_PRE);
    sae_cmat silent = stock_cmat(mem->silent, 1, n), theta = stock_cmat(mem->theta, 1, n);
    SAE_TRY(stock_fill(c, mem->near, n, 0));
    SAE_TRY(stock_fill(c, mem->silent, n, all ? 0 : 1));
    if (all)
        return SAE_OK;
    SAE_TRY(c->k->window(c->dev, silent, theta, j->o->bandwidth / 2, stock_mat(mem->silent, 1, n)));
    return stock_add(c, mem->near, (double)t->B, mem->silent, n);
}

/* near += entries in the penalty's window; d.dz is overwritten. */
static inline int stock_jump_near(const sae_ctx *c, const stock_jump *j, const sae_tape *t,
                                  const stock_jump_mem *mem)
{
    const stock_run *run = &mem->run;
    sae_mat v = stock_run_mat(run, mem->d.work[0]), one = stock_run_mat(run, mem->d.dz);
    sae_cmat cv = stock_run_cmat(run, mem->d.work[0]), cone = stock_run_cmat(run, mem->d.dz);
    int post = j->o->window == STOCK_JUMP_POST;
    SAE_TRY(stock_jump_offset(c, j, mem, post ? run->part.val : stock_jump_pre(t, mem), v.p));
    SAE_TRY(c->k->map(c->dev, SAE_FN_CLAMP, 1, 1, cv, one));
    SAE_TRY(c->k->window(c->dev, cone, cv, j->o->bandwidth / 2, one));
    if (!run->part.dense)
        SAE_TRY(stock_run_shift(c, run, cone, -1, mem->silent, one));
    return stock_run_sum(c, run, cone.p, 1, mem->near);
}

/* dz passes where z is active, and dead features are pulled towards their threshold elsewhere. */
static inline int stock_jump_gate(const sae_ctx *c, const stock_jump *j, const sae_tape *t,
                                  const stock_jump_mem *mem)
{
    const stock_run *run = &mem->run;
    sae_mat dz = stock_run_mat(run, mem->dz), v = stock_run_mat(run, mem->d.work[0]);
    sae_cmat cdz = stock_run_cmat(run, mem->dz), active;
    sae_real slope = (sae_real)(t->coef[2] / (double)t->B);
    SAE_TRY(stock_jump_score(c, j, stock_run_cmat(run, run->part.val), v, &active));
    if (!(t->coef[2] > 0))
        return c->k->gate(c->dev, cdz, active, dz);
    SAE_TRY(c->k->shift_rows(c->dev, cdz, slope, mem->dead, dz));
    SAE_TRY(c->k->gate(c->dev, cdz, active, dz));
    SAE_TRY(c->k->shift_rows(c->dev, cdz, -slope, mem->dead, dz));
    SAE_TRY(c->k->map(c->dev, SAE_FN_SIGN, 0, 0, active, v));
    return c->k->col_sum(c->dev, stock_run_cmat(run, v.p), 1, mem->active);
}

/* dz is the gradient of the encoder's output: into W_enc and dbe. */
static inline int stock_jump_enc(sae_model *m, const sae_ctx *c, const sae_tape *t,
                                 stock_jump_mem *mem)
{
    stock_run *run = &mem->run;
    if (run->part.dense)
        return stock_dense_enc(m, c, &mem->d, stock_run_slab(run));
    return stock_code_enc(m, c, &run->part, &run->links, stock_alpha(t->coef[0], t->B),
                          stock_run_rows(run, mem->d.w.in), mem->d.w.dbe);
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

static inline int stock_jump_run(sae_model *m, const sae_ctx *c, const sae_tape *t,
                                 const stock_jump *j, double per_entry, stock_jump_mem *mem)
{
    SAE_TRY(stock_jump_dz(m, c, j->o, t, mem));
    SAE_TRY(stock_jump_near_grad(c, j, t, mem));
    SAE_TRY(stock_jump_gate(c, j, t, mem));
    SAE_TRY(stock_jump_enc(m, c, t, mem));
    return per_entry > 0 || per_entry < 0 ? stock_jump_near(c, j, t, mem) : SAE_OK;
}

static inline int stock_jump_backward(sae_model *m, const sae_ctx *c, const sae_batch *b,
                                      const stock_jump *j, sae_tape *t)
{
    stock_jump_mem mem;
    double per_entry;
    int64_t n = m->dim.n;
    if (b->B == 0)
        return SAE_OK;
    stock_jump_layout(j, &m->dim, b->B, c->mode, t->scratch, &mem);
    mem.dz = t->code.dense ? mem.d.dz : mem.run.links.dval;
    mem.unit = t->code.dense ? 1 : (double)stock_alpha(t->coef[0], t->B);
    SAE_TRY(stock_dense_open(m, c, b, j->o->pre_bias, &mem.d));
    SAE_TRY(stock_jump_per_entry(c, j->o, t, &mem, &per_entry));
    SAE_TRY(stock_fill(c, mem.near_grad, n, 0));
    SAE_TRY(stock_jump_silent(c, j, t, &mem));
    SAE_TRY(stock_fill(c, mem.active, n, 0));
    for (int64_t r = 0; r < b->B; r += mem.run.part.B) {
        SAE_TRY(stock_run_at(c, &t->code, r, &mem.run));
        SAE_TRY(stock_jump_run(m, c, t, j, per_entry, &mem));
    }
    if (t->coef[2] > 0 && j->o->decoder.rows == STOCK_DECODER_FREE)
        SAE_TRY(stock_add(c, mem.d.pull, t->coef[2] / (double)t->B, mem.sum, n));
    SAE_TRY(stock_jump_theta_back(m, c, j->o, t, per_entry, &mem));
    return stock_dense_close(m, c, t, &j->o->decoder, j->o->pre_bias, &mem.d);
}

#endif
