/* sae/stock_init.h - initialisation that variants share.
 *
 *     W_dec  random directions: rows of independent standard normals, scaled to norm dec_norm
 *     W_enc  enc_scale * W_dec ("tied" at the start)
 *     b_enc  0
 *     b_dec  mean of the sample batch (of its targets, which are x unless the variant has its own),
 *            its geometric median, or 0
 *
 * Random numbers: stream SAE_STREAM_INIT, row = (tensor << 32) + feature, so that the first n rows
 * do not depend on the dictionary size.
 */
#ifndef SAE_STOCK_INIT_H
#define SAE_STOCK_INIT_H

#include "rng.h"
#include "stock.h"

enum { STOCK_BIAS_MEAN, STOCK_BIAS_MEDIAN, STOCK_BIAS_ZERO };
static const char *const stock_bias_names[] = {"mean", "median", "zero", NULL};

typedef struct stock_init_opt {
    int64_t b_dec; /* STOCK_BIAS_* */
    double enc_scale;
} stock_init_opt;

/* One row of an option table; T is the option struct, m an int64_t member. */
#define STOCK_BIAS_OPTION(T, m, def)                                                               \
    {                                                                                              \
        "init_b_dec", SAE_OPT_ENUM, 0, offsetof(T, m), (def), 0, STOCK_BIAS_ZERO,                  \
            stock_bias_names, NULL, "1", "first b_dec: mean or geometric median of a batch, or 0"  \
    }

/* That row and the encoder's; m is a stock_init_opt member. */
#define STOCK_INIT_OPTIONS(T, m)                                                                   \
    STOCK_BIAS_OPTION(T, m.b_dec, STOCK_BIAS_MEAN),                                                \
    {                                                                                              \
        "init_enc", SAE_OPT_REAL, 0, offsetof(T, m.enc_scale), 1, 0, 1e3, NULL, NULL, "1",         \
            "first W_enc = init_enc * W_dec"                                                       \
    }

/* b = sum_r w[r] x[r] / sum_r w[r] with w[r] = 1 / |x[r] - b|, one Weiszfeld step. Scratch:
 * xc [B x d], dist2 [B], w [B]. */
static inline int stock_weiszfeld(const sae_ctx *c, sae_cmat x, sae_mat b, sae_real *xc,
                                  double *dist2, sae_real *w)
{
    double chunk[STOCK_CHUNK], total = 0;
    sae_real weight[STOCK_CHUNK];
    sae_cmat s = stock_cmat(xc, x.rows, x.cols);
    SAE_TRY(c->k->shift_rows(c->dev, x, -1, b.p, stock_mat(xc, x.rows, x.cols)));
    SAE_TRY(c->k->row_dot(c->dev, s, s, dist2));
    for (int64_t i = 0; i < x.rows; i += STOCK_CHUNK) {
        int64_t some = stock_some(x.rows - i);
        SAE_TRY(stock_get(c, chunk, dist2 + i, (size_t)some * sizeof *chunk));
        for (int64_t k = 0; k < some; k++) {
            /* A point at b itself would have infinite weight. */
            weight[k] = (sae_real)(1 / sqrt(chunk[k] > 1e-24 ? chunk[k] : 1e-24));
            total += (double)weight[k];
        }
        SAE_TRY(stock_put(c, w + i, weight, (size_t)some * sizeof *weight));
    }
    return c->k->gemm(c->dev, 0, 0, (sae_real)(1 / total), stock_cmat(w, 1, x.rows), x, 0, b);
}

/* Geometric median of the rows of x into b, from the mean that b holds: at most 100 steps, until b
 * moves by less than 1e-5 (dictionary_learning's numbers). Takes memory of its own; init only. */
static inline int stock_geometric_median(const sae_ctx *c, sae_cmat x, sae_mat b)
{
    int rc = SAE_ENOMEM;
    double moved = 1;
    size_t size = sizeof(sae_real), rows = (size_t)x.rows, cols = (size_t)x.cols;
    sae_real *xc = (sae_real *)c->be->alloc(c->dev, rows * cols * size);
    double *dist2 = (double *)c->be->alloc(c->dev, (rows + 1) * sizeof(double));
    sae_real *w = (sae_real *)c->be->alloc(c->dev, rows * size);
    sae_real *old = (sae_real *)c->be->alloc(c->dev, cols * size);
    if (xc && dist2 && w && old)
        rc = SAE_OK;
    for (int step = 0; rc >= 0 && step < 100 && moved >= 1e-5 * 1e-5; step++) {
        rc = c->be->copy(c->dev, old, b.p, cols * size, SAE_COPY_D2D);
        if (rc >= 0)
            rc = stock_weiszfeld(c, x, b, xc, dist2, w);
        if (rc >= 0)
            rc = c->k->residual(c->dev, stock_cmat(old, 1, x.cols), stock_cmat(b.p, 1, x.cols),
                                stock_mat(NULL, 1, x.cols), dist2);
        if (rc >= 0)
            rc = stock_get(c, &moved, dist2, sizeof moved);
    }
    c->be->release(c->dev, xc);
    c->be->release(c->dev, dist2);
    c->be->release(c->dev, w);
    c->be->release(c->dev, old);
    return rc;
}

static inline int stock_init_bias(sae_model *m, const sae_ctx *c, const sae_batch *sample,
                                  int64_t how)
{
    sae_mat b = stock_w_out(m, STOCK_B_DEC);
    sae_cmat y = stock_cmat(sample->y, sample->B, m->dim.d_out);
    SAE_TRY(stock_fill(c, b.p, b.cols, 0));
    if (how == STOCK_BIAS_ZERO || sample->B == 0)
        return SAE_OK;
    SAE_TRY(c->k->col_sum(c->dev, y, (sae_real)(1.0 / (double)sample->B), b.p));
    return how == STOCK_BIAS_MEDIAN ? stock_geometric_median(c, y, b) : SAE_OK;
}

/* dst = s * src, both [1 x n]. */
static inline int stock_scaled_copy(const sae_ctx *c, sae_mat dst, double s, sae_cmat src)
{
    int64_t n = dst.rows * dst.cols;
    SAE_TRY(stock_fill(c, dst.p, n, 0));
    return c->k->shift_rows(c->dev, stock_cmat(dst.p, 1, n), (sae_real)s, src.p,
                            stock_mat(dst.p, 1, n));
}

/* All four tensors as the head of this file says. */
static inline int stock_init(sae_model *m, const sae_ctx *c, const sae_batch *sample,
                             const stock_init_opt *o, double dec_norm)
{
    sae_mat enc = stock_w_out(m, STOCK_W_ENC), dec = stock_w_out(m, STOCK_W_DEC);
    SAE_TRY(c->k->normal_fill(c->dev, c->seed, SAE_STREAM_INIT, (uint64_t)STOCK_W_DEC << 32, enc));
    SAE_TRY(c->k->unit_rows(c->dev, enc));
    SAE_TRY(stock_scaled_copy(c, dec, dec_norm, stock_w(m, STOCK_W_ENC)));
    SAE_TRY(stock_scaled_copy(c, enc, o->enc_scale, stock_w(m, STOCK_W_DEC)));
    SAE_TRY(stock_fill(c, stock_w_out(m, STOCK_B_ENC).p, m->dim.n, 0));
    return stock_init_bias(m, c, sample, o->b_dec);
}

#endif
