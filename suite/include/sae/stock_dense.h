/* sae/stock_dense.h - training on dense codes, for variants whose penalty makes codes sparse.
 *
 * Early in such a training half of all entries are active, and dense products beat sparse ones by
 * far. Backward goes through the batch in slabs of rows, so that the gradient of the codes never
 * exists as a whole. A variant opens each slab (dz = gradient of the codes that flows back from the
 * reconstruction), changes dz into the gradient of the encoder's output, and closes it.
 *
 * Rows of W_dec have unit norm, or are free; penalties then weigh code z_j by w_j = |W_dec[j]|.
 * Such penalties depend on the products z_j w_j alone, so their derivatives obey
 * w_j dP/dw_j = z_j dP/dz_j: variants add sum_r z_j dP/dz_j to pull[j], and close does the rest.
 */
#ifndef SAE_STOCK_DENSE_H
#define SAE_STOCK_DENSE_H

#include "stock_init.h"
#include "stock_loss.h"

enum { STOCK_DECODER_UNIT, STOCK_DECODER_FREE };
static const char *const stock_decoder_names[] = {"unit", "free", NULL};

typedef struct stock_decoder_opt {
    int64_t rows; /* STOCK_DECODER_* */
    double norm;
} stock_decoder_opt;

/* Rows of an option table; T is the option struct, m its stock_decoder_opt member. */
#define STOCK_DECODER_OPTIONS(T, m)                                                                \
    {"decoder", SAE_OPT_ENUM, 0, offsetof(T, m.rows), STOCK_DECODER_UNIT, 0, STOCK_DECODER_FREE,   \
     stock_decoder_names, NULL, "1",                                                               \
     "unit: rows of W_dec have norm 1; free: penalties weigh z_j by |W_dec[j]|"},                  \
    {                                                                                              \
        "dec_norm", SAE_OPT_REAL, 0, offsetof(T, m.norm), 0.1, 1e-6, 1e3, NULL, NULL, "1",         \
            "first row norm of W_dec with decoder=free"                                            \
    }

/* The `tensor_flags` method. */
static inline uint32_t stock_decoder_flags(const stock_decoder_opt *o, const sae_tensor_spec *spec)
{
    int unit = o->rows == STOCK_DECODER_UNIT;
    return unit ? spec->flags : spec->flags & ~(uint32_t)SAE_T_UNIT_ROWS;
}

static inline double stock_decoder_norm(const stock_decoder_opt *o)
{
    return o->rows == STOCK_DECODER_FREE ? o->norm : 1;
}

/* ---- memory ---------------------------------------------------------------------------------- */

enum { STOCK_SLAB = 1024 }; /* rows of dz at a time */

typedef struct stock_dense {
    stock_work w;
    /* TRAIN */
    sae_real *weight;   /* [n] w_j */
    double *norm2;      /* [n] |W_dec[j]|^2 */
    sae_real *ones;     /* [max(B, n)] */
    sae_real *slab[3];  /* [min(STOCK_SLAB, B) x n] each, at least d_out; [0] holds dz */
    int64_t room;       /* elements of a slab */
    sae_real *pull;     /* [n] */
    const sae_real *in; /* [B x d_in] what W_enc is multiplied with; set by stock_dense_open */
} stock_dense;

static inline void stock_take_dense(stock_bump *s, const sae_dims *dim, int64_t B,
                                    enum sae_mode mode, int slabs, stock_dense *mem)
{
    int64_t rows = B < STOCK_SLAB ? B : (int64_t)STOCK_SLAB;
    stock_take_work(s, dim, B, mode, &mem->w);
    if (mode == SAE_EVAL)
        return;
    mem->weight = stock_take_real(s, 1, dim->n);
    mem->norm2 = (double *)stock_take(s, dim->n, sizeof(double));
    mem->ones = stock_take_real(s, 1, B > dim->n ? B : dim->n);
    mem->room = dim->n > 0 && rows > INT64_MAX / dim->n ? -1 : rows * dim->n;
    if (mem->room >= 0 && mem->room < dim->d_out)
        mem->room = dim->d_out;
    for (int i = 0; i < 3; i++)
        mem->slab[i] = i < slabs ? stock_take_real(s, mem->room, 1) : NULL;
    mem->pull = stock_take_real(s, 1, dim->n);
}

/* The `workspace` method for a scratch laid out in s. pre: tape.pre is wanted in TRAIN. */
static inline int stock_dense_workspace(const stock_bump *s, const sae_dims *dim, int64_t B,
                                        enum sae_mode mode, int pre, sae_workspace *out)
{
    int64_t guess = dim->n < 256 ? dim->n : 256;
    out->scratch = s->used;
    out->code_cap = s->overflow ? 0 : B * guess;
    out->dense_code = mode == SAE_TRAIN;
    out->dense_pre = pre && mode == SAE_TRAIN;
    return s->overflow ? SAE_ENOMEM : SAE_OK;
}

/* ---- small parts ----------------------------------------------------------------------------- */

/* y[0..n) += alpha * x[0..n). */
static inline int stock_add(const sae_ctx *c, sae_real *y, double alpha, const sae_real *x,
                            int64_t n)
{
    return c->k->shift_rows(c->dev, stock_cmat(y, 1, n), (sae_real)alpha, x, stock_mat(y, 1, n));
}

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

