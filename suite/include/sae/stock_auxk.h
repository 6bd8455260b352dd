/* sae/stock_auxk.h - the dead-feature loss AuxK (Gao et al. 2024, appendix A.2) and its relatives.
 *
 * A feature is dead when it was last active at least `dead` rows ago, this batch included. With D
 * the dead features and e = y - xhat the residual of the main path,
 *
 *     z_aux = the k_aux best entries of pre among D, per row      ehat = z_aux W_dec
 *     auxk  = (1 / B) sum_r |ehat[r] - e[r]|^2                squared model units; 0 if D is empty
 *
 * enters the total with the coefficient alpha * scale / norm, all three constants of the
 * derivative: norm = total variance of e over the batch (auxk_norm=residual; a variance of 0 gives
 * coefficient 0) or what the reconstruction loss is divided by (mse: 1, d or Var y, stock_loss.h);
 * scale = min(|D| / k_aux, 1) (auxk_scale) or 1. e is a constant of the derivative unless
 * auxk_detach=0. D, the support of z_aux and e follow ctx->hold.
 *
 * A variant with a STATE "need" [1 x n] (stock_zipf.h) lets features with need > 0 join D; z_aux is
 * multiplied by w [n], 1 for dead features and need for others, a constant of the derivative.
 *
 * Only the rows of W_enc in D are multiplied (sae_encoder.subset): cost |D| / n of the encoder.
 */
#ifndef SAE_STOCK_AUXK_H
#define SAE_STOCK_AUXK_H

#include "stock_loss.h"

enum { STOCK_AUXK_MSE, STOCK_AUXK_RESIDUAL };
static const char *const stock_auxk_norm_names[] = {"mse", "residual", NULL};

typedef struct stock_auxk_opt {
    double alpha;
    int64_t k, dead, norm, scale, detach;
} stock_auxk_opt;

/* Rows of an option table; T is the option struct, m its stock_auxk_opt member; the others are the
 * variant's defaults. */
#define STOCK_AUXK_OPTIONS_AS(T, m, def_alpha, def_k, def_dead, def_norm, def_detach)              \
    {"auxk", SAE_OPT_REAL, 0, offsetof(T, m.alpha), (def_alpha), 0, 1e6, NULL, NULL,               \
     "1", "weight of the dead-feature loss (alpha); 0 switches it off"},                           \
        {"k_aux", SAE_OPT_INT, 0, offsetof(T, m.k), (def_k), 0, 1e9, NULL, NULL, "1",              \
         "dead features per row in the dead-feature loss; 0: d / 2"},                              \
        {"dead", SAE_OPT_INT, 0, offsetof(T, m.dead), (def_dead), 1, 1e15, NULL, NULL, "tokens",   \
         "rows without activity after which a feature is dead"},                                   \
        {"auxk_norm", SAE_OPT_ENUM, 0, offsetof(T, m.norm), (def_norm), 0,                         \
         STOCK_AUXK_RESIDUAL, stock_auxk_norm_names, NULL, "1",                                    \
         "divide the dead-feature loss by the residual's variance or as mse is"},                  \
        {"auxk_scale", SAE_OPT_BOOL, 0, offsetof(T, m.scale), 0, 0, 1, NULL, NULL, "1",            \
         "multiply the dead-feature loss by min(dead features / k_aux, 1)"},                       \
    {                                                                                              \
        "auxk_detach", SAE_OPT_BOOL, 0, offsetof(T, m.detach), (def_detach), 0, 1, NULL, NULL,     \
            "1", "the residual is a constant of the dead-feature loss's derivative"                \
    }
#define STOCK_AUXK_OPTIONS(T, m, def_alpha, def_dead)                                              \
    STOCK_AUXK_OPTIONS_AS(T, m, def_alpha, 0, def_dead, STOCK_AUXK_RESIDUAL, 1)

/* What the host must know in backward; kept at the head of the scratch. */
typedef struct stock_auxk_head {
    int64_t dead, nnz;
} stock_auxk_head;

