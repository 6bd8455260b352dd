/* sae/stock.h - parts that variants are composed of: memory, encoding, reconstruction, backward.
 *
 * Inline functions over ctx->k. A variant calls the parts it wants and keeps the control flow;
 * nothing here knows a variant. The parts fit the model
 *
 *     pre = (x - b_dec) W_enc^T + b_enc    z = select(pre)    xhat = z W_dec + b_dec
 *
 * and a tensor table that begins with STOCK_TENSORS; with a target of its own a variant reads x as
 * it is. Companions: stock_init.h (initialisation), stock_loss.h (reconstruction), stock_auxk.h
 * (dead-feature loss), stock_sparse.h (the select-then-decode family).
 *
 * All data pointers are backend memory and are touched by kernels and copies only. The exception is
 * ctx->hold: gradient checks run on a backend that shares memory with the host, so the parts that
 * follow a held support read it directly.
 *
 * Every function returns enum sae_status, writes only what its comment names, and allocates
 * nothing. Written in the common subset of C11 and C++17.
 */
#ifndef SAE_STOCK_H
#define SAE_STOCK_H

#include "fail.h"
#include "variant.h"

/* ---- tensors and views ----------------------------------------------------------------------- */

enum { STOCK_W_ENC, STOCK_B_ENC, STOCK_W_DEC, STOCK_B_DEC, STOCK_TENSOR_COUNT };

/* The first rows of a tensor table; dec_flags: flags of W_dec, usually SAE_T_UNIT_ROWS. */
#define STOCK_TENSORS(dec_flags)                                                                   \
    {"W_enc", SAE_PARAM, SAE_REAL, 0, SAE_DIM_N, SAE_DIM_IN},                                      \
        {"b_enc", SAE_PARAM, SAE_REAL, SAE_T_NO_DECAY, SAE_DIM_1, SAE_DIM_N},                      \
        {"W_dec", SAE_PARAM, SAE_REAL, (dec_flags), SAE_DIM_N, SAE_DIM_OUT},                       \
    {                                                                                              \
        "b_dec", SAE_PARAM, SAE_REAL, SAE_T_NO_DECAY, SAE_DIM_1, SAE_DIM_OUT                       \
    }

static inline sae_cmat stock_cmat(const sae_real *p, int64_t rows, int64_t cols)
{
    sae_cmat a = {p, rows, cols, cols};
    return a;
}

static inline sae_mat stock_mat(sae_real *p, int64_t rows, int64_t cols)
{
    sae_mat a = {p, rows, cols, cols};
    return a;
}

/* Tensor i of the model as a matrix, to read. */
static inline sae_cmat stock_w(const sae_model *m, int i)
{
    return stock_cmat((const sae_real *)m->t[i].w, m->t[i].rows, m->t[i].cols);
}

/* Tensor i to write: init, adapt and finalize only. */
static inline sae_mat stock_w_out(sae_model *m, int i)
{
    return stock_mat((sae_real *)m->t[i].w, m->t[i].rows, m->t[i].cols);
}

/* The gradient of PARAM tensor i. */
static inline sae_mat stock_grad(sae_model *m, int i)
{
    return stock_mat(m->t[i].grad, m->t[i].rows, m->t[i].cols);
}

static inline sae_cmat stock_resid(const sae_model *m, const sae_tape *t)
{
    return stock_cmat(t->resid, t->B, m->dim.d_out);
}

/* The `check` method where options need none: b_dec is subtracted from the input, so both sides
 * have one width. */
static inline int stock_check(const void *opt, const sae_dims *dim, sae_err *e)
{
    (void)opt;
    if (dim->d_in != dim->d_out)
        return SAE_RECORD(e, SAE_EINVAL, "input width %lld and output width %lld must be equal",
                          (long long)dim->d_in, (long long)dim->d_out);
    return SAE_OK;
}

/* ---- backend memory -------------------------------------------------------------------------- */

static inline int stock_get(const sae_ctx *c, void *host, const void *src, size_t bytes)
{
    return c->be->copy(c->dev, host, src, bytes, SAE_COPY_D2H);
}

static inline int stock_put(const sae_ctx *c, void *dst, const void *host, size_t bytes)
{
    return c->be->copy(c->dev, dst, host, bytes, SAE_COPY_H2D);
}

