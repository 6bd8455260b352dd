/* sae/stock_loss.h - weights of the reconstruction loss, and the scratch that most variants share.
 *
 * The loss "mse" is the same quantity in every variant (stock_reconstruct). What published trainers
 * call their reconstruction loss differs by a factor only; the factor is the coefficient:
 *
 *     row      1          sum over d, mean over rows      SAELens, dictionary_learning
 *     element  1 / d      mean over rows and d            BatchTopK's and AbsTopK's code
 *     fvu      1 / Var y  Var y: total variance of the    sparsify, OpenAI
 *                         batch, a constant of the derivative; 1 where Var y is 0
 */
#ifndef SAE_STOCK_LOSS_H
#define SAE_STOCK_LOSS_H

#include "stock_code.h"
#include "stock_encoder.h"

enum { STOCK_MSE_ROW, STOCK_MSE_ELEMENT, STOCK_MSE_FVU };
static const char *const stock_mse_names[] = {"row", "element", "fvu", NULL};

/* One row of an option table; T is the option struct, m an int64_t member. */
#define STOCK_MSE_OPTION_AS(T, m, def)                                                             \
    {                                                                                              \
        "mse", SAE_OPT_ENUM, 0, offsetof(T, m), (def), 0, STOCK_MSE_FVU, stock_mse_names, NULL,    \
            "1", "reduction of the reconstruction loss: row, element, fvu"                         \
    }
#define STOCK_MSE_OPTION(T, m) STOCK_MSE_OPTION_AS(T, m, STOCK_MSE_ROW)

typedef struct stock_work {
    double *row;    /* [B] one number per row */
    /* TRAIN; NULL in EVAL */
    sae_real *mean; /* [d_out] */
    sae_real *xc;   /* [B x d_in or d_out, the larger] forward: any use; backward: see in */
    sae_real *dbe;  /* [n] gradient of b_enc in this step */
    sae_cmat in;    /* [B x d_in] backward: what the encoder reads; set by stock_begin_back */
} stock_work;

static inline void stock_take_work(stock_bump *s, const sae_dims *dim, int64_t B,
                                   enum sae_mode mode, stock_work *w)
{
    w->row = (double *)stock_take(s, B, sizeof(double));
    w->mean = NULL;
    w->xc = w->dbe = NULL;
    w->in = stock_cmat(NULL, 0, 0);
    if (mode == SAE_EVAL)
        return;
    w->mean = stock_take_real(s, 1, dim->d_out);
    w->xc = stock_take_real(s, B, dim->d_in > dim->d_out ? dim->d_in : dim->d_out);
    w->dbe = stock_take_real(s, 1, dim->n);
}

/* tape.resid and the reconstruction loss
 *     mse = (1 / B) sum_r |xhat[r] - y[r]|^2      squared model units, summed over d; 0 for B == 0
 * from tape.xhat. row [B]: scratch. */
static inline int stock_residual(const sae_model *m, const sae_ctx *c, const sae_batch *b,
                                 sae_tape *t, double *row, double *mse)
{
    int64_t d = m->dim.d_out;
    SAE_TRY(c->k->residual(c->dev, stock_cmat(t->xhat, b->B, d), stock_cmat(b->y, b->B, d),
                           stock_mat(t->resid, b->B, d), row));
    return stock_mean(c, b->B, row, mse);
}

/* The same, and tape.xhat before it, from tape.code. */
static inline int stock_reconstruct(const sae_model *m, const sae_ctx *c, const sae_batch *b,
                                    sae_tape *t, double *row, double *mse)
{
    SAE_TRY(m->v->decode(m, c, &t->code, stock_mat(t->xhat, b->B, m->dim.d_out)));
    return stock_residual(m, c, b, t, row, mse);
}

/* Total variance (1 / B) sum_r |x[r] - mean x|^2 in squared units of x. Scratch: mean [cols],
 * shifted [B x cols], row [B]. */
static inline int stock_variance(const sae_ctx *c, sae_cmat x, sae_real *mean, sae_real *shifted,
                                 double *row, double *out)
{
    sae_cmat s = stock_cmat(shifted, x.rows, x.cols);
    SAE_TRY(stock_fill(c, mean, x.cols, 0));
    if (x.rows > 0)
        SAE_TRY(c->k->col_sum(c->dev, x, (sae_real)(1.0 / (double)x.rows), mean));
    SAE_TRY(c->k->shift_rows(c->dev, x, -1, mean, stock_mat(shifted, x.rows, x.cols)));
    SAE_TRY(c->k->row_dot(c->dev, s, s, row));
    return stock_mean(c, x.rows, row, out);
}

/* tape.resid, loss[0] and coef[0] from tape.xhat. In EVAL the coefficient of fvu is 1. */
static inline int stock_mse_of(const sae_model *m, const sae_ctx *c, const sae_batch *b,
                               sae_tape *t, int64_t how, const stock_work *w)
{
    double variance = 0;
    SAE_TRY(stock_residual(m, c, b, t, w->row, &t->loss[0]));
    t->coef[0] = how == STOCK_MSE_ELEMENT ? 1 / (double)m->dim.d_out : 1;
    if (how != STOCK_MSE_FVU || c->mode == SAE_EVAL)
        return SAE_OK;
    SAE_TRY(stock_variance(c, stock_cmat(b->y, b->B, m->dim.d_out), w->mean, w->xc, w->row,
                           &variance));
    if (variance > 0)
        t->coef[0] = 1 / variance;
    return SAE_OK;
}

/* The same, and tape.xhat before it, from tape.code. */
static inline int stock_mse(const sae_model *m, const sae_ctx *c, const sae_batch *b, sae_tape *t,
                            int64_t how, const stock_work *w)
{
    SAE_TRY(stock_decode(m, c, &t->code, stock_mat(t->xhat, b->B, m->dim.d_out)));
    return stock_mse_of(m, c, b, t, how, w);
}

/* Start of every backward: dbe = 0, and w->in = what the encoder reads: x - b_dec (a copy, in xc)
 * or x itself. */
static inline int stock_begin_back(const sae_model *m, const sae_ctx *c, const sae_batch *b,
                                   int64_t pre_bias, stock_work *w)
{
    const sae_real *shift = stock_shift(m, pre_bias);
    int64_t d = m->dim.d_in;
    SAE_TRY(stock_fill(c, w->dbe, m->dim.n, 0));
    w->in = stock_cmat(shift ? w->xc : b->x, b->B, d);
    if (!shift)
        return SAE_OK;
    return c->k->shift_rows(c->dev, stock_cmat(b->x, b->B, d), -1, shift,
                            stock_mat(w->xc, b->B, d));
}

#endif
