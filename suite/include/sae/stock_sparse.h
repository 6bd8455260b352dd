/* sae/stock_sparse.h - the family "select entries of pre, decode them, revive dead features".
 *
 * TopK, BatchTopK and AbsTopK differ in the selection rule only; each fills a stock_sparse from its
 * options and calls the functions here. No B x n buffer exists in training or evaluation: encoding
 * and selecting is one kernel, and backward touches listed entries only.
 *
 * Losses, in this order: "mse" (stock_loss.h), "auxk" (stock_auxk.h; 0 with coefficient 0 in EVAL).
 */
#ifndef SAE_STOCK_SPARSE_H
#define SAE_STOCK_SPARSE_H

#include "stock_auxk.h"

enum stock_how {
    STOCK_ROWS,     /* the k best entries of every row                                */
    STOCK_FLAT,     /* the floor(k B) best entries of the whole batch                 */
    STOCK_THRESHOLD /* every entry with score > theta. In TRAIN k bounds the entries per
                       row on average (more is SAE_ECAPACITY), in EVAL it is a guess   */
};

typedef struct stock_sparse {
    enum stock_how how;
    enum sae_key key;
    double k;     /* >= 0 */
    double theta; /* STOCK_THRESHOLD */
    int64_t mse;  /* STOCK_MSE_* */
    const stock_auxk_opt *auxk;
    int fixed_bias; /* 1: b_enc stays as it is, without a gradient */
} stock_sparse;

/* Row of an option table that sets fixed_bias = !bias; T is the option struct, m its int64_t. */
#define STOCK_SPARSE_BIAS_OPTION(T, m)                                                             \
    {                                                                                              \
        "bias", SAE_OPT_BOOL, 0, offsetof(T, m), 1, 0, 1, NULL, NULL, "1",                         \
            "b_enc is trained; else it stays 0"                                                    \
    }

typedef struct stock_sparse_mem { /* in the scratch */
    stock_work w;
    stock_links links;
    stock_auxk a;
} stock_sparse_mem;

/* Entries that the rule may list in B rows (STOCK_THRESHOLD in EVAL: a guess); -1 when not
 * countable. */
static inline int64_t stock_sparse_cap(const stock_sparse *s, const sae_dims *dim, int64_t B)
{
    double per_row = s->k < (double)dim->n ? s->k : (double)dim->n;
    double all = s->how == STOCK_ROWS ? (double)(int64_t)per_row * (double)B : per_row * (double)B;
    return all < 0x1p62 ? (int64_t)all : -1;
}

static inline stock_bump stock_sparse_layout(const stock_sparse *s, const sae_dims *dim, int64_t B,
                                             enum sae_mode mode, void *scratch,
                                             stock_sparse_mem *mem)
{
    stock_bump at = stock_bump_at(scratch);
    mem->a.o = s->auxk;
    mem->a.key = s->key;
    mem->a.loss = 1;
    mem->a.enc = NULL;
    mem->a.bias = NULL;
    stock_take_work(&at, dim, B, mode, &mem->w);
    if (mode == SAE_EVAL)
        return at;
    stock_take_links(&at, dim->n, stock_sparse_cap(s, dim, B), &mem->links);
    if (s->auxk->alpha > 0)
        stock_take_auxk(&at, dim, B, &mem->a);
    return at;
}

static inline int stock_sparse_workspace(const stock_sparse *s, const sae_dims *dim, int64_t B,
                                         enum sae_mode mode, sae_workspace *out)
{
    stock_sparse_mem mem;
    stock_bump at = stock_sparse_layout(s, dim, B, mode, NULL, &mem);
    return stock_workspace(at, stock_sparse_cap(s, dim, B), 0, 0, out);
}

static inline int stock_sparse_code(const sae_model *m, const sae_ctx *c, const sae_batch *b,
                                    const stock_sparse *s, sae_code *z)
{
    sae_encoder e = stock_encoder(m, b, 1);
    if (c->hold)
        return stock_hold_code(&e, &c->hold->code, z);
    switch (s->how) {
    case STOCK_ROWS:
        return c->k->encode_topk(c->dev, &e, s->key, (int64_t)s->k, z);
    case STOCK_FLAT:
        return c->k->encode_flat_topk(c->dev, &e, s->key, stock_sparse_cap(s, &m->dim, b->B), z);
    default:
        return c->k->encode_threshold(c->dev, &e, s->key, s->theta, NULL, z);
    }
}

