/* suite/models/lm_work.c - buffers of the passes, groups of contexts, angles of positions. */
#include "core/error.h"
#include "core/memory.h"
#include "models/lm_model.h"

#include <math.h>
#include <omp.h>

/* ---- angles ---------------------------------------------------------------------------------- */

static double frequency(const sae_lm_config *c, const sae_lm_rope *r, int64_t i)
{
    static const double turn = 6.28318530717958647693;
    double f = pow(r->theta, -2.0 * (double)i / (double)c->rotary);
    if (r->scaling == SAE_LM_SCALING_LINEAR)
        return f / r->factor;
    if (r->scaling == SAE_LM_SCALING_NONE)
        return f;
    double wavelength = turn / f;
    if (wavelength < r->original / r->high)
        return f;
    if (wavelength > r->original / r->low)
        return f / r->factor;
    double s = (r->original / wavelength - r->low) / (r->high - r->low);
    return (1 - s) * f / r->factor + s * f;
}

static void rope_angles(const sae_lm_config *c, const sae_lm_rope *r, int64_t longest,
                        sae_real *out)
{
    int64_t half = c->rotary / 2;
    for (int64_t i = 0; i < half; i++) {
        double f = frequency(c, r, i);
        for (int64_t t = 0; t < longest; t++) {
            out[t * c->rotary + i] = (sae_real)cos((double)t * f);
            out[t * c->rotary + half + i] = (sae_real)sin((double)t * f);
        }
    }
}

static int fill_ropes(sae_lm_model *m, int64_t longest, sae_err *err)
{
    int rc = SAE_OK;
    sae_real *angles = NULL;
    int64_t count = longest * m->cfg.rotary;
    SAE_TRY(sae_new(&angles, count, sizeof *angles, "lm.work", err));
    for (int i = 0; i < 2; i++) {
        rope_angles(&m->cfg, &m->cfg.rope[i], longest, angles);
        SAE_GOTO(sae_lm_put(&m->at, m->work.rope[i], angles, count, sizeof *angles, err));
    }
fail:
    sae_free(angles);
    return rc;
}

/* ---- buffers --------------------------------------------------------------------------------- */

void sae_lm_work_close(sae_lm_model *m)
{
    sae_lm_work *w = &m->work;
    void *all[] = {w->x,       w->h,       w->delta[0], w->delta[1], w->wide,   w->mid,
                   w->room,    w->rope[0], w->rope[1],  w->lists,    w->next,   w->mid_normed,
                   w->logits,  w->ce,      w->kl,       w->top,      w->logprob, w->ref};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        sae_lm_free(&m->at, all[i]);
    sae_free(w->list);
    *w = (sae_lm_work){0};
}

/* Words of 8 bytes that the lists of a group take: starts, then tokens and positions. */
static int64_t list_words(int64_t contexts, int64_t rows)
{
    return contexts + 1 + rows;
}

static int reserve_streams(sae_lm_model *m, const sae_lm_extents *e, sae_err *err)
{
    sae_lm_work *w = &m->work;
    const sae_lm_config *c = &m->cfg;
    sae_lm_heads heads = sae_lm_heads_of(m, 0);
    int64_t mid = sae_lm_larger(sae_lm_mid_width(c, 0), sae_lm_mid_width(c, 1));
    const struct {
        sae_real **p;
        int64_t count;
    } want[] = {
        {&w->x, e->rows * c->d},
        {&w->h, e->rows * c->d},
        {&w->delta[0], e->rows * c->d},
        {&w->delta[1], c->parallel ? e->rows * c->d : 0},
        {&w->wide, e->rows * sae_lm_larger(sae_lm_in_width(c, 0), sae_lm_in_width(c, 1))},
        {&w->mid, e->rows * mid},
        {&w->mid_normed, c->norm_mid != SAE_LM_NORM_NONE ? e->rows * mid : 0},
        {&w->room, m->at.ops->attention_room(&heads, e->rows, e->longest, 0)},
        {&w->logits, sae_lm_head_rows(m) * c->vocab},
        {&w->rope[0], e->longest * c->rotary},
        {&w->rope[1], e->longest * c->rotary},
    };
    for (size_t i = 0; i < sizeof want / sizeof want[0]; i++)
        SAE_TRY(sae_lm_new(&m->at, want[i].p, want[i].count, sizeof(sae_real), "lm.work", err));
    return SAE_OK;
}

/* Next tokens, and results of the rows of a chunk of logits. */
static int reserve_results(sae_lm_model *m, const sae_lm_extents *e, sae_err *err)
{
    sae_lm_work *w = &m->work;
    int64_t rows = sae_lm_head_rows(m);
    SAE_TRY(sae_lm_new(&m->at, &w->next, e->rows, sizeof *w->next, "lm.work", err));
    if (!m->at.be)
        return SAE_OK;
    SAE_TRY(sae_lm_new(&m->at, &w->ce, rows, sizeof *w->ce, "lm.work", err));
    SAE_TRY(sae_lm_new(&m->at, &w->kl, rows, sizeof *w->kl, "lm.work", err));
    return sae_lm_new(&m->at, &w->top, rows, sizeof *w->top, "lm.work", err);
}

