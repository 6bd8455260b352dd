/* sae/stock.h - parts that variants are composed of: tensors and views, backend memory, scratch.
 *
 * Inline functions over ctx->k. A variant calls the parts it wants and keeps the control flow;
 * nothing here knows a variant. variants/README.md lists the companions stock_*.h. Most of them fit
 * the model
 *
 *     pre = (x - b_dec) W_enc^T + b_enc    z = select(pre)    xhat = z W_dec + b_dec
 *
 * and a tensor table that begins with STOCK_TENSORS.
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

#include <math.h>

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

/* ---- vectors --------------------------------------------------------------------------------- */

/* y[0..n) += alpha * x[0..n). */
static inline int stock_add(const sae_ctx *c, sae_real *y, double alpha, const sae_real *x,
                            int64_t n)
{
    return c->k->shift_rows(c->dev, stock_cmat(y, 1, n), (sae_real)alpha, x, stock_mat(y, 1, n));
}

/* dst[0..n) = src[0..n) in double. */
static inline int stock_widen(const sae_ctx *c, double *dst, const sae_real *src, int64_t n)
{
    sae_real thin[STOCK_CHUNK];
    double wide[STOCK_CHUNK];
    for (int64_t i = 0; i < n; i += STOCK_CHUNK) {
        int64_t some = stock_some(n - i);
        SAE_TRY(stock_get(c, thin, src + i, (size_t)some * sizeof *thin));
        for (int64_t k = 0; k < some; k++)
            wide[k] = (double)thin[k];
        SAE_TRY(stock_put(c, dst + i, wide, (size_t)some * sizeof *wide));
    }
    return SAE_OK;
}

/* out[r] = |x[r]|. */
static inline int stock_row_norms(const sae_ctx *c, sae_cmat x, double *out)
{
    double chunk[STOCK_CHUNK];
    SAE_TRY(c->k->row_dot(c->dev, x, x, out));
    for (int64_t r = 0; r < x.rows; r += STOCK_CHUNK) {
        int64_t some = stock_some(x.rows - r);
        SAE_TRY(stock_get(c, chunk, out + r, (size_t)some * sizeof *chunk));
        for (int64_t i = 0; i < some; i++)
            chunk[i] = sqrt(chunk[i]);
        SAE_TRY(stock_put(c, out + r, chunk, (size_t)some * sizeof *chunk));
    }
    return SAE_OK;
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

/* ---- scratch --------------------------------------------------------------------------------- */

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

/* Entries of codes with at most k per row; -1 when not countable. */
static inline int64_t stock_most_entries(int64_t k, const sae_dims *dim, int64_t B)
{
    int64_t per_row = k < dim->n ? k : dim->n;
    return per_row > 0 && B > INT64_MAX / per_row ? -1 : B * per_row;
}

enum { STOCK_GUESS = 256 }; /* first guess of the entries of a row that n alone bounds */

/* A sparse code with room for cap entries of B rows. */
static inline sae_code stock_take_code(stock_bump *s, int64_t B, int64_t n, int64_t cap)
{
    sae_code z;
    z.B = B;
    z.n = n;
    z.nnz = z.nan = 0;
    z.cap = cap;
    z.dense = 0;
    z.rowptr = (int64_t *)stock_take(s, B < INT64_MAX ? B + 1 : -1, sizeof(int64_t));
    z.idx = (int32_t *)stock_take(s, cap, sizeof(int32_t));
    z.val = stock_take_real(s, cap, 1);
    return z;
}

/* What workspace() answers: the scratch is laid out up to `at`; entries of codes, or -1. */
static inline int stock_workspace(stock_bump at, int64_t entries, int dense_code, int dense_pre,
                                  sae_workspace *out)
{
    out->scratch = at.used;
    out->code_cap = entries;
    out->dense_code = dense_code;
    out->dense_pre = dense_pre;
    return at.overflow || entries < 0 ? SAE_ENOMEM : SAE_OK;
}

#endif