/* Everything of forward that follows from tape.code and tape.xhat. */
static inline int stock_sparse_rest(const sae_model *m, const sae_ctx *c, const sae_batch *b,
                                    const stock_sparse *s, sae_tape *t)
{
    stock_sparse_mem mem, held;
    stock_sparse_layout(s, &m->dim, b->B, c->mode, t->scratch, &mem);
    if (c->hold)
        stock_sparse_layout(s, &m->dim, b->B, c->mode, c->hold->scratch, &held);
    SAE_TRY(stock_mse_of(m, c, b, t, s->mse, &mem.w));
    t->loss[1] = t->coef[1] = 0;
    if (c->mode == SAE_EVAL || !(s->auxk->alpha > 0))
        return SAE_OK;
    return stock_auxk_loss(m, c, b, t, &mem.w, &mem.a, c->hold ? &held.a : NULL);
}

/* Everything of forward that follows from tape.code. */
static inline int stock_sparse_losses(const sae_model *m, const sae_ctx *c, const sae_batch *b,
                                      const stock_sparse *s, sae_tape *t)
{
    SAE_TRY(stock_decode(m, c, &t->code, stock_mat(t->xhat, b->B, m->dim.d_out)));
    return stock_sparse_rest(m, c, b, s, t);
}

static inline int stock_sparse_forward(const sae_model *m, const sae_ctx *c, const sae_batch *b,
                                       const stock_sparse *s, sae_tape *t)
{
    sae_model seen = *m;
    if (c->hold_m && s->fixed_bias)
        seen.t[STOCK_B_ENC] = c->hold_m->t[STOCK_B_ENC];
    SAE_TRY(stock_sparse_code(&seen, c, b, s, &t->code));
    return stock_sparse_losses(&seen, c, b, s, t);
}

/* alpha * *dx becomes the gradient of xhat. */
static inline int stock_sparse_back(sae_model *m, const sae_ctx *c, const sae_batch *b,
                                    const stock_sparse *s, sae_tape *t, sae_cmat *dx)
{
    stock_sparse_mem mem;
    stock_sparse_layout(s, &m->dim, b->B, c->mode, t->scratch, &mem);
    sae_real alpha = stock_alpha(t->coef[0], b->B);
    *dx = stock_resid(m, t);
    SAE_TRY(stock_begin_back(m, c, b, 1, &mem.w));
    SAE_TRY(stock_auxk_back(m, c, t, &mem.w, &mem.a, dx));
    SAE_TRY(stock_code_back(m, c, &t->code, &mem.links, *dx, alpha, mem.w.in, mem.w.dbe));
    return stock_bias_back(m, c, *dx, alpha, 1, mem.w.dbe);
}

static inline int stock_sparse_backward(sae_model *m, const sae_ctx *c, const sae_batch *b,
                                        const stock_sparse *s, sae_tape *t)
{
    sae_cmat dx;
    SAE_TRY(stock_sparse_back(m, c, b, s, t, &dx));
    return s->fixed_bias ? stock_fill(c, m->t[STOCK_B_ENC].grad, m->dim.n, 0) : SAE_OK;
}

/* Floating-point operations of forward, and of backward in TRAIN: the encoder's product and the
 * sparse products (decode, code_grad, two code_outer); the rare dead-feature loss is left out. */
static inline double stock_sparse_flops(const stock_sparse *s, const sae_dims *dim, int64_t B,
                                        enum sae_mode mode)
{
    double entries = (double)stock_sparse_cap(s, dim, B), in = (double)dim->d_in;
    double out = (double)dim->d_out, back = mode == SAE_TRAIN ? 2 * out + in : 0;
    return 2 * ((double)B * (double)dim->n * in + entries * (out + back));
}

/* ---- the inference threshold of batch selections --------------------------------------------- */

/* STATE theta [1] (f64), the row after STOCK_TENSORS in the table. Every training step moves it
 * towards the smallest |value| selected in the batch, theta += rate * (smallest - theta). Before
 * the first value it is -1, which selects every eligible entry. */
