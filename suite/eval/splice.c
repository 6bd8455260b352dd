/* suite/eval/splice.c - language-model passes of an evaluation. */
#include "eval/splice.h"

#include "core/error.h"

#include <math.h>
#include <string.h>

enum { CLEAN, SPLICE, ZERO, MEAN, KL_SPLICE, KL_ZERO, ALWAYS };
enum { ZERO_ALL = ALWAYS, KL_ZERO_ALL, INSERT, KL_INSERT };

/* Rows of documents [first, first + count). */
static int64_t rows_of(const sae_splicer *s, int64_t first, int64_t count)
{
    const int64_t *start = s->v.docs->c.start;
    return start[first + count] - start[first];
}

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Documents from `first` that fit into cap rows; at least one while there are any. */
static int64_t group_size(const sae_splicer *s, int64_t first)
{
    int64_t left = s->v.docs->c.N - first, count = left > 0;
    while (count < left && rows_of(s, first, count + 1) <= s->cap)
        count++;
    return count;
}

static void lay_out(sae_arena *a, void *arg)
{
    sae_splicer *s = arg;
    s->start = sae_arena_take(a, s->v.docs->c.N + 1, sizeof *s->start);
    s->kept_row = sae_arena_take(a, s->cap, sizeof *s->kept_row);
    s->position = sae_arena_take(a, s->cap, sizeof *s->position);
    s->tok = sae_arena_take(a, s->cap, sizeof *s->tok);
    s->kept_at = sae_arena_take(a, s->cap, sizeof *s->kept_at);
    s->gathered = sae_arena_take(a, s->cap, sizeof *s->gathered);
    for (int i = 0; i < 2; i++)
        s->top[i] = sae_arena_take(a, s->cap, sizeof *s->top[i]);
    s->mix = sae_arena_take(a, s->cap, (size_t)(s->d > s->d_in ? s->d : s->d_in) * sizeof *s->mix);
    s->logprob = sae_arena_take(a, s->cap, (size_t)s->vocab * sizeof *s->logprob);
    for (int i = 0; i < ALWAYS; i++)
        s->loss[i] = sae_arena_take(a, s->cap, sizeof *s->loss[i]);
    for (int i = ZERO_ALL; s->zero_all && i <= KL_ZERO_ALL; i++)
        s->loss[i] = sae_arena_take(a, s->cap, sizeof *s->loss[i]);
    s->batch_row = sae_arena_take(a, s->cap, sizeof *s->batch_row);
    s->next_token = sae_arena_take(a, s->cap, sizeof *s->next_token);
    if (!s->insert.self)
        return;
    for (int i = INSERT; i <= KL_INSERT; i++)
        s->loss[i] = sae_arena_take(a, s->cap, sizeof *s->loss[i]);
    s->grad = sae_arena_take(a, s->cap, (size_t)s->d * sizeof *s->grad);
    s->expect = sae_arena_take(a, s->cap, sizeof *s->expect);
}

static int insert(void *self, const sae_real *x, const sae_insert_out *out);

int sae_splicer_open(sae_splicer *s, const sae_lm_view *v, const double *mean,
                     const sae_splicer_shape *shape, sae_err *err)
{
    memset(s, 0, sizeof *s);
    s->zero_all = shape->zero_all;
    s->insert.self = shape->inserts ? s : NULL;
    s->v = *v;
    s->mean = mean;
    s->d_in = shape->d_in;
    s->d = shape->d;
    s->err = err;
    s->vocab = v->lm->vocab;
    s->cap = least(shape->budget, least(SAE_SPLICE_CELLS / s->vocab, rows_of(s, 0, v->docs->c.N)));
    for (int64_t i = 0; i < v->docs->c.N; i++)
        s->cap = rows_of(s, i, 1) > s->cap ? rows_of(s, i, 1) : s->cap;
    SAE_TRY(sae_arena_open(&s->memory, lay_out, s, "language-model losses", err));
    s->out = (sae_splice){.tok = s->tok,
                          .ce_clean = s->loss[CLEAN],
                          .ce_splice = s->loss[SPLICE],
                          .ce_zero = s->loss[ZERO],
                          .ce_mean = s->loss[MEAN],
                          .kl_splice = s->loss[KL_SPLICE],
                          .kl_zero = s->loss[KL_ZERO],
                          .kept = s->kept_at,
                          .top_clean = s->top[0],
                          .top_splice = s->top[1],
                          .ce_zero_all = s->loss[ZERO_ALL],
                          .kl_zero_all = s->loss[KL_ZERO_ALL]};
    s->insert = (sae_insert){.vocab = s->vocab,
                             .at = s->position,
                             .row = s->batch_row,
                             .next = s->next_token,
                             .logprob = s->logprob,
                             .self = s->insert.self,
                             .run = insert};
    return SAE_OK;
}

