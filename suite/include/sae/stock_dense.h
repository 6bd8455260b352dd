/* sae/stock_dense.h - training of variants whose penalty makes codes sparse.
 *
 * Early in such a training half of all entries are active, and dense products beat sparse ones by
 * far; for most of it few are, and sparse kernels win (stock_dense_list decides).
 *
 * Backward of a dense code goes through the batch in slabs of rows, so that the gradient of the
 * codes never exists as a whole: between stock_dense_open and stock_dense_close a variant takes dz
 * of each slab (stock_dense_dz: the gradient of the codes that flows back from the reconstruction),
 * changes it into the gradient of the encoder's output, and hands it to stock_dense_enc.
 *
 * Rows of W_dec have unit norm, or are free; penalties then weigh code z_j by w_j = |W_dec[j]|.
 * Such penalties depend on the products z_j w_j alone, so their derivatives obey
 * w_j dP/dw_j = z_j dP/dz_j: variants add sum_r z_j dP/dz_j to pull[j], and close does the rest.
 */
#ifndef SAE_STOCK_DENSE_H
#define SAE_STOCK_DENSE_H

#include "stock_decoder.h"
#include "stock_init.h"
#include "stock_loss.h"
#include "stock_slab.h"

/* ---- memory ---------------------------------------------------------------------------------- */

typedef struct stock_dense {
    stock_work w;
    /* TRAIN */
    sae_real *weight;   /* [n] w_j */
    double *norm2;      /* [n] |W_dec[j]|^2 */
    sae_real *ones;     /* [max(B, n)] */
    sae_real *dz;       /* a slab: gradient of the codes */
    sae_real *work[2];  /* slabs of any use */
    int64_t room;       /* elements of a slab: min(STOCK_DENSE_ROWS, B) x n, at least d_out */
    sae_real *pull;     /* [n] */
} stock_dense;

static inline void stock_take_dense(stock_bump *s, const sae_dims *dim, int64_t B,
                                    enum sae_mode mode, int work, stock_dense *mem)
{
    int64_t rows = B < STOCK_DENSE_ROWS ? B : (int64_t)STOCK_DENSE_ROWS;
    stock_take_work(s, dim, B, mode, &mem->w);
    if (mode == SAE_EVAL)
        return;
    mem->weight = stock_take_real(s, 1, dim->n);
    mem->norm2 = (double *)stock_take(s, dim->n, sizeof(double));
    mem->ones = stock_take_real(s, 1, B > dim->n ? B : dim->n);
    mem->room = dim->n > 0 && rows > INT64_MAX / dim->n ? -1 : rows * dim->n;
    if (mem->room >= 0 && mem->room < dim->d_out)
        mem->room = dim->d_out;
    mem->dz = stock_take_real(s, mem->room, 1);
    for (int i = 0; i < 2; i++)
        mem->work[i] = i < work ? stock_take_real(s, mem->room, 1) : NULL;
    mem->pull = stock_take_real(s, 1, dim->n);
}

/* The `workspace` method for a scratch laid out up to `at`. pre: tape.pre is wanted in TRAIN. */
static inline int stock_dense_workspace(stock_bump at, const sae_dims *dim, int64_t B,
                                        enum sae_mode mode, int pre, sae_workspace *out)
{
    return stock_workspace(at, stock_most_entries(STOCK_GUESS, dim, B), mode == SAE_TRAIN,
                           pre && mode == SAE_TRAIN, out);
}

/* ---- dense or sparse ------------------------------------------------------------------------- */

/* Codes are sparse where at most one in STOCK_DENSE_SHARE entries is listed. On a CPU (d 768,
 * n 16384, 4096 rows) a step on dense codes takes 6.9 times the encoder's product, one on sparse
 * codes 1.1 times at n / 512 active entries a row, 2.0 at n / 64, 4.8 at n / 16, 8.4 at n / 8. */
enum { STOCK_DENSE_SHARE = 16, STOCK_DENSE_SAMPLE = 32 };

/* z.dense: whether the batch has too many entries above `bound` for sparse kernels, by their exact
 * number in STOCK_DENSE_SAMPLE of its rows, equally spaced. */