/* In place of those there are: the number of contexts in a group changes more often than rows. */
static int reserve_lists(sae_lm_model *m, const sae_lm_extents *e, sae_err *err)
{
    sae_lm_work *w = &m->work;
    int64_t words = list_words(e->contexts, e->rows);
    sae_free(w->list);
    sae_lm_free(&m->at, w->lists);
    w->list = w->lists = NULL;
    SAE_TRY(sae_new(&w->list, words, sizeof *w->list, "lm.work", err));
    return sae_lm_new(&m->at, &w->lists, words, sizeof *w->lists, "lm.work", err);
}

int sae_lm_work_reserve(sae_lm_model *m, sae_lm_extents e, sae_err *err)
{
    int rc = SAE_OK;
    sae_lm_work *w = &m->work;
    int64_t threads = omp_get_max_threads(); /* scratch is for so many, also when they were more */
    int fits = e.rows <= w->rows && e.longest <= w->longest && threads <= w->threads;
    if (fits && e.contexts <= w->contexts)
        return SAE_OK;
    e.rows = sae_lm_larger(e.rows, w->rows);
    e.contexts = sae_lm_larger(e.contexts, w->contexts);
    e.longest = sae_lm_larger(e.longest, w->longest);
    if (!fits) {
        sae_lm_work_close(m);
        SAE_GOTO(reserve_streams(m, &e, err));
        SAE_GOTO(reserve_results(m, &e, err));
        if (m->cfg.rotary > 0)
            SAE_GOTO(fill_ropes(m, e.longest, err));
        w->threads = threads;
    }
    SAE_GOTO(reserve_lists(m, &e, err));
    w->rows = e.rows;
    w->contexts = e.contexts;
    w->longest = e.longest;
    return SAE_OK;
fail:
    sae_lm_work_close(m);
    return rc;
}

sae_lm_heads sae_lm_heads_of(const sae_lm_model *m, int64_t layer)
{
    const sae_lm_config *c = &m->cfg;
    const sae_lm_half *half = &m->w.half[2 * layer];
    int local = sae_lm_is_local(c, layer);
    return (sae_lm_heads){
        .heads = c->heads,
        .kv_heads = c->kv_heads,
        .head = c->head,
        .rotary = c->rotary,
        .rope = m->work.rope[local],
        .q_norm = half->q_norm,
        .k_norm = half->k_norm,
        .eps = c->eps,
        .window = local ? c->window : c->ctx,
        .scale = c->attn_scale > 0 ? c->attn_scale : 1.0 / sqrt((double)c->head),
        .cap = c->attn_cap,
    };
}

/* ---- groups ---------------------------------------------------------------------------------- */

sae_lm_group sae_lm_group_at(const sae_contexts *c, int64_t c0, int64_t most)
{
    sae_lm_group g = {.c0 = c0, .c1 = c0 + 1, .row0 = c->start[c0], .start = c->start,
                      .tok = c->tok};
    while (g.c1 < c->N && c->start[g.c1 + 1] - g.row0 <= most)
        g.c1++;
    g.rows = c->start[g.c1] - g.row0;
    return g;
}

sae_lm_extents sae_lm_largest_group(const sae_contexts *c, int64_t most)
{
    sae_lm_extents e = {0};
    for (int64_t i = 0; i < c->N;) {
        sae_lm_group g = sae_lm_group_at(c, i, most);
        e.rows = sae_lm_larger(e.rows, g.rows);
        e.contexts = sae_lm_larger(e.contexts, g.c1 - g.c0);
        for (; i < g.c1; i++)
            e.longest = sae_lm_larger(e.longest, c->start[i + 1] - c->start[i]);
    }
    return e;
}

int sae_lm_reserve_groups(sae_lm_model *m, const sae_contexts *c, int64_t most, sae_err *err)
{
    return sae_lm_work_reserve(m, sae_lm_largest_group(c, most), err);
}

/* The lists are written on the host as they lie in the place, and go there in one copy. */
int sae_lm_group_use(sae_lm_model *m, const sae_lm_group *g, sae_err *err)
{
    sae_lm_work *w = &m->work;
    int64_t N = g->c1 - g->c0, first = g->past ? g->past->n : 0, longest = 0;
    int32_t *tok = (int32_t *)(w->list + N + 1), *pos = tok + g->rows;
    for (int64_t c = 0; c < N; c++) {
        int64_t from = g->start[g->c0 + c] - g->row0, end = g->start[g->c0 + c + 1] - g->row0;
        w->list[c] = from;
        longest = sae_lm_larger(longest, end - from);
        for (int64_t r = from; r < end; r++) {
            tok[r] = g->tok[g->row0 + r];
            pos[r] = (int32_t)(first + r - from);
        }
    }
    w->list[N] = g->rows;
    const int32_t *lists = (const int32_t *)(w->lists + N + 1);
    w->group = (sae_lm_rows){N, g->rows, longest, w->lists, lists, lists + g->rows};
    return sae_lm_put(&m->at, w->lists, w->list, list_words(N, g->rows), sizeof *w->list, err);
}
