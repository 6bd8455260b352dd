/* suite/models/lm_forward.c - the forward pass: halves of blocks, and the output head. */
#include "core/error.h"
#include "core/memory.h"
#include "models/lm_math.h"

#include <math.h>
#include <omp.h>

/* Floats of logits held at a time; at least HEAD_ROWS rows. */
enum { LOGIT_FLOATS = 1 << 22, HEAD_ROWS = 64 };

/* ---- buffers --------------------------------------------------------------------------------- */

static int64_t widest(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static int64_t qkv_width(const sae_lm_config *c)
{
    return (c->heads + 2 * c->kv_heads) * c->head;
}

static int64_t head_rows(const sae_lm_config *c)
{
    return widest(LOGIT_FLOATS / c->vocab, HEAD_ROWS);
}

void sae_lm_work_close(sae_lm_work *w)
{
    float *all[] = {w->x, w->h, w->delta, w->wide, w->mid, w->own, w->logits};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        sae_free(all[i]);
    *w = (sae_lm_work){0};
}

int sae_lm_work_reserve(sae_lm_model *m, int64_t rows, int64_t longest, sae_err *err)
{
    int rc = SAE_OK;
    sae_lm_work *w = &m->work;
    const sae_lm_config *c = &m->cfg;
    int64_t threads = omp_get_max_threads();
    if (rows <= w->rows && longest <= w->longest && threads <= w->threads)
        return SAE_OK;
    rows = widest(rows, w->rows);
    longest = widest(longest, w->longest);
    threads = widest(threads, w->threads);
    sae_lm_work_close(w);
    const struct {
        float **p;
        int64_t floats;
    } want[] = {
        {&w->x, rows * c->d},
        {&w->h, rows * c->d},
        {&w->delta, rows * c->d},
        {&w->wide, rows * widest(qkv_width(c), 2 * c->hidden)},
        {&w->mid, rows * widest(c->heads * c->head, c->hidden)},
        {&w->own, threads * sae_lm_attention_room(c, longest)},
        {&w->logits, head_rows(c) * c->vocab},
    };
    for (size_t i = 0; i < sizeof want / sizeof want[0]; i++)
        SAE_GOTO(sae_new(want[i].p, want[i].floats, sizeof(float), "lm.work", err));
    w->rows = rows;
    w->longest = longest;
    w->threads = threads;
    return SAE_OK;
fail:
    sae_lm_work_close(w);
    return rc;
}

/* ---- blocks ---------------------------------------------------------------------------------- */

/* out [rows x n] = x [rows x k] w^T */
static int product(const sae_lm_model *m, int64_t rows, int64_t k, int64_t n, const float *x,
                   const float *w, float *out, sae_err *err)
{
    sae_cmat a = {x, rows, k, k}, b = {w, n, k, k};
    sae_mat c = {out, rows, n, n};
    int rc = m->k->gemm(m->dev, 0, 1, 1.0f, a, b, 0.0f, c);
    if (rc < 0)
        SAE_FAIL(err, rc, "language model: matrix product [%lld x %lld x %lld] failed",
                 (long long)rows, (long long)n, (long long)k);
    return SAE_OK;
}

void sae_lm_embed(const sae_lm_model *m, const sae_lm_group *g, float *x)
{
    int64_t d = m->cfg.d;
    for (int64_t r = 0; r < g->rows; r++)
        memcpy(x + r * d, m->w.embed + g->tok[g->row0 + r] * d, (size_t)d * sizeof *x);
}

int sae_lm_half_forward(sae_lm_model *m, const sae_lm_group *g, int64_t p, const float *x,
                        float *delta, sae_err *err)
{
    const sae_lm_config *c = &m->cfg;
    const sae_lm_half *half = &m->w.half[p];
    sae_lm_work *w = &m->work;
    int mlp = (int)(p % 2);
    int64_t in = mlp ? 2 * c->hidden : qkv_width(c), mid = mlp ? c->hidden : c->heads * c->head;
    sae_lm_norm_rows(c->norm_in, half->norm, c->eps, g->rows, c->d, x, w->h);
    SAE_TRY(product(m, g->rows, c->d, in, w->h, half->w_in, w->wide, err));
    if (mlp)
        sae_lm_swiglu(g->rows, c->hidden, w->wide, w->mid);
    else
        sae_lm_attention(m, g, w->wide, w->mid);
    if (c->norm_mid != SAE_LM_NORM_NONE)
        sae_lm_norm_rows(c->norm_mid, NULL, c->eps, g->rows, mid, w->mid, w->mid);
    return product(m, g->rows, mid, c->d, w->mid, half->w_out, delta, err);
}

int sae_lm_halves(sae_lm_model *m, const sae_lm_group *g, int64_t p, int64_t end, float *x,
                  sae_err *err)
{
    for (; p < end; p++) {
        SAE_TRY(sae_lm_half_forward(m, g, p, x, m->work.delta, err));
        sae_lm_add(g->rows * m->cfg.d, m->work.delta, x);
    }
    return SAE_OK;
}

/* ---- head ------------------------------------------------------------------------------------ */

/* Results of row r (of the pass) from its logits z; `next` is the token it predicts, -1: none. */
static void row_results(int64_t vocab, int64_t r, int32_t next, const float *z,
                        const sae_lm_out *out)
{
    double max, log_sum;
    sae_lm_softmax_stats(vocab, z, &max, &log_sum);
    if (out->ce)
        out->ce[r] = next < 0 ? (double)NAN : (max - (double)z[next]) + log_sum;
    if (out->kl)
        out->kl[r] = sae_lm_kl(vocab, out->ref + r * vocab, z, max, log_sum);
    if (out->logprob)
        for (int64_t v = 0; v < vocab; v++)
            out->logprob[r * vocab + v] = (float)(((double)z[v] - max) - log_sum);
}

/* The token that each row of the group predicts: the next of its context. */
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

int sae_lm_head_forward(sae_lm_model *m, const sae_lm_group *g, const float *x,
                        const sae_lm_out *out, sae_err *err)
{
    const sae_lm_config *c = &m->cfg;
    if (!out->ce && !out->logprob && !out->kl && !out->logits)
        return SAE_OK;
    sae_lm_norm_rows(c->norm_final, m->w.norm_final, c->eps, g->rows, c->d, x, m->work.h);
    int64_t chunk = head_rows(c);
    for (int64_t r0 = 0; r0 < g->rows; r0 += chunk) {
        int64_t rows = g->rows - r0 < chunk ? g->rows - r0 : chunk, row = g->row0 + r0;
        float *z = out->logits ? out->logits + row * c->vocab : m->work.logits;
        SAE_TRY(product(m, rows, c->d, c->vocab, m->work.h + r0 * c->d, m->w.head, z, err));
#pragma omp parallel for schedule(static)
        for (int64_t r = 0; r < rows; r++)
            row_results(c->vocab, row + r, next_token(g, row + r), z + r * c->vocab, out);
    }
    return SAE_OK;
}