static inline int stock_dense_sample(const sae_ctx *c, const sae_encoder *e, enum sae_key key,
                                     const double *bound, sae_code *z)
{
    int64_t B = e->x.rows, rows = B < STOCK_DENSE_SAMPLE ? B : (int64_t)STOCK_DENSE_SAMPLE;
    sae_encoder some = *e;
    sae_code count = *z;
    some.x.rows = rows;
    some.x.ld *= rows > 0 ? B / rows : 1;
    count.dense = 0;
    count.cap = 0;
    int rc = c->k->encode_threshold(c->dev, &some, key, 0, bound, &count);
    z->dense = count.nan > 0 || count.nnz > rows * e->w.rows / STOCK_DENSE_SHARE;
    return rc == SAE_ECAPACITY ? SAE_OK : rc;
}

/* z lists the entries of the encoder's output whose score is above bound [n] (NULL: 0), or z.dense
 * is set and the caller computes all of it: where they are many, and where one is NaN, which only a
 * dense code carries to the loss. With a held tape, what its code is. */
static inline int stock_dense_list(const sae_ctx *c, const sae_encoder *e, enum sae_key key,
                                   const double *bound, sae_code *z)
{
    if (c->hold) {
        z->dense = c->hold->code.dense;
        return z->dense ? SAE_OK : stock_hold_code(e, &c->hold->code, z);
    }
    SAE_TRY(stock_dense_sample(c, e, key, bound, z));
    if (z->dense)
        return SAE_OK;
    SAE_TRY(c->k->encode_threshold(c->dev, e, key, 0, bound, z));
    z->dense = z->nan > 0;
    return SAE_OK;
}

/* ---- small parts ----------------------------------------------------------------------------- */

/* Mean over the rows of v[0..n), summed in double; n <= max(B, n of the model). */
static inline int stock_mean_of(const sae_ctx *c, const stock_dense *mem, const sae_real *v,
                                int64_t n, int64_t B, double *out)
{
    double *sum = mem->w.row;
    *out = 0;
    if (B == 0)
        return SAE_OK;
    SAE_TRY(c->k->row_dot(c->dev, stock_cmat(v, 1, n), stock_cmat(mem->ones, 1, n), sum));
    SAE_TRY(stock_get(c, out, sum, sizeof *out));
    *out /= (double)B;
    return SAE_OK;
}

/* weight, norm2 and ones, at the start of every forward in TRAIN. */
static inline int stock_dense_weights(const sae_model *m, const sae_ctx *c,
                                      const stock_decoder_opt *o, int64_t B, stock_dense *mem)
{
    sae_cmat dec = stock_w(m, STOCK_W_DEC);
    double norm2[STOCK_CHUNK];
    sae_real weight[STOCK_CHUNK];
    int64_t n = m->dim.n;
    SAE_TRY(stock_fill(c, mem->ones, B > n ? B : n, 1));
    if (o->rows == STOCK_DECODER_UNIT)
        return stock_fill(c, mem->weight, n, 1);
    SAE_TRY(c->k->row_dot(c->dev, dec, dec, mem->norm2));
    for (int64_t j = 0; j < n; j += STOCK_CHUNK) {
        int64_t some = stock_some(n - j);
        SAE_TRY(stock_get(c, norm2, mem->norm2 + j, (size_t)some * sizeof *norm2));
        for (int64_t i = 0; i < some; i++)
            weight[i] = (sae_real)sqrt(norm2[i]);
        SAE_TRY(stock_put(c, mem->weight + j, weight, (size_t)some * sizeof *weight));
    }
    return SAE_OK;
}

/* ---- backward -------------------------------------------------------------------------------- */

static inline int stock_dense_open(const sae_model *m, const sae_ctx *c, const sae_batch *b,
                                   int64_t pre_bias, stock_dense *mem)
{
    SAE_TRY(stock_fill(c, mem->pull, m->dim.n, 0));
    return stock_begin_back(m, c, b, pre_bias, &mem->w);
}