enum { STOCK_THETA = STOCK_TENSOR_COUNT };
#define STOCK_THETA_TENSOR {"theta", SAE_STATE, SAE_F64, 0, SAE_DIM_1, SAE_DIM_1}

enum { STOCK_THETA_SET, STOCK_THETA_ZERO };
static const char *const stock_theta_names[] = {"set", "zero", NULL};
enum { STOCK_INFER_THRESHOLD, STOCK_INFER_BATCH };
static const char *const stock_infer_names[] = {"threshold", "batch", NULL};

typedef struct stock_theta_opt {
    double rate;
    int64_t start, first, infer;
} stock_theta_opt;

#define STOCK_THETA_OPTIONS(T, m)                                                                  \
    {"theta_rate", SAE_OPT_REAL, 0, offsetof(T, m.rate), 0.01, 0, 1, NULL, NULL, "1",              \
     "rate of the threshold's moving average"},                                                    \
        {"theta_start", SAE_OPT_INT, 0, offsetof(T, m.start), 0, 0, 1e15, NULL, NULL, "steps",     \
         "first step that moves the threshold"},                                                   \
        {"infer", SAE_OPT_ENUM, 0, offsetof(T, m.infer), STOCK_INFER_THRESHOLD, 0,                 \
         STOCK_INFER_BATCH, stock_infer_names, NULL, "1",                                          \
         "evaluation compares with the threshold, or selects from its batch"},                     \
    {                                                                                              \
        "theta_first", SAE_OPT_ENUM, 0, offsetof(T, m.first), STOCK_THETA_SET, 0,                  \
            STOCK_THETA_ZERO, stock_theta_names, NULL, "1",                                        \
            "the average starts at the first batch's value (set) or at 0 (zero)"                   \
    }

/* Training selects from the batch; evaluation as `infer` says. */
static inline enum stock_how stock_theta_how(const stock_theta_opt *o, enum sae_mode mode)
{
    return mode == SAE_TRAIN || o->infer == STOCK_INFER_BATCH ? STOCK_FLAT : STOCK_THRESHOLD;
}

/* The facts of a batch selection that depend on its options. */
static inline uint64_t stock_theta_caps(const stock_theta_opt *o)
{
    uint64_t eval = o->infer == STOCK_INFER_BATCH ? SAE_CAP_BATCH_EVAL : 0;
    return SAE_CAP_BATCH_TRAIN | eval;
}

static inline int stock_theta(const sae_model *m, const sae_ctx *c, double *theta)
{
    return stock_get(c, theta, m->t[STOCK_THETA].w, sizeof *theta);
}

static inline int stock_theta_init(sae_model *m, const sae_ctx *c)
{
    double unset = -1;
    return stock_put(c, m->t[STOCK_THETA].w, &unset, sizeof unset);
}

/* Smallest |value| over the active entries of a sparse code; -1 if none is active. */
static inline int stock_smallest_active(const sae_ctx *c, const sae_code *z, double *smallest)
{
    sae_real chunk[STOCK_CHUNK];
    *smallest = -1;
    for (int64_t i = 0; i < z->nnz; i += STOCK_CHUNK) {
        int64_t some = stock_some(z->nnz - i);
        SAE_TRY(stock_get(c, chunk, z->val + i, (size_t)some * sizeof *chunk));
        for (int64_t k = 0; k < some; k++) {
            double v = chunk[k] < 0 ? -(double)chunk[k] : (double)chunk[k];
            if (v > 0 && (*smallest < 0 || v < *smallest))
                *smallest = v;
        }
    }
    return SAE_OK;
}

static inline int stock_theta_adapt(sae_model *m, const sae_ctx *c, const sae_tape *t,
                                    const stock_theta_opt *o)
{
    double theta, smallest;
    if (c->step < o->start)
        return SAE_OK;
    SAE_TRY(stock_smallest_active(c, &t->code, &smallest));
    SAE_TRY(stock_theta(m, c, &theta));
    if (smallest < 0)
        return SAE_OK;
    if (theta < 0)
        theta = o->first == STOCK_THETA_SET ? smallest : 0;
    theta += o->rate * (smallest - theta);
    return stock_put(c, m->t[STOCK_THETA].w, &theta, sizeof theta);
}

#endif
