/* sae/stock_lp.h - the family "positive part of pre, made sparse by an Lp penalty".
 *
 *     z = max(pre - shrink, 0)
 *     S_r = sum_j (w_j z_rj)^p        lp = (1 / B) sum_r S_r, or (1 / B) sum_r S_r^(1/p) with root
 *
 * w_j: stock_dense.h. The derivative is 0 at z = 0. Losses, in this order: "mse" (stock_loss.h),
 * the penalty (0 with coefficient 0 in EVAL). Codes of training are dense or sparse
 * (stock_dense_list); evaluation selects in the fused kernel.
 */
#ifndef SAE_STOCK_LP_H
#define SAE_STOCK_LP_H

#include "stock_dense.h"
#include "stock_run.h"

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
    sae_real *slope;   /* [B] p times what d S_r is multiplied with in the gradient of the total */
    stock_run run;
} stock_lp_mem;

static inline stock_bump stock_lp_layout(const sae_dims *dim, int64_t B, enum sae_mode mode,
                                         void *scratch, stock_lp_mem *mem)
{
    stock_bump s = stock_bump_at(scratch);
    stock_take_dense(&s, dim, B, mode, 0, &mem->d);
    mem->bias = stock_take_real(&s, 1, dim->n);
    if (mode == SAE_EVAL)
        return s;
    mem->wp = stock_take_real(&s, 1, dim->n);
    mem->power = stock_take_real(&s, B, 1);
    mem->penalty = stock_take_real(&s, B, 1);
    mem->slope = stock_take_real(&s, B, 1);
    stock_take_run(&s, dim, B, &mem->run);
    return s;
}

static inline int stock_lp_workspace(const sae_dims *dim, int64_t B, enum sae_mode mode,
                                     sae_workspace *out)
{
    stock_lp_mem mem;
    stock_bump s = stock_lp_layout(dim, B, mode, NULL, &mem);
    return stock_workspace(s, stock_most_entries(STOCK_GUESS, dim, B),
                           mode == SAE_TRAIN ? SAE_CODE_EITHER : 0, 0, out);
}

/* What z_j^p is weighed by: w_j^p. */
static inline const sae_real *stock_lp_weight(const stock_lp *o, const stock_lp_mem *mem)
{
    return o->p == 1 ? mem->d.weight : mem->wp;
}

/* S_r and what the penalty makes of it for the rows of z; the mean over rows goes to *loss. Writes
 * wp, power, penalty, the run and a slab. */
static inline int stock_lp_penalty(const sae_ctx *c, const stock_lp *o, const sae_code *z,
                                   stock_lp_mem *mem, double *loss)
{
    int64_t B = z->B, n = z->n;
    sae_cmat weight = stock_cmat(mem->d.weight, 1, n), power = stock_cmat(mem->power, 1, B);
    sae_real *zp = z->dense ? mem->d.dz : mem->run.val;
    if (o->p != 1)
        SAE_TRY(c->k->map(c->dev, SAE_FN_POWER, o->p, 0, weight, stock_mat(mem->wp, 1, n)));
    for (int64_t r = 0; r < B; r += mem->run.part.B) {
        SAE_TRY(stock_run_at(c, z, r, &mem->run));
        sae_code part = mem->run.part;
        if (o->p != 1) {
            SAE_TRY(c->k->map(c->dev, SAE_FN_POWER, o->p, 0, stock_cmat(part.val, 1, part.nnz),
                              stock_mat(zp, 1, part.nnz)));
            part.val = zp;
        }
        SAE_TRY(c->k->code_decode(c->dev, &part, stock_cmat(stock_lp_weight(o, mem), n, 1), NULL,
                                  stock_mat(mem->power + r, part.B, 1)));
    }
    SAE_TRY(c->k->map(c->dev, SAE_FN_POWER, o->root ? 1 / o->p : 1, 0, power,
                      stock_mat(mem->penalty, 1, B)));
    return stock_mean_of(c, &mem->d, mem->penalty, B, B, loss);
}

/* The active entries, or the whole of z; with a held tape, pre - shrink where the held code is
 * active. */
static inline int stock_lp_code(const sae_ctx *c, const sae_encoder *e, sae_code *z)
{
    int64_t B = e->x.rows, n = e->w.rows;
    SAE_TRY(stock_dense_list(c, e, SAE_KEY_RELU, NULL, z));
    if (!z->dense)
        return SAE_OK;
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
    return stock_lp_penalty(c, o, &t->code, &mem, &t->loss[1]);
}

static inline int stock_lp_slope(const sae_ctx *c, const stock_lp *o, const sae_tape *t,
                                 const stock_lp_mem *mem)
{
    sae_cmat power = stock_cmat(mem->power, 1, t->B), slope = stock_cmat(mem->slope, 1, t->B);
    sae_mat out = stock_mat(mem->slope, 1, t->B);
    double each = t->coef[1] / (double)t->B;
    if (!o->root)
        return stock_fill(c, mem->slope, t->B, (sae_real)(each * o->p));
    SAE_TRY(c->k->map(c->dev, SAE_FN_POWER, 1 / o->p - 1, 0, power, out));
    return c->k->mul(c->dev, (sae_real)each, slope, stock_cmat(mem->d.ones, 1, t->B), out);
}