enum { STOCK_CHUNK = 512 }; /* elements staged on the stack between host and backend memory */

static inline int64_t stock_some(int64_t left)
{
    int64_t most = STOCK_CHUNK;
    return left < most ? left : most;
}

/* dst[0..n) = value. */
static inline int stock_fill(const sae_ctx *c, sae_real *dst, int64_t n, sae_real value)
{
    sae_real chunk[STOCK_CHUNK];
    for (int64_t i = 0; i < STOCK_CHUNK; i++)
        chunk[i] = value;
    for (int64_t i = 0; i < n; i += STOCK_CHUNK) {
        int64_t some = stock_some(n - i);
        SAE_TRY(stock_put(c, dst + i, chunk, (size_t)some * sizeof *chunk));
    }
    return SAE_OK;
}

/* Lays out tape.scratch. With base NULL it only measures; a variant runs the same layout function
 * for workspace() and for use, so that both agree. */
typedef struct stock_bump {
    unsigned char *base;
    size_t used; /* bytes so far, a multiple of 64 */
    int overflow; /* 1: the sizes do not fit in memory; pointers are not to be used */
} stock_bump;

static inline stock_bump stock_bump_at(void *base)
{
    stock_bump s = {(unsigned char *)base, 0, 0};
    return s;
}

static inline void *stock_take(stock_bump *s, int64_t count, size_t size)
{
    size_t at = s->used;
    if (count < 0 || (uint64_t)count > ((size_t)PTRDIFF_MAX - 64 - at) / size) {
        s->overflow = 1;
        return NULL;
    }
    s->used = at + (((size_t)count * size + 63) & ~(size_t)63);
    return s->base ? s->base + at : NULL;
}

static inline sae_real *stock_take_real(stock_bump *s, int64_t rows, int64_t cols)
{
    if (cols > 0 && rows > INT64_MAX / cols)
        s->overflow = 1;
    return s->overflow ? NULL : (sae_real *)stock_take(s, rows * cols, sizeof(sae_real));
}

/* ---- encoder and held decisions -------------------------------------------------------------- */

/* b_dec where the encoder subtracts it from its input, else NULL. */
static inline const sae_real *stock_pre_bias(const sae_model *m)
{
    return m->v->needs(m->opt, SAE_EVAL) & SAE_NEED_TARGET
               ? NULL
               : (const sae_real *)m->t[STOCK_B_DEC].w;
}

static inline sae_encoder stock_encoder(const sae_model *m, const sae_batch *b)
{
    sae_encoder e;
    e.x = stock_cmat(b->x, b->B, m->dim.d_in);
    e.shift = stock_pre_bias(m);
    e.w = stock_w(m, STOCK_W_ENC);
    e.bias = (const sae_real *)m->t[STOCK_B_ENC].w;
    e.subset = NULL;
    e.m = 0;
    return e;
}

/* z gets the entries that `held` lists, with values from the encoder: the function whose derivative
 * backward computes when every selection is a constant. Needs host memory (see above). */
static inline int stock_hold_code(const sae_encoder *e, const sae_code *held, sae_code *z)
{
    z->B = held->B;
    z->n = held->n;
    z->nnz = held->nnz;
    z->nan = 0;
    z->dense = 0;
    if (z->cap < held->nnz)
        return SAE_ECAPACITY;
    z->rowptr[0] = 0;
    for (int64_t r = 0; r < held->B; r++) {
        z->rowptr[r + 1] = held->rowptr[r + 1];
        for (int64_t i = held->rowptr[r]; i < held->rowptr[r + 1]; i++) {
            int32_t j = held->idx[i];
            sae_real pre = e->bias[j];
            for (int64_t k = 0; k < e->x.cols; k++) {
                sae_real shift = e->shift ? e->shift[k] : 0;
                pre += (e->x.p[r * e->x.ld + k] - shift) * e->w.p[j * e->w.ld + k];
            }
            z->idx[i] = j;
            z->val[i] = pre;
        }
    }
    return SAE_OK;
}

/* ---- reconstruction -------------------------------------------------------------------------- */

/* xhat = z W_dec + b_dec: the `decode` method of every model with SAE_CAP_LINEAR_DEC. */
static inline int stock_decode(const sae_model *m, const sae_ctx *c, const sae_code *z,
                               sae_mat xhat)
{
    return c->k->code_decode(c->dev, z, stock_w(m, STOCK_W_DEC),
                             (const sae_real *)m->t[STOCK_B_DEC].w, xhat);
}

