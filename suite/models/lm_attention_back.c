/* suite/models/lm_attention_back.c - causal softmax attention, backward.
 *
 * The weights p are computed again from queries and keys. With dp = <do, v> and D = <do, o>, the
 * gradient of a score is p (dp - D), times 1 - (s / cap)^2 where scores are capped.
 */
#include "models/lm_attention_tiles.h"

#include <omp.h>

/* Scratch of one key/value head. */
typedef struct scratch {
    vec *q, *o, *dout, *dq;        /* [head_pad] lanes of the block of queries */
    vec *s, *p, *dp;               /* [padded] capped scores, weights, their gradients */
    sae_real *keys, *values;       /* packed for scores() */
    sae_real *key_rows;            /* keys packed for weighted_sum() */
    vec *q_row, *dout_row;         /* [LANES][head_vecs] the same block, one query after another */
    vec *dk, *dv;                  /* [padded][head_vecs] sums over queries */
    int64_t head_vecs;
} scratch;

int64_t sae_lm_back_room(const sae_lm_heads *c, int64_t longest)
{
    int64_t padded = round_up(longest + LANES, LANES), head_pad = round_up(c->head, TILE);
    int64_t lanes = 4 * head_pad + 3 * padded, head_vecs = round_up(c->head, LANES);
    return lanes * LANES + padded * (2 * c->head + head_pad) + 2 * LANES * head_vecs +
           2 * padded * head_vecs;
}

SAE_LM_INLINE scratch cut(const span *a, sae_real *own)
{
    scratch w = {.head_vecs = round_up(a->head, LANES) / LANES};
    w.q = (vec *)own;
    w.o = w.q + a->head_pad;
    w.dout = w.o + a->head_pad;
    w.dq = w.dout + a->head_pad;
    w.s = w.dq + a->head_pad;
    w.p = w.s + a->padded;
    w.dp = w.p + a->padded;
    w.q_row = w.dp + a->padded;
    w.dout_row = w.q_row + LANES * w.head_vecs;
    w.dk = w.dout_row + LANES * w.head_vecs;
    w.dv = w.dk + a->padded * w.head_vecs;
    w.keys = (sae_real *)(w.dv + a->padded * w.head_vecs);
    w.values = w.keys + a->padded * a->head;
    w.key_rows = w.values + a->padded * a->head;
    return w;
}

/* Lanes [head] as rows of 16 queries, padded with zeros. */
SAE_LM_INLINE void transpose(const span *a, const scratch *w, const vec *lanes, vec *rows)
{
    const sae_real *x = (const sae_real *)lanes;
    sae_real *out = (sae_real *)rows;
    memset(out, 0, (size_t)(LANES * LANES * w->head_vecs) * sizeof *out);
    for (int64_t l = 0; l < LANES; l++)
        for (int64_t c = 0; c < a->head; c++)
            out[l * w->head_vecs * LANES + c] = x[c * LANES + l];
}

/* sum[j] += sum over lanes l of s[j][l] row[l] */
SAE_LM_INLINE void add_rows(const scratch *w, const vec *sv, const vec *rows, int64_t first,
                            int64_t end, vec *sum)
{
    const sae_real *s = (const sae_real *)sv;
    for (int64_t j = first; j < end; j += TILE)
        for (int64_t h = 0; h < w->head_vecs; h++) {
            vec t[TILE] = {{0}};
            for (int64_t l = 0; l < LANES; l++)
#pragma GCC unroll 8
                for (int i = 0; i < TILE; i++)
                    t[i] += s[(j + i) * LANES + l] * rows[l * w->head_vecs + h];
#pragma GCC unroll 8
            for (int i = 0; i < TILE; i++)
                sum[(j + i) * w->head_vecs + h] += t[i];
        }
}