void sae_splicer_close(sae_splicer *s)
{
    if (s->pass)
        s->v.lm->end(&s->pass);
    sae_arena_close(&s->memory);
    memset(s, 0, sizeof *s);
}

/* The next position is row r of the group. */
static void add_position(sae_splicer *s, int64_t r, const sae_token *t, int kept)
{
    int64_t p = s->out.P++;
    s->position[p] = r;
    s->tok[p] = *t;
    s->kept_at[p] = (unsigned char)kept;
    s->batch_row[p] = kept ? s->kept : -1;
}

/* Tokens and labels of the group's rows: which SAEs see, which predict a token. The positions that
 * predict none, the last of every document, come behind the others. */
static void index_rows(sae_splicer *s, int64_t first, int64_t count, const sae_fill *to)
{
    const sae_docs *docs = s->v.docs;
    const int64_t row0 = docs->c.start[first];
    s->kept = s->out.P = 0;
    for (int last = 0; last < 2; last++) {
        for (int64_t i = 0; i < count; i++)
            for (int64_t r = s->start[i]; r < s->start[i + 1]; r++) {
                int32_t id = docs->c.tok[row0 + r];
                int kept = !s->v.exclude || !s->v.exclude[id];
                sae_token t = {docs->doc[first + i], (uint32_t)(r - s->start[i]), (uint32_t)id};
                if ((r + 1 == s->start[i + 1]) == last)
                    add_position(s, r, &t, kept);
                if (!last && kept) {
                    to->tok[s->kept] = t;
                    if (to->label)
                        memcpy(to->label + s->kept * docs->labels,
                               docs->label + (row0 + r) * docs->labels,
                               (size_t)docs->labels * sizeof *to->label);
                    s->kept_row[s->kept++] = r;
                }
            }
        s->out.T = last ? s->out.T : s->out.P;
    }
    for (int64_t t = 0; t < s->out.T; t++)
        s->next_token[t] = docs->c.tok[row0 + s->position[t] + 1];
}

/* Per-row results of a pass to per-position results. */
static void gather(const sae_splicer *s, double *result)
{
    for (int64_t p = 0; p < s->out.P; p++)
        s->gathered[p] = result[s->position[p]];
    memcpy(result, s->gathered, (size_t)s->out.P * sizeof *result);
}

static void gather_top(const sae_splicer *s, int32_t *top)
{
    for (int64_t p = 0; p < s->out.P; p++)
        s->gathered[p] = top[s->position[p]];
    for (int64_t p = 0; p < s->out.P; p++)
        top[p] = (int32_t)s->gathered[p];
}

/* Finish the pass with `mix` and collect its losses; kl < 0, top NULL: not wanted. */
static int finish_mix(sae_splicer *s, int ce, int kl, int32_t *top, sae_err *err)
{
    sae_lm_out out = {.ce = s->loss[ce],
                      .ref = kl >= 0 ? s->logprob : NULL,
                      .kl = kl >= 0 ? s->loss[kl] : NULL,
                      .top = top};
    SAE_TRY(s->v.lm->finish(s->pass, s->mix, &out, err));
    gather(s, s->loss[ce]);
    if (kl >= 0)
        gather(s, s->loss[kl]);
    if (top)
        gather_top(s, top);
    return SAE_OK;
}

/* Kept rows of a matrix over the group's rows. */
static void keep(const sae_splicer *s, const float *all, int64_t d, sae_real *kept)
{
    for (int64_t i = 0; i < s->kept; i++)
        for (int64_t c = 0; c < d; c++)
            kept[i * d + c] = all[s->kept_row[i] * d + c];
}

/* The unchanged model: rows for the SAEs, reference log-probabilities, gradient if wanted. */
static int finish_clean(sae_splicer *s, sae_real *x, sae_real *g, sae_err *err)
{
    sae_lm_out out = {
        .ce = s->loss[CLEAN], .logprob = s->logprob, .grad = g ? s->mix : NULL, .top = s->top[0]};
    SAE_TRY(s->v.lm->finish(s->pass, NULL, &out, err));
    gather(s, s->loss[CLEAN]);
    gather_top(s, s->top[0]);
    for (int64_t t = 0; t < s->out.T; t++)
        if (!isfinite(s->loss[CLEAN][t]))
            SAE_FAIL(err, SAE_ENONFINITE,
                     "the language model's own loss is %g at a token of the evaluation documents",
                     s->loss[CLEAN][t]);
    keep(s, s->v.lm->acts(s->pass), s->d_in, x);
    if (g)
        keep(s, s->mix, s->d_in, g);
    return SAE_OK;
}

