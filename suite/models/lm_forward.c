/* suite/models/lm_forward.c - the forward pass: halves of blocks, and the output head. */
#include "core/error.h"
#include "models/lm_math.h"

/* Elements of logits held at a time; at least HEAD_ROWS rows. */
enum { LOGITS = 1 << 24, HEAD_ROWS = 64 };

int64_t sae_lm_head_rows(const sae_lm_config *c)
{
    return LOGITS / c->vocab > HEAD_ROWS ? LOGITS / c->vocab : HEAD_ROWS;
}

/* ---- blocks ---------------------------------------------------------------------------------- */

int sae_lm_gemm(const sae_lm_model *m, int ta, int tb, sae_cmat a, sae_cmat b, sae_real beta,
                sae_mat c, sae_err *err)
{
    int rc = m->k->gemm(m->dev, ta, tb, 1, a, b, beta, c);
    if (rc < 0)
        SAE_FAIL(err, rc, "language model: matrix product [%lld x %lld x %lld] failed",
                 (long long)c.rows, (long long)(ta ? a.rows : a.cols), (long long)c.cols);
    return SAE_OK;
}

/* out [rows x n] = x [rows x k] w^T + bias */
static int product(const sae_lm_model *m, int64_t rows, int64_t k, int64_t n, const sae_real *x,
                   const sae_real *w, const sae_real *bias, sae_real *out, sae_err *err)
{
    sae_mat c = {out, rows, n, n};
    SAE_TRY(sae_lm_gemm(m, 0, 1, (sae_cmat){x, rows, k, k}, (sae_cmat){w, n, k, k}, 0, c, err));
    if (!bias)
        return SAE_OK;
    int rc = m->k->shift_rows(m->dev, (sae_cmat){out, rows, n, n}, 1, bias, c);
    if (rc < 0)
        SAE_FAIL(err, rc, "language model: adding a bias failed");
    return SAE_OK;
}

void sae_lm_embed(const sae_lm_model *m, const sae_lm_group *g, sae_real *x)
{
    int64_t d = m->cfg.d;
    sae_real scale = (sae_real)(m->cfg.embed_scale > 0 ? m->cfg.embed_scale : 1);
    for (int64_t r = 0; r < g->rows; r++) {
        const sae_real *e = m->w.embed + g->tok[g->row0 + r] * d;
        const sae_real *p = m->w.position ? m->w.position + m->work.pos[r] * d : NULL;
        for (int64_t i = 0; i < d; i++)
            x[r * d + i] = e[i] * scale + (p ? p[i] : 0);
    }
}

int sae_lm_half_mid(sae_lm_model *m, const sae_lm_group *g, int64_t p, const sae_real *x,
                    const sae_lm_frame *f, sae_err *err)
{
    const sae_lm_config *c = &m->cfg;
    const sae_lm_half *half = &m->w.half[p];
    sae_lm_normer norm = {c->norm_in, c->eps, c->d, half->norm, half->norm_b};
    sae_lm_norm_rows(&norm, g->rows, x, m->work.h);
    SAE_TRY(product(m, g->rows, c->d, sae_lm_in_width(c, p), m->work.h, half->w_in, half->b_in,
                    f->wide, err));
    if (p % 2) {
        sae_lm_mix(c->act, c->gated, g->rows, c->hidden, f->wide, f->mid);
    } else {
        sae_lm_position(m, g, p / 2, f->wide, f->turned);
        sae_lm_attention(m, g, p / 2, f->turned, f->mid);
    }
    return SAE_OK;
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
        sae_lm_norm_rows(&norm, g->rows, mid, m->work.mid_normed);
        mid = m->work.mid_normed;
    }
    SAE_TRY(product(m, g->rows, width, c->d, mid, half->w_out, half->b_out, pre, err));
    if (half->post) {
        sae_lm_normer norm = {c->norm_in, c->eps, c->d, half->post, NULL};
        sae_lm_norm_rows(&norm, g->rows, pre, delta);
    }
    return SAE_OK;
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
            sae_lm_add(g->rows * m->cfg.d, m->work.delta[i], x);
    }
    return SAE_OK;
}

/* ---- head ------------------------------------------------------------------------------------ */

void sae_lm_final_norm(sae_lm_model *m, int64_t rows, const sae_real *x)
{
    const sae_lm_config *c = &m->cfg;
    sae_lm_normer norm = {c->norm_final, c->eps, c->d, m->w.norm_final, m->w.norm_final_b};
    sae_lm_norm_rows(&norm, rows, x, m->work.h);
}

int sae_lm_logits(const sae_lm_model *m, int64_t rows, const sae_real *h, sae_real *z,
                  sae_err *err)
{
    const sae_lm_config *c = &m->cfg;
    SAE_TRY(product(m, rows, c->d, c->vocab, h, m->w.head, m->w.head_b, z, err));
    if (c->final_cap > 0)
#pragma omp parallel for schedule(static) if (sae_lm_many(rows, c->vocab))
        for (int64_t r = 0; r < rows; r++)
            sae_lm_cap(c->vocab, c->final_cap, z + r * c->vocab);
    return SAE_OK;
}