/* Mean of v[0..n), 0 for n == 0. */
static inline int stock_mean(const sae_ctx *c, int64_t n, const double *v, double *out)
{
    *out = 0;
    SAE_TRY(c->k->sum(c->dev, n, v, out));
    if (n > 0)
        *out /= (double)n;
    return SAE_OK;
}

/* ---- backward of sparse codes ---------------------------------------------------------------- */

/* What the backward pass of one sparse code works in. */
typedef struct stock_links {
    sae_csc csc;
    sae_real *dval;         /* [cap] gradient of the listed values */
    const sae_real *weight; /* [n] listed value = weight[j] * encoder's output; NULL: 1 */
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
    out->weight = NULL;
}

/* With alpha * dx the gradient of the loss with respect to z W_dec, add the gradients that flow
 * through the listed entries of z to W_dec (unless it is STATE) and W_enc, and their sum over rows
 * to dbe [n], the gradient of the encoder's output (alpha folded in). xc [B x d_in]: what the
 * encoder reads, a centred copy rather than x with a rank-one correction, which cancels and loses
 * the digits that matter when the mean of x dominates; the copy costs B d. */
static inline int stock_code_back(sae_model *m, const sae_ctx *c, const sae_code *z, stock_links *l,
                                  sae_cmat dx, sae_real alpha, sae_cmat xc, sae_real *dbe)
{
    if (z->nnz > l->csc.cap)
        return SAE_RECORD(c->err, SAE_ECAPACITY, "a code of %lld entries, scratch for %lld",
                          (long long)z->nnz, (long long)l->csc.cap);
    SAE_TRY(c->k->code_grad(c->dev, z, dx, stock_w(m, STOCK_W_DEC), l->dval));
    SAE_TRY(c->k->code_transpose(c->dev, z, &l->csc));
    if (m->t[STOCK_W_DEC].spec->role == SAE_PARAM)
        SAE_TRY(c->k->code_outer(c->dev, &l->csc, z->val, alpha, dx, stock_grad(m, STOCK_W_DEC)));
    if (l->weight)
        SAE_TRY(c->k->code_scale(c->dev, z, l->dval, NULL, l->weight, l->dval));
    SAE_TRY(c->k->code_outer(c->dev, &l->csc, l->dval, alpha, xc, stock_grad(m, STOCK_W_ENC)));
    return c->k->code_col_sum(c->dev, &l->csc, l->dval, alpha, dbe);
}

/* b_dec, once per step. It has two paths: the decoder (alpha sum_r dx[r]) and the centring, if any,
 * of the encoder's input (-dbe W_enc, dbe the gradient of the products with W_enc, summed over
 * rows). */
static inline int stock_b_dec_back(sae_model *m, const sae_ctx *c, sae_cmat dx, sae_real alpha,
                                   const sae_real *dbe)
{
    sae_mat db_dec = stock_grad(m, STOCK_B_DEC);
    SAE_TRY(c->k->col_sum(c->dev, dx, alpha, db_dec.p));
    if (!stock_pre_bias(m))
        return SAE_OK;
    return c->k->gemm(c->dev, 0, 0, -1, stock_cmat(dbe, 1, m->dim.n), stock_w(m, STOCK_W_ENC), 1,
                      db_dec);
}

/* Both biases, once per step: b_enc += dbe, and b_dec. */
static inline int stock_bias_back(sae_model *m, const sae_ctx *c, sae_cmat dx, sae_real alpha,
                                  const sae_real *dbe)
{
    sae_mat db_enc = stock_grad(m, STOCK_B_ENC);
    sae_cmat old = stock_cmat(db_enc.p, 1, m->dim.n);
    SAE_TRY(c->k->shift_rows(c->dev, old, 1, dbe, db_enc));
    return stock_b_dec_back(m, c, dx, alpha, dbe);
}

/* 2 coef / B: the factor between tape.resid and the gradient of coef * mse; 0 for B == 0. */
static inline sae_real stock_alpha(double coef, int64_t B)
{
    return B > 0 ? (sae_real)(2 * coef / (double)B) : 0;
}

#endif