/* dz = gradient of z from the reconstruction + keep * dz. */
static inline int stock_dense_dz(const sae_model *m, const sae_ctx *c, const sae_tape *t,
                                 const stock_dense *mem, sae_real keep, stock_slab s)
{
    return c->k->gemm(c->dev, 0, 1, stock_alpha(t->coef[0], t->B),
                      stock_slab_part(s, stock_resid(m, t)), stock_w(m, STOCK_W_DEC), keep,
                      stock_slab_mat(s, mem->dz));
}

/* dz is the gradient of the encoder's output: into W_enc and dbe. */
static inline int stock_dense_enc(sae_model *m, const sae_ctx *c, const stock_dense *mem,
                                  stock_slab s)
{
    sae_cmat dz = stock_slab_cmat(s, mem->dz);
    SAE_TRY(c->k->gemm(c->dev, 1, 0, 1, dz, stock_slab_part(s, mem->w.in), 1,
                       stock_grad(m, STOCK_W_ENC)));
    return c->k->col_sum(c->dev, dz, 1, mem->w.dbe);
}

/* dW_dec[j] += pull[j] / |W_dec[j]|^2 W_dec[j]; a zero row stays. */
static inline int stock_dense_pull(sae_model *m, const sae_ctx *c, const stock_dense *mem)
{
    int64_t n = m->dim.n, d = m->dim.d_out, step = mem->room / d;
    const sae_real *dec = (const sae_real *)m->t[STOCK_W_DEC].w;
    double norm2[STOCK_CHUNK];
    sae_real pull[STOCK_CHUNK];
    for (int64_t j = 0; j < n; j += STOCK_CHUNK) {
        int64_t some = stock_some(n - j);
        SAE_TRY(stock_get(c, norm2, mem->norm2 + j, (size_t)some * sizeof *norm2));
        SAE_TRY(stock_get(c, pull, mem->pull + j, (size_t)some * sizeof *pull));
        for (int64_t i = 0; i < some; i++)
            pull[i] = norm2[i] > 0 ? (sae_real)((double)pull[i] / norm2[i]) : 0;
        SAE_TRY(stock_put(c, mem->pull + j, pull, (size_t)some * sizeof *pull));
    }
    for (int64_t j = 0; j < n; j += step) {
        int64_t rows = n - j < step ? n - j : step;
        SAE_TRY(c->k->scale(c->dev, stock_cmat(dec + j * d, rows, d), mem->pull + j, NULL,
                            stock_mat(mem->dz, rows, d)));
        SAE_TRY(stock_add(c, m->t[STOCK_W_DEC].grad + j * d, 1, mem->dz, rows * d));
    }
    return SAE_OK;
}

/* After the last slab: W_dec, which stock_code_back did for sparse codes, and the pull on it. */
static inline int stock_dense_dec(sae_model *m, const sae_ctx *c, const sae_tape *t,
                                  const stock_decoder_opt *o, const stock_dense *mem)
{
    sae_cmat z = stock_cmat(t->code.val, t->B, m->dim.n);
    if (t->code.dense)
        SAE_TRY(c->k->gemm(c->dev, 1, 0, stock_alpha(t->coef[0], t->B), z, stock_resid(m, t), 1,
                           stock_grad(m, STOCK_W_DEC)));
    return o->rows == STOCK_DECODER_FREE ? stock_dense_pull(m, c, mem) : SAE_OK;
}

/* After the last slab: W_dec and both biases. */
static inline int stock_dense_close(sae_model *m, const sae_ctx *c, const sae_tape *t,
                                    const stock_decoder_opt *o, int64_t pre_bias,
                                    const stock_dense *mem)
{
    SAE_TRY(stock_dense_dec(m, c, t, o, mem));
    return stock_bias_back(m, c, stock_resid(m, t), stock_alpha(t->coef[0], t->B), pre_bias,
                           mem->w.dbe);
}

/* One dense product forward to the codes and one back to x; three more in backward. Sparse codes
 * need less. */
static inline double stock_dense_flops(const sae_dims *dim, int64_t B, enum sae_mode mode)
{
    return 2.0 * (double)B * (double)dim->n * (double)dim->d_in * (mode == SAE_TRAIN ? 5 : 1);
}

#endif