/* A code that val holds in full. */
static inline sae_cmat stock_dense_code(sae_code *z, int64_t B, int64_t n)
{
    z->B = B;
    z->n = n;
    z->nnz = B * n;
    z->nan = 0;
    return stock_cmat(z->val, B, n);
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

/* centre: b_dec is subtracted from the encoder's input. */
static inline int stock_dense_open(const sae_model *m, const sae_ctx *c, const sae_batch *b,
                                   int centre, stock_dense *mem)
{
    SAE_TRY(stock_fill(c, mem->pull, m->dim.n, 0));
    mem->in = centre ? mem->w.xc : b->x;
    return centre ? stock_begin_back(m, c, b, &mem->w) : stock_fill(c, mem->w.dbe, m->dim.n, 0);
}

typedef struct stock_slab { /* rows [r0, r0 + rows) of the batch */
    int64_t r0, rows;
    sae_mat dz;
    sae_cmat cdz, z, pre; /* dz again; rows of tape.code and tape.pre */
} stock_slab;

static inline void stock_slab_at(const sae_model *m, const sae_tape *t, const stock_dense *mem,
                                 int64_t r0, stock_slab *s)
{
    int64_t n = m->dim.n, left = t->B - r0;
    s->r0 = r0;
    s->rows = left < STOCK_SLAB ? left : (int64_t)STOCK_SLAB;
    s->dz = stock_mat(mem->slab[0], s->rows, n);
    s->cdz = stock_cmat(mem->slab[0], s->rows, n);
    s->z = stock_cmat(t->code.val + r0 * n, s->rows, n);
    s->pre = stock_cmat(t->pre ? t->pre + r0 * n : NULL, s->rows, n);
}

/* The slab with dz = gradient of z from the reconstruction. */
static inline int stock_slab_open(const sae_model *m, const sae_ctx *c, const sae_tape *t,
                                  const stock_dense *mem, int64_t r0, stock_slab *s)
{
    int64_t d = m->dim.d_out;
    stock_slab_at(m, t, mem, r0, s);
    return c->k->gemm(c->dev, 0, 1, stock_alpha(t->coef[0], t->B),
                      stock_cmat(t->resid + r0 * d, s->rows, d), stock_w(m, STOCK_W_DEC), 0, s->dz);
}

/* Work matrix i of the slab's shape. */
static inline sae_mat stock_slab_mat(const stock_dense *mem, const stock_slab *s, int i)
{
    return stock_mat(mem->slab[i], s->rows, s->dz.cols);
}

static inline sae_cmat stock_slab_cmat(const stock_dense *mem, const stock_slab *s, int i)
{
    return stock_cmat(mem->slab[i], s->rows, s->dz.cols);
}

/* dz is the gradient of the encoder's output: into W_enc and dbe. */
static inline int stock_slab_close(sae_model *m, const sae_ctx *c, const stock_dense *mem,
                                   const stock_slab *s)
{
    int64_t d = m->dim.d_in;
    SAE_TRY(c->k->gemm(c->dev, 1, 0, 1, s->cdz, stock_cmat(mem->in + s->r0 * d, s->rows, d), 1,
                       stock_grad(m, STOCK_W_ENC)));
    return c->k->col_sum(c->dev, s->cdz, 1, mem->w.dbe);
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
                            stock_mat(mem->slab[0], rows, d)));
        SAE_TRY(stock_add(c, m->t[STOCK_W_DEC].grad + j * d, 1, mem->slab[0], rows * d));
    }
    return SAE_OK;
}

/* After the last slab: W_dec. */
static inline int stock_dense_dec(sae_model *m, const sae_ctx *c, const sae_tape *t,
                                  const stock_decoder_opt *o, const stock_dense *mem)
{
    sae_cmat z = stock_cmat(t->code.val, t->B, m->dim.n);
    SAE_TRY(c->k->gemm(c->dev, 1, 0, stock_alpha(t->coef[0], t->B), z, stock_resid(m, t), 1,
                       stock_grad(m, STOCK_W_DEC)));
    return o->rows == STOCK_DECODER_FREE ? stock_dense_pull(m, c, mem) : SAE_OK;
}

/* After the last slab: W_dec and both biases. */
static inline int stock_dense_close(sae_model *m, const sae_ctx *c, const sae_batch *b,
                                    const sae_tape *t, const stock_decoder_opt *o,
                                    const stock_dense *mem)
{
    sae_cmat dx = stock_resid(m, t);
    sae_real alpha = stock_alpha(t->coef[0], t->B);
    SAE_TRY(stock_dense_dec(m, c, t, o, mem));
    if (mem->in != b->x)
        return stock_bias_back(m, c, dx, alpha, mem->w.dbe);
    SAE_TRY(stock_add(c, m->t[STOCK_B_ENC].grad, 1, mem->w.dbe, m->dim.n));
    return c->k->col_sum(c->dev, dx, alpha, m->t[STOCK_B_DEC].grad);
}

/* One dense product forward to the codes and one back to x; three more in backward. */
static inline double stock_dense_flops(const sae_dims *dim, int64_t B, enum sae_mode mode)
{
    return 2.0 * (double)B * (double)dim->n * (double)dim->d_in * (mode == SAE_TRAIN ? 5 : 1);
}

#endif