/* To the place where rows are replaced; mix becomes what the model has there. */
static int reach_target(sae_splicer *s, sae_real *y, sae_err *err)
{
    if (s->v.target)
        SAE_TRY(s->v.lm->advance(s->pass, s->v.target, err));
    const float *acts = s->v.lm->acts(s->pass);
    if (s->v.target)
        keep(s, acts, s->d, y);
    memcpy(s->mix, acts, (size_t)(s->rows * s->d) * sizeof *acts);
    return SAE_OK;
}

/* Kept rows of mix become the given row, NULL: zero. */
static void ablate(sae_splicer *s, const double *row)
{
    for (int64_t i = 0; i < s->kept; i++)
        for (int64_t c = 0; c < s->d; c++)
            s->mix[s->kept_row[i] * s->d + c] = row ? (float)row[c] : 0.0f;
}

/* Leaves excluded rows of mix as they were: passes after this one read them. */
static int zero_all(sae_splicer *s, sae_err *err)
{
    memset(s->mix, 0, (size_t)(s->rows * s->d) * sizeof *s->mix);
    SAE_TRY(finish_mix(s, ZERO_ALL, KL_ZERO_ALL, NULL, err));
    memcpy(s->mix, s->v.lm->acts(s->pass), (size_t)(s->rows * s->d) * sizeof *s->mix);
    return SAE_OK;
}

int sae_splicer_next(sae_splicer *s, const sae_fill *to, sae_err *err)
{
    const sae_contexts *c = &s->v.docs->c;
    int64_t first = s->next, count = group_size(s, first);
    s->v.lm->end(&s->pass);
    if (count == 0)
        return SAE_DONE;
    for (int64_t i = 0; i <= count; i++)
        s->start[i] = c->start[first + i] - c->start[first];
    s->rows = s->start[count];
    s->next = first + count;
    s->insert.rows = s->rows;
    index_rows(s, first, count, to);
    sae_contexts group = {count, s->start, c->tok + c->start[first]};
    SAE_TRY(s->v.lm->begin(s->v.lm->self, s->v.hook, &group, &s->pass, err));
    if (s->rows_only && !to->g)
        keep(s, s->v.lm->acts(s->pass), s->d_in, to->x);
    else
        SAE_TRY(finish_clean(s, to->x, to->g, err));
    SAE_TRY(reach_target(s, to->y, err));
    if (s->rows_only || s->clean_only)
        return SAE_OK;
    ablate(s, NULL);
    SAE_TRY(finish_mix(s, ZERO, KL_ZERO, NULL, err));
    ablate(s, s->mean);
    SAE_TRY(finish_mix(s, MEAN, -1, NULL, err));
    return s->zero_all ? zero_all(s, err) : SAE_OK;
}

/* The kept rows of mix become x [kept x d]. */
static void replace(sae_splicer *s, const sae_real *x)
{
    for (int64_t i = 0; i < s->kept; i++)
        for (int64_t c = 0; c < s->d; c++)
            s->mix[s->kept_row[i] * s->d + c] = (float)x[i * s->d + c];
}

int sae_splicer_splice(sae_splicer *s, const sae_real *xhat, sae_err *err)
{
    replace(s, xhat);
    return finish_mix(s, SPLICE, KL_SPLICE, s->top[1], err);
}

/* sae_insert.run: the caller's arrays hold scored tokens, passes give one value per row. */
static int insert(void *self, const sae_real *x, const sae_insert_out *want)
{
    sae_splicer *s = self;
    sae_lm_out out = {.ce = want->ce ? s->loss[INSERT] : NULL,
                      .kl = want->kl ? s->loss[KL_INSERT] : NULL,
                      .ref = want->kl ? s->logprob : NULL,
                      .logprob = want->logprob,
                      .grad = want->grad ? s->grad : NULL};
    if (want->expect) {
        memset(s->expect, -1, (size_t)s->rows * sizeof *s->expect);
        for (int64_t t = 0; t < s->out.T; t++)
            s->expect[s->position[t]] = want->expect[t];
        out.expect = s->expect;
    }
    replace(s, x);
    SAE_TRY(s->v.lm->finish(s->pass, s->mix, &out, s->err));
    for (int64_t t = 0; t < s->out.T; t++) {
        if (want->ce)
            want->ce[t] = out.ce[s->position[t]];
        if (want->kl)
            want->kl[t] = out.kl[s->position[t]];
    }
    if (want->grad)
        keep(s, s->grad, s->d, want->grad);
    return SAE_OK;
}