/* p and s of a block of queries, and dp = the gradient of the scores before the cap. */
SAE_LM_INLINE void score_grads(const span *a, const scratch *w, int64_t i0, int64_t first,
                               int64_t end)
{
    scores(a, w->keys, w->q, first, end, w->s);
    if (a->cap > 0)
        sae_lm_cap((end - first) * LANES, (double)a->cap, (sae_real *)(w->s + first));
    memcpy(w->p + first, w->s + first, (size_t)(end - first) * sizeof *w->p);
    exponentials(a, i0, first, end, w->p);
    vec sum, along = {0};
    sum_of(w->p, first, end, &sum);
    scores(a, w->values, w->dout, first, end, w->dp);
    for (int64_t c = 0; c < a->head; c++)
        along += w->dout[c] * w->o[c];
    sae_real per_cap = a->cap > 0 ? 1 / a->cap : 0;
    for (int64_t j = first; j < end; j++) {
        vec t = w->s[j] * per_cap;
        w->p[j] /= sum;
        w->dp[j] = w->p[j] * (w->dp[j] - along) * (1 - t * t);
    }
}

typedef struct gradients { /* of one key/value head */
    const sae_real *out, *dout; /* of the first query head, ld a->ld_out */
    sae_real *dq, *dk, *dv;     /* as a->q, a->k, a->v */
} gradients;

/* The block of queries at i0 of query head h: writes their gradients, adds to dk and dv. */
SAE_LM_INLINE void block_back(const span *a, const scratch *w, const gradients *d, int64_t h,
                              int64_t i0)
{
    int64_t first = first_key(a, i0), end = end_key(a, i0);
    const sae_real *lane = (const sae_real *)w->dq;
    load_lanes(a, a->q + h * a->head, a->ld, i0, a->scale, w->q);
    load_lanes(a, d->out + h * a->head, a->ld_out, i0, 1, w->o);
    load_lanes(a, d->dout + h * a->head, a->ld_out, i0, 1, w->dout);
    score_grads(a, w, i0, first, end);
    weighted_sum(a, w->key_rows, w->dp, first, end, w->dq);
    for (int64_t l = 0; l < LANES && i0 + l < a->T; l++)
        for (int64_t c = 0; c < a->head; c++)
            d->dq[(i0 + l) * a->ld + h * a->head + c] = lane[c * LANES + l] * a->scale;
    transpose(a, w, w->q, w->q_row);
    transpose(a, w, w->dout, w->dout_row);
    add_rows(w, w->dp, w->q_row, first, end, w->dk);
    add_rows(w, w->p, w->dout_row, first, end, w->dv);
}

SAE_LM_CLONES
static void attend_back(const span *a, const gradients *d, sae_real *own)
{
    scratch w = cut(a, own);
    pack_keys(a, a->k, w.keys);
    pack_keys(a, a->v, w.values);
    pack_values(a, a->k, w.key_rows);
    memset(w.dk, 0, (size_t)(2 * a->padded * w.head_vecs) * sizeof *w.dk);
    for (int64_t h = 0; h < a->queries; h++)
        for (int64_t i0 = 0; i0 < a->T; i0 += LANES)
            block_back(a, &w, d, h, i0);
    const sae_real *dk = (const sae_real *)w.dk, *dv = (const sae_real *)w.dv;
    for (int64_t j = 0; j < a->T; j++)
        for (int64_t c = 0; c < a->head; c++) {
            d->dk[j * a->ld + c] = dk[j * w.head_vecs * LANES + c];
            d->dv[j * a->ld + c] = dv[j * w.head_vecs * LANES + c];
        }
}

int sae_lm_host_attention_back(sae_device *dev, const sae_lm_heads *h, const sae_lm_rows *g,
                               const sae_real *qkv, const sae_real *out, const sae_real *dout,
                               sae_real *dqkv, sae_real *room)
{
    int64_t width = h->heads * h->head, items = g->N * h->kv_heads;
    int64_t each = sae_lm_back_room(h, g->longest);
    (void)dev;
#pragma omp parallel for schedule(dynamic, 1)
    for (int64_t i = 0; i < items; i++) {
        int64_t context = i / h->kv_heads, kv = i % h->kv_heads, row = g->start[context];
        span a = sae_lm_span(h, g->start[context + 1] - row);
        int64_t q = row * a.ld + kv * a.queries * a.head, k = row * a.ld + width + kv * a.head;
        int64_t v = k + h->kv_heads * a.head, o = row * width + kv * a.queries * a.head;
        a.q = qkv + q;
        a.k = qkv + k;
        a.v = qkv + v;
        gradients d = {out + o, dout + o, dqkv + q, dqkv + k, dqkv + v};
        attend_back(&a, &d, room + omp_get_thread_num() * each);
    }
    return SAE_OK;
}