typedef struct stock_auxk { /* the loss in one step: its rule and its part of the scratch */
    const stock_auxk_opt *o;
    enum sae_key key; /* what ranks the dead features of a row */
    int loss;         /* index in tape.loss */
    const sae_encoder *enc; /* what gives pre; NULL: stock_encoder */
    const sae_real *bias;   /* [d_out] added to ehat (its gradient is the caller's), or NULL */
    stock_auxk_head *head;   /* [1] */
    int32_t *dead;           /* [n] dead features, ascending */
    uint64_t *fired, *count; /* [n] statistics with this batch */
    sae_real *weight;        /* [n] w */
    sae_code z;              /* z_aux */
    stock_links links;
    sae_real *err; /* [B x d_out] ehat - e */
    sae_real *dx;  /* [B x d_out] gradient of xhat when e is not detached, else NULL */
} stock_auxk;

static inline int64_t stock_auxk_k(const stock_auxk_opt *o, const sae_dims *dim)
{
    int64_t k = o->k > 0 ? o->k : (dim->d_out + 1) / 2;
    return k < dim->n ? k : dim->n;
}

/* Memory for a, whose o is set. */
static inline void stock_take_auxk(stock_bump *s, const sae_dims *dim, int64_t B, stock_auxk *a)
{
    int64_t cap = stock_most_entries(stock_auxk_k(a->o, dim), dim, B);
    a->head = (stock_auxk_head *)stock_take(s, 1, sizeof(stock_auxk_head));
    a->dead = (int32_t *)stock_take(s, dim->n, sizeof(int32_t));
    a->fired = (uint64_t *)stock_take(s, dim->n, sizeof(uint64_t));
    a->count = (uint64_t *)stock_take(s, dim->n, sizeof(uint64_t));
    a->weight = stock_take_real(s, 1, dim->n);
    a->z = stock_take_code(s, B, dim->n, cap);
    stock_take_links(s, dim->n, cap, &a->links);
    a->err = stock_take_real(s, B, dim->d_out);
    a->dx = a->o->detach ? NULL : stock_take_real(s, B, dim->d_out);
}

/* The STATE "need", or NULL where the variant has none. */
static inline const sae_real *stock_auxk_need(const sae_model *m)
{
    const sae_tensor *t = sae_model_tensor(m, "need");
    return t ? (const sae_real *)t->w : NULL;
}

/* D: a->dead[0..*count) and a->weight. A feature is dead when its last activity lies at least
 * a->o->dead rows back, counting this batch and its code z. */
static inline int stock_dead_list(const sae_ctx *c, const sae_code *z, const sae_real *need,
                                  stock_auxk *a, int64_t *count)
{
    uint64_t fired[STOCK_CHUNK], now = c->stats->tokens + (uint64_t)z->B;
    sae_real weight[STOCK_CHUNK] = {0};
    int32_t found[STOCK_CHUNK];
    size_t bytes = (size_t)z->n * sizeof(uint64_t);
    *count = 0;
    SAE_TRY(c->be->copy(c->dev, a->fired, c->stats->last_fired, bytes, SAE_COPY_D2D));
    SAE_TRY(c->be->copy(c->dev, a->count, c->stats->fire_count, bytes, SAE_COPY_D2D));
    SAE_TRY(c->k->fire_update(c->dev, z, now, a->fired, a->count));
    for (int64_t j = 0; j < z->n; j += STOCK_CHUNK) {
        int64_t some = stock_some(z->n - j), k = 0;
        SAE_TRY(stock_get(c, fired, a->fired + j, (size_t)some * sizeof *fired));
        if (need)
            SAE_TRY(stock_get(c, weight, need + j, (size_t)some * sizeof *weight));
        for (int64_t i = 0; i < some; i++) {
            int dead = now - fired[i] >= (uint64_t)a->o->dead;
            weight[i] = dead ? 1 : need ? weight[i] : 0;
            if (weight[i] > 0)
                found[k++] = (int32_t)(j + i);
        }
        SAE_TRY(stock_put(c, a->dead + *count, found, (size_t)k * sizeof *found));
        SAE_TRY(stock_put(c, a->weight + j, weight, (size_t)some * sizeof *weight));
        *count += k;
    }
    return SAE_OK;
}

/* The coefficient alpha * scale / norm. */
static inline int stock_auxk_coef(const sae_model *m, const sae_ctx *c, const sae_tape *t,
                                  const stock_auxk_opt *o, const stock_work *w, int64_t dead,
                                  double *coef)
{
    double variance = 0, per_norm = t->coef[0];
    int64_t k = stock_auxk_k(o, &m->dim);
    if (o->norm == STOCK_AUXK_RESIDUAL) {
        SAE_TRY(stock_variance(c, stock_resid(m, t), w->mean, w->xc, w->row, &variance));
        per_norm = variance > 0 ? 1 / variance : 0;
    }
    *coef = o->alpha * per_norm;
    if (o->scale && dead < k)
        *coef *= (double)dead / (double)k;
    return SAE_OK;
}