/* v = slope_r w_j^p z^q for the run's entries. */
static inline int stock_lp_term(const sae_ctx *c, const stock_lp *o, const stock_lp_mem *mem,
                                double q, sae_real *v)
{
    const sae_code *z = &mem->run.part;
    SAE_TRY(c->k->map(c->dev, SAE_FN_POWER, q, 0, stock_cmat(z->val, 1, z->nnz),
                      stock_mat(v, 1, z->nnz)));
    return c->k->code_scale(c->dev, z, v, mem->slope + mem->run.row0, stock_lp_weight(o, mem), v);
}

/* dz of a slab, the gradient of z; pull gains the slab's share. */
static inline int stock_lp_dz(const sae_model *m, const sae_ctx *c, const stock_lp *o,
                              const sae_tape *t, const stock_lp_mem *mem, stock_slab s)
{
    sae_real *dz = mem->d.dz;
    if (o->decoder->rows == STOCK_DECODER_FREE) {
        SAE_TRY(stock_lp_term(c, o, mem, o->p, dz));
        SAE_TRY(c->k->col_sum(c->dev, stock_slab_cmat(s, dz), 1, mem->d.pull));
    }
    SAE_TRY(stock_lp_term(c, o, mem, o->p - 1, dz));
    return stock_dense_dz(m, c, t, &mem->d, 1, s);
}

/* The same for p = 1, where the slope is one number: pull gains slope sum_r z_rj (the factor w_j at
 * the end). */
static inline int stock_l1_dz(const sae_model *m, const sae_ctx *c, const stock_lp *o,
                              const sae_tape *t, const stock_lp_mem *mem, stock_slab s)
{
    sae_real slope = (sae_real)(t->coef[1] / (double)t->B);
    sae_cmat dz = stock_slab_cmat(s, mem->d.dz);
    SAE_TRY(stock_dense_dz(m, c, t, &mem->d, 0, s));
    SAE_TRY(c->k->shift_rows(c->dev, dz, slope, mem->d.weight, stock_slab_mat(s, mem->d.dz)));
    if (o->decoder->rows == STOCK_DECODER_UNIT)
        return SAE_OK;
    return c->k->col_sum(c->dev, stock_slab_rows(s, t->code.val), slope, mem->d.pull);
}

/* One run of backward: a slab of a dense code, ... */
static inline int stock_lp_slab_back(sae_model *m, const sae_ctx *c, const stock_lp *o,
                                     const sae_tape *t, const stock_lp_mem *mem)
{
    stock_slab s = stock_run_slab(&mem->run);
    sae_cmat z = stock_slab_rows(s, t->code.val);
    SAE_TRY(o->p == 1 ? stock_l1_dz(m, c, o, t, mem, s) : stock_lp_dz(m, c, o, t, mem, s));
    SAE_TRY(c->k->gate(c->dev, stock_slab_cmat(s, mem->d.dz), z, stock_slab_mat(s, mem->d.dz)));
    return stock_dense_enc(m, c, &mem->d, s);
}

/* ... or entries of a sparse one. */
static inline int stock_lp_entries_back(sae_model *m, const sae_ctx *c, const stock_lp *o,
                                        const sae_tape *t, stock_lp_mem *mem)
{
    stock_run *run = &mem->run;
    int64_t nnz = run->part.nnz;
    sae_cmat v = stock_cmat(run->val, 1, nnz), z = stock_cmat(run->part.val, 1, nnz);
    SAE_TRY(stock_lp_term(c, o, mem, o->p - 1, run->val));
    run->links.beside = run->val;
    SAE_TRY(stock_code_back(m, c, &run->part, &run->links, stock_run_rows(run, stock_resid(m, t)),
                            stock_alpha(t->coef[0], t->B), stock_run_rows(run, mem->d.w.in),
                            mem->d.w.dbe));
    if (o->decoder->rows == STOCK_DECODER_UNIT)
        return SAE_OK;
    SAE_TRY(c->k->mul(c->dev, 1, v, z, stock_mat(run->val, 1, nnz)));
    return c->k->code_col_sum(c->dev, &run->links.csc, run->val, 1, mem->d.pull);
}

static inline int stock_lp_backward(sae_model *m, const sae_ctx *c, const sae_batch *b,
                                    const stock_lp *o, sae_tape *t)
{
    stock_lp_mem mem;
    int64_t n = m->dim.n;
    if (b->B == 0)
        return SAE_OK;
    stock_lp_layout(&m->dim, b->B, c->mode, t->scratch, &mem);
    SAE_TRY(stock_dense_open(m, c, b, 1, &mem.d));
    SAE_TRY(stock_lp_slope(c, o, t, &mem));
    for (int64_t r = 0; r < b->B; r += mem.run.part.B) {
        SAE_TRY(stock_run_at(c, &t->code, r, &mem.run));
        SAE_TRY(t->code.dense ? stock_lp_slab_back(m, c, o, t, &mem)
                              : stock_lp_entries_back(m, c, o, t, &mem));
    }
    if (o->p == 1 && t->code.dense)
        SAE_TRY(c->k->mul(c->dev, 1, stock_cmat(mem.d.pull, 1, n),
                          stock_cmat(mem.d.weight, 1, n), stock_mat(mem.d.pull, 1, n)));
    return stock_dense_close(m, c, t, o->decoder, 1, &mem.d);
}

#endif