/* The token that a row of the pass predicts: the next of its context; -1: none. */
static int32_t next_token(const sae_lm_group *g, int64_t row)
{
    int64_t lo = g->c0, hi = g->c1; /* the context that holds row: start[lo] <= row < start[hi] */
    while (hi - lo > 1) {
        int64_t mid = lo + (hi - lo) / 2;
        if (g->start[mid] <= row)
            lo = mid;
        else
            hi = mid;
    }
    return row + 1 < g->start[hi] ? g->tok[row + 1] : -1;
}

/* The lowest id whose logit is the largest one. */
static int32_t first_equal(int64_t vocab, const sae_real *z, double max)
{
    int64_t v = 0;
    while (v < vocab - 1 && (double)z[v] != max)
        v++;
    return (int32_t)v;
}

/* Results of row r (of the pass) from its logits z; `next` is the token that its loss is about, -1:
 * none. `back`: z becomes the gradient of its loss. */
static void row_results(const sae_lm_config *c, int64_t r, int32_t next, const sae_lm_out *out,
                        int back, sae_real *z)
{
    double max, log_sum;
    int64_t vocab = c->vocab;
    if (!out->ce && !out->kl && !out->logprob && !out->top && !back)
        return;
    sae_lm_softmax_stats(vocab, z, &max, &log_sum);
    if (out->top)
        out->top[r] = isfinite(log_sum) ? first_equal(vocab, z, max) : -1;
    if (out->ce)
        out->ce[r] = next < 0 ? (double)NAN : (max - (double)z[next]) + log_sum;
    if (out->kl)
        out->kl[r] = sae_lm_kl(vocab, out->ref + r * vocab, z, max, log_sum);
    if (out->logprob)
        for (int64_t v = 0; v < vocab; v++)
            out->logprob[r * vocab + v] = (sae_real)(((double)z[v] - max) - log_sum);
    if (back && next >= 0)
        sae_lm_ce_back(vocab, next, c->final_cap, max, log_sum, z);
    else if (back)
        memset(z, 0, (size_t)vocab * sizeof *z);
}

/* The gradient of the final norm's output, and of the head's parameters, from the logits of rows
 * [r0, r0 + rows) of the group, which are overwritten. */
static int head_back(sae_lm_model *m, const sae_lm_head_back *b, int64_t r0, int64_t rows,
                     sae_real *z, sae_err *err)
{
    int64_t d = m->cfg.d, vocab = m->cfg.vocab;
    sae_cmat dz = {z, rows, vocab, vocab}, h = {m->work.h + r0 * d, rows, d, d};
    sae_cmat w = {m->w.head, vocab, d, d};
    SAE_TRY(sae_lm_gemm(m, 0, 0, dz, w, 0, (sae_mat){b->dh + r0 * d, rows, d, d}, err));
    if (!b->grad)
        return SAE_OK;
    sae_mat dw = {b->grad + (m->w.head - m->w.base), vocab, d, d};
    SAE_TRY(sae_lm_gemm(m, 1, 0, dz, h, 1, dw, err));
    if (m->w.head_b && m->k->col_sum(m->dev, dz, 1, b->grad + (m->w.head_b - m->w.base)) < 0)
        SAE_FAIL(err, SAE_EBACKEND, "language model: summing a gradient failed");
    return SAE_OK;
}

/* The rows of one chunk of logits. */
static int head_chunk(sae_lm_model *m, const sae_lm_group *g, int64_t r0, int64_t rows,
                      const sae_lm_out *out, const sae_lm_head_back *b, sae_err *err)
{
    const sae_lm_config *c = &m->cfg;
    int64_t row = g->row0 + r0;
    sae_real *z = m->work.logits;
    SAE_TRY(sae_lm_logits(m, rows, m->work.h + r0 * c->d, z, err));
    if (out->logits)
        memcpy(out->logits + row * c->vocab, z, (size_t)(rows * c->vocab) * sizeof *z);
#pragma omp parallel for schedule(static) if (sae_lm_many(rows, c->vocab))
    for (int64_t r = 0; r < rows; r++)
        row_results(c, row + r, out->expect ? out->expect[row + r] : next_token(g, row + r), out,
                    b != NULL, z + r * c->vocab);
    return b ? head_back(m, b, r0, rows, z, err) : SAE_OK;
}

int sae_lm_head_forward(sae_lm_model *m, const sae_lm_group *g, const sae_real *x,
                        const sae_lm_out *out, const sae_lm_head_back *back, sae_err *err)
{
    const sae_lm_config *c = &m->cfg;
    if (!out->ce && !out->logprob && !out->kl && !out->logits && !out->top && !back)
        return SAE_OK;
    sae_lm_final_norm(m, g->rows, x);
    int64_t chunk = sae_lm_head_rows(c);
    for (int64_t r0 = 0; r0 < g->rows; r0 += chunk)
        SAE_TRY(head_chunk(m, g, r0, g->rows - r0 < chunk ? g->rows - r0 : chunk, out, back, err));
    return SAE_OK;
}