/* Which features of D code each row: a->dead, a->z as the encoder gives it. held: the same of the
 * held tape, or NULL. */
static inline int stock_auxk_select(const sae_model *m, const sae_ctx *c, const sae_batch *b,
                                    const sae_tape *t, stock_auxk *a, const stock_auxk *held,
                                    stock_auxk_head *head)
{
    sae_encoder e = a->enc ? *a->enc : stock_encoder(m, b, 1);
    if (held) {
        sae_code support = held->z;
        *head = *held->head;
        support.nnz = head->nnz;
        SAE_TRY(c->be->copy(c->dev, a->weight, held->weight,
                            (size_t)m->dim.n * sizeof(sae_real), SAE_COPY_D2D));
        return stock_hold_code(&e, &support, &a->z);
    }
    SAE_TRY(stock_dead_list(c, &t->code, stock_auxk_need(m), a, &head->dead));
    e.subset = a->dead;
    e.m = head->dead;
    SAE_TRY(c->k->encode_topk(c->dev, &e, a->key, stock_auxk_k(a->o, &m->dim), &a->z));
    head->nnz = a->z.nnz;
    return SAE_OK;
}

/* loss[a->loss] and its coefficient, after the main path (code, resid) is there. TRAIN only. */
static inline int stock_auxk_loss(const sae_model *m, const sae_ctx *c, const sae_batch *b,
                                  sae_tape *t, const stock_work *w, stock_auxk *a,
                                  const stock_auxk *held)
{
    stock_auxk_head head = {0, 0};
    int64_t d = m->dim.d_out;
    const sae_real *target = c->hold && a->o->detach ? c->hold->resid : t->resid;
    t->loss[a->loss] = t->coef[a->loss] = 0;
    if (a->o->alpha > 0)
        SAE_TRY(stock_auxk_select(m, c, b, t, a, held, &head));
    SAE_TRY(stock_put(c, a->head, &head, sizeof head));
    if (head.dead == 0)
        return SAE_OK;
    if (stock_auxk_need(m))
        SAE_TRY(c->k->code_scale(c->dev, &a->z, a->z.val, NULL, a->weight, a->z.val));
    sae_cmat err = stock_cmat(a->err, b->B, d);
    SAE_TRY(c->k->code_decode(c->dev, &a->z, stock_w(m, STOCK_W_DEC), a->bias,
                              stock_mat(a->err, b->B, d)));
    SAE_TRY(stock_add(c, a->err, 1, target, b->B * d));
    SAE_TRY(c->k->row_dot(c->dev, err, err, w->row));
    SAE_TRY(stock_mean(c, b->B, w->row, &t->loss[a->loss]));
    return stock_auxk_coef(m, c, t, a->o, w, head.dead, &t->coef[a->loss]);
}

/* Gradients of this loss, weighted, on W_enc, W_dec and dbe. *dx, the gradient of xhat in units of
 * the main path's, gains the residual's share when the residual is not detached. */
static inline int stock_auxk_back(sae_model *m, const sae_ctx *c, const sae_tape *t,
                                  const stock_work *w, stock_auxk *a, sae_cmat *dx)
{
    stock_auxk_head head;
    int64_t d = m->dim.d_out, all = t->B * d;
    if (!(t->coef[a->loss] > 0))
        return SAE_OK;
    SAE_TRY(stock_get(c, &head, a->head, sizeof head));
    a->z.nnz = head.nnz;
    a->links.weight = stock_auxk_need(m) ? a->weight : NULL;
    if (a->dx) {
        SAE_TRY(c->k->shift_rows(c->dev, stock_cmat(t->resid, 1, all),
                                 (sae_real)(t->coef[a->loss] / t->coef[0]), a->err,
                                 stock_mat(a->dx, 1, all)));
        *dx = stock_cmat(a->dx, t->B, d);
    }
    return stock_code_back(m, c, &a->z, &a->links, stock_cmat(a->err, t->B, d),
                           stock_alpha(t->coef[a->loss], t->B),
                           w->in, w->dbe);
}

#endif
