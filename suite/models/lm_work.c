/* suite/models/lm_work.c - buffers of the passes, groups of contexts, angles of positions. */
#include "core/error.h"
#include "core/memory.h"
#include "models/lm_math.h"

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

static void fill_rope(const sae_lm_config *c, const sae_lm_rope *r, int64_t longest, sae_real *out)
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

/* ---- buffers --------------------------------------------------------------------------------- */

void sae_lm_work_close(sae_lm_work *w)
{
    sae_real *all[] = {w->x,   w->h,          w->delta[0], w->delta[1], w->wide,
                       w->mid, w->mid_normed, w->own,      w->logits,   w->rope[0],
                       w->rope[1]};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        sae_free(all[i]);
    sae_free(w->pos);
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
    rows = sae_lm_larger(rows, w->rows);
    longest = sae_lm_larger(longest, w->longest);
    threads = sae_lm_larger(threads, w->threads);
    sae_lm_work_close(w);
    int64_t mid = sae_lm_larger(sae_lm_mid_width(c, 0), sae_lm_mid_width(c, 1));
    const struct {
        sae_real **p;
        int64_t count;
    } want[] = {
        {&w->x, rows * c->d},
        {&w->h, rows * c->d},
        {&w->delta[0], rows * c->d},
        {&w->delta[1], c->parallel ? rows * c->d : 0},
        {&w->wide, rows * sae_lm_larger(sae_lm_in_width(c, 0), sae_lm_in_width(c, 1))},
        {&w->mid, rows * mid},
        {&w->mid_normed, c->norm_mid != SAE_LM_NORM_NONE ? rows * mid : 0},
        {&w->own, threads * sae_lm_attention_room(c, longest)},
        {&w->logits, sae_lm_head_rows(c) * c->vocab},
        {&w->rope[0], longest * c->rotary},
        {&w->rope[1], longest * c->rotary},
    };
    for (size_t i = 0; i < sizeof want / sizeof want[0]; i++)
        SAE_GOTO(sae_new(want[i].p, want[i].count, sizeof(sae_real), "lm.work", err));
    SAE_GOTO(sae_new(&w->pos, rows, sizeof *w->pos, "lm.work", err));
    for (int i = 0; c->rotary > 0 && i < 2; i++)
        fill_rope(c, &c->rope[i], longest, w->rope[i]);
    w->rows = rows;
    w->longest = longest;
    w->threads = threads;
    return SAE_OK;
fail:
    sae_lm_work_close(w);
    return rc;
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

void sae_lm_largest_group(const sae_contexts *c, int64_t most, int64_t *rows, int64_t *longest)
{
    *rows = *longest = 0;
    for (int64_t i = 0; i < c->N;) {
        sae_lm_group g = sae_lm_group_at(c, i, most);
        *rows = sae_lm_larger(*rows, g.rows);
        for (; i < g.c1; i++)
            *longest = sae_lm_larger(*longest, c->start[i + 1] - c->start[i]);
    }
}

int sae_lm_reserve_groups(sae_lm_model *m, const sae_contexts *c, int64_t most, sae_err *err)
{
    int64_t rows, longest;
    sae_lm_largest_group(c, most, &rows, &longest);
    return sae_lm_work_reserve(m, rows, longest, err);
}

void sae_lm_group_use(sae_lm_model *m, const sae_lm_group *g)
{
    int64_t first = g->past ? g->past->n : 0;
    for (int64_t c = g->c0; c < g->c1; c++)
        for (int64_t r = g->start[c]; r < g->start[c + 1]; r++)
            m->work.pos[r - g->row0] = (int32_t)(first + r - g->start[c]);
}
