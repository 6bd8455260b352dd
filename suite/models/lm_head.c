/* suite/models/lm_head.c - the output head: logits of rows, and what callers ask of them. */
#include "core/error.h"
#include "models/lm_model.h"

/* Elements of logits held at a time; at least HEAD_ROWS rows, on a device whole steps. */
enum { LOGITS = 1 << 24, HEAD_ROWS = 64 };

int64_t sae_lm_head_rows(const sae_lm_model *m)
{
    const int64_t step = SAE_LM_DEVICE_ROWS;
    int64_t rows = sae_lm_larger(LOGITS / m->cfg.vocab, HEAD_ROWS);
    return m->at.be ? (rows + step - 1) / step * step : rows;
}

int sae_lm_final_norm(sae_lm_model *m, int64_t rows, const sae_real *x, sae_err *err)
{
    const sae_lm_config *c = &m->cfg;
    sae_lm_normer norm = {c->norm_final, c->eps, c->d, m->w.norm_final, m->w.norm_final_b};
    return sae_lm_norm(m, &norm, rows, x, m->work.h, err);
}

int sae_lm_logits(const sae_lm_model *m, int64_t rows, const sae_real *h, sae_real *z,
                  sae_err *err)
{
    const sae_lm_config *c = &m->cfg;
    SAE_TRY(sae_lm_product(m, rows, c->d, c->vocab, h, m->w.head, m->w.head_b, z, err));
    if (c->final_cap <= 0)
        return SAE_OK;
    return sae_lm_done(&m->at, m->at.ops->cap(m->at.dev, rows * c->vocab, c->final_cap, z),
                       "capping logits", err);
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

/* work.next: the tokens that the losses of a group's rows are about. */
static int use_next(sae_lm_model *m, const sae_lm_group *g, const int32_t *expect, sae_err *err)
{
    int32_t *next = (int32_t *)m->work.list; /* its contents are in place */
    for (int64_t r = 0; r < g->rows; r++)
        next[r] = expect ? expect[g->row0 + r] : next_token(g, g->row0 + r);
    return sae_lm_put(&m->at, m->work.next, next, g->rows, sizeof *next, err);
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
    if (!m->w.head_b)
        return SAE_OK;
    sae_real *db = b->grad + (m->w.head_b - m->w.base);
    return sae_lm_done(&m->at, m->at.k->col_sum(m->at.dev, dz, 1, db), "summing a gradient", err);
}

/* Buffers for probabilities of a chunk, where models are not in host memory. */
static int reserve_answers(sae_lm_model *m, const sae_lm_out *out, sae_err *err)
{
    sae_lm_work *w = &m->work;
    int64_t count = sae_lm_head_rows(m) * m->cfg.vocab;
    if (m->at.be && out->logprob && !w->logprob)
        SAE_TRY(sae_lm_new(&m->at, &w->logprob, count, sizeof *w->logprob, "lm.work", err));
    if (m->at.be && out->kl && !w->ref)
        SAE_TRY(sae_lm_new(&m->at, &w->ref, count, sizeof *w->ref, "lm.work", err));
    return SAE_OK;
}

/* What is asked of rows from `row` of the pass and r0 of the group. In host memory results go
 * straight to the caller, elsewhere into buffers. */
static sae_lm_results results_of(const sae_lm_model *m, int64_t row, int64_t r0,
                                 const sae_lm_out *out, int back)
{
    const sae_lm_work *w = &m->work;
    int64_t vocab = m->cfg.vocab;
    sae_lm_results q = {.vocab = vocab, .cap = m->cfg.final_cap, .back = back};
    q.next = w->next + r0;
    if (m->at.be) {
        q.ce = out->ce ? w->ce : NULL;
        q.kl = out->kl ? w->kl : NULL;
        q.ref = w->ref;
        q.logprob = out->logprob ? w->logprob : NULL;
        q.top = out->top ? w->top : NULL;
        return q;
    }
    q.ce = out->ce ? out->ce + row : NULL;
    q.kl = out->kl ? out->kl + row : NULL;
    q.ref = out->kl ? out->ref + row * vocab : NULL;
    q.logprob = out->logprob ? out->logprob + row * vocab : NULL;
    q.top = out->top ? out->top + row : NULL;
    return q;
}

/* The results that lie in buffers, to the caller. */
static int fetch(const sae_lm_model *m, int64_t row, int64_t rows, const sae_lm_results *q,
                 const sae_lm_out *out, sae_err *err)
{
    int64_t vocab = q->vocab;
    if (q->ce)
        SAE_TRY(sae_lm_get(&m->at, out->ce + row, q->ce, rows, sizeof *q->ce, err));
    if (q->kl)
        SAE_TRY(sae_lm_get(&m->at, out->kl + row, q->kl, rows, sizeof *q->kl, err));
    if (q->top)
        SAE_TRY(sae_lm_get(&m->at, out->top + row, q->top, rows, sizeof *q->top, err));
    if (q->logprob)
        SAE_TRY(sae_lm_get(&m->at, out->logprob + row * vocab, q->logprob, rows * vocab,
                           sizeof *q->logprob, err));
    return SAE_OK;
}

static int row_results(const sae_lm_model *m, int64_t row, int64_t r0, int64_t rows,
                       const sae_lm_out *out, int back, sae_real *z, sae_err *err)
{
    int64_t vocab = m->cfg.vocab;
    sae_lm_results q = results_of(m, row, r0, out, back);
    if (m->at.be && q.kl)
        SAE_TRY(sae_lm_put(&m->at, m->work.ref, out->ref + row * vocab, rows * vocab,
                           sizeof *q.ref, err));
    SAE_TRY(sae_lm_done(&m->at, m->at.ops->results(m->at.dev, &q, rows, z), "the loss", err));
    return m->at.be ? fetch(m, row, rows, &q, out, err) : SAE_OK;
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
        SAE_TRY(sae_lm_get(&m->at, out->logits + row * c->vocab, z, rows * c->vocab, sizeof *z,
                           err));
    if (out->ce || out->kl || out->logprob || out->top || b)
        SAE_TRY(row_results(m, row, r0, rows, out, b != NULL, z, err));
    return b ? head_back(m, b, r0, rows, z, err) : SAE_OK;
}

int sae_lm_head_forward(sae_lm_model *m, const sae_lm_group *g, const sae_real *x,
                        const sae_lm_out *out, const sae_lm_head_back *back, sae_err *err)
{
    if (!out->ce && !out->logprob && !out->kl && !out->logits && !out->top && !back)
        return SAE_OK;
    SAE_TRY(reserve_answers(m, out, err));
    SAE_TRY(use_next(m, g, out->expect, err));
    SAE_TRY(sae_lm_final_norm(m, g->rows, x, err));
    int64_t chunk = sae_lm_head_rows(m);
    for (int64_t r0 = 0; r0 < g->rows; r0 += chunk)
        SAE_TRY(head_chunk(m, g, r0, g->rows - r0 < chunk ? g->rows - r0 : chunk, out, back, err));
    return SAE_OK;
}
