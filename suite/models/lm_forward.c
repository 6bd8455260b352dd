/* suite/models/lm_forward.c - the forward pass through the halves of blocks. */
#include "core/error.h"
#include "models/lm_model.h"

#include <stdio.h>

int sae_lm_gemm(const sae_lm_model *m, int ta, int tb, sae_cmat a, sae_cmat b, sae_real beta,
                sae_mat c, sae_err *err)
{
    int rc = m->at.k->gemm(m->at.dev, ta, tb, 1, a, b, beta, c);
    char what[96];
    if (rc >= 0)
        return SAE_OK;
    snprintf(what, sizeof what, "matrix product [%lld x %lld x %lld]", (long long)c.rows,
             (long long)(ta ? a.rows : a.cols), (long long)c.cols);
    return sae_lm_done(&m->at, rc, what, err);
}

int sae_lm_product(const sae_lm_model *m, int64_t rows, int64_t k, int64_t n, const sae_real *x,
                   const sae_real *w, const sae_real *bias, sae_real *out, sae_err *err)
{
    sae_mat c = {out, rows, n, n};
    SAE_TRY(sae_lm_gemm(m, 0, 1, (sae_cmat){x, rows, k, k}, (sae_cmat){w, n, k, k}, 0, c, err));
    if (!bias)
        return SAE_OK;
    return sae_lm_done(&m->at, m->at.k->shift_rows(m->at.dev, (sae_cmat){out, rows, n, n}, 1, bias,
                                                   c), "adding a bias", err);
}

int sae_lm_norm(const sae_lm_model *m, const sae_lm_normer *norm, int64_t rows, const sae_real *x,
                sae_real *out, sae_err *err)
{
    return sae_lm_done(&m->at, m->at.ops->norm(m->at.dev, norm, rows, x, out), "a norm", err);
}

sae_lm_tables sae_lm_tables_of(const sae_lm_model *m)
{
    const sae_lm_config *c = &m->cfg;
    return (sae_lm_tables){c->d, c->embed_scale > 0 ? c->embed_scale : 1, m->w.embed,
                           m->w.position};
}

int sae_lm_embed(const sae_lm_model *m, sae_real *x, sae_err *err)
{
    sae_lm_tables t = sae_lm_tables_of(m);
    return sae_lm_done(&m->at, m->at.ops->embed(m->at.dev, &t, &m->work.group, x),
                       "the embedding", err);
}

int sae_lm_add(const sae_lm_model *m, int64_t rows, const sae_real *delta, sae_real *x,
               sae_err *err)
{
    return sae_lm_done(&m->at, m->at.ops->add(m->at.dev, rows * m->cfg.d, delta, x), "a sum", err);
}

int sae_lm_copy(const sae_lm_model *m, int64_t rows, int64_t width, const sae_real *from,
                sae_real *to, sae_err *err)
{
    return sae_lm_move(&m->at, to, from, rows * width, sizeof *to, err);
}

/* What goes into the output matrix of attention in layer l, from f->wide. */
static int attend(const sae_lm_model *m, const sae_lm_group *g, int64_t l, const sae_lm_frame *f,
                  sae_err *err)
{
    const sae_lm_ops *ops = m->at.ops;
    sae_lm_heads h = sae_lm_heads_of(m, l);
    const sae_lm_rows *rows = &m->work.group;
    sae_lm_past past;
    SAE_TRY(sae_lm_done(&m->at, ops->position(m->at.dev, &h, rows, f->wide, f->turned),
                        "turning queries and keys", err));
    if (g->past)
        past = sae_lm_past_of(g->past, &m->cfg, l);
    return sae_lm_done(&m->at, ops->attention(m->at.dev, &h, rows, g->past ? &past : NULL,
                                              f->turned, f->mid, m->work.room), "attention", err);
}

int sae_lm_half_mid(sae_lm_model *m, const sae_lm_group *g, int64_t p, const sae_real *x,
                    const sae_lm_frame *f, sae_err *err)
{
    const sae_lm_config *c = &m->cfg;
    const sae_lm_half *half = &m->w.half[p];
    sae_lm_normer norm = {c->norm_in, c->eps, c->d, half->norm, half->norm_b};
    SAE_TRY(sae_lm_norm(m, &norm, g->rows, x, m->work.h, err));
    SAE_TRY(sae_lm_product(m, g->rows, c->d, sae_lm_in_width(c, p), m->work.h, half->w_in,
                           half->b_in, f->wide, err));
    if (p % 2 == 0)
        return attend(m, g, p / 2, f, err);
    return sae_lm_mix(m, g->rows, f->wide, f->mid, err);
}

int sae_lm_mix(const sae_lm_model *m, int64_t rows, const sae_real *wide, sae_real *mid,
               sae_err *err)
{
    const sae_lm_config *c = &m->cfg;
    return sae_lm_done(&m->at, m->at.ops->mix(m->at.dev, c->act, c->gated, rows, c->hidden, wide,
                                              mid), "a nonlinearity", err);
}

int sae_lm_half_out(sae_lm_model *m, const sae_lm_group *g, int64_t p, const sae_real *mid,
                    const sae_lm_frame *f, sae_real *delta, sae_err *err)
{
    const sae_lm_config *c = &m->cfg;
    const sae_lm_half *half = &m->w.half[p];
    int64_t width = sae_lm_mid_width(c, p);
    sae_real *pre = f->pre ? f->pre : delta;
    if (c->norm_mid != SAE_LM_NORM_NONE) {
        sae_lm_normer norm = {c->norm_mid, c->eps, width, NULL, NULL};
        SAE_TRY(sae_lm_norm(m, &norm, g->rows, mid, m->work.mid_normed, err));
        mid = m->work.mid_normed;
    }
    SAE_TRY(sae_lm_product(m, g->rows, width, c->d, mid, half->w_out, half->b_out, pre, err));
    if (!half->post)
        return SAE_OK;
    sae_lm_normer norm = {c->norm_in, c->eps, c->d, half->post, NULL};
    return sae_lm_norm(m, &norm, g->rows, pre, delta, err);
}

sae_lm_frame sae_lm_work_frame(const sae_lm_model *m)
{
    return (sae_lm_frame){m->work.wide, m->work.wide, m->work.mid, NULL};
}

int sae_lm_half_forward(sae_lm_model *m, const sae_lm_group *g, int64_t p, const sae_real *x,
                        sae_real *delta, sae_err *err)
{
    sae_lm_frame f = sae_lm_work_frame(m);
    SAE_TRY(sae_lm_half_mid(m, g, p, x, &f, err));
    return sae_lm_half_out(m, g, p, f.mid, &f, delta, err);
}

int sae_lm_halves(sae_lm_model *m, const sae_lm_group *g, int64_t p, int64_t end, sae_real *x,
                  sae_err *err)
{
    int together = m->cfg.parallel ? 2 : 1;
    for (; p < end; p += together) {
        for (int i = 0; i < together; i++)
            SAE_TRY(sae_lm_half_forward(m, g, p + i, x, m->work.delta[i], err));
        for (int i = 0; i < together; i++)
            SAE_TRY(sae_lm_add(m, g->rows, m->work.delta[i], x, err));
    }
    return SAE_OK;
}
