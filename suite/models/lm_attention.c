/* suite/models/lm_attention.c - causal softmax attention, forward. */
#include "core/memory.h"
#include "models/lm_attention_tiles.h"

#include <omp.h>

enum { SHORT = 64 }; /* positions that one thread is done with before others are awake */

int64_t sae_lm_attention_room(const sae_lm_config *c, int64_t longest)
{
    int64_t padded = round_up(longest + LANES, LANES), head_pad = round_up(c->head, TILE);
    return padded * (c->head + head_pad + LANES) + LANES * (c->head + head_pad);
}

/* out [T x ld_out] of its query heads from packed keys and values; `own` holds a query block. */
SAE_LM_INLINE void attend_packed(const span *a, const sae_real *k, const sae_real *v, sae_real *out,
                                 vec *own)
{
    vec *q = own, *o = q + a->head, *s = o + a->head_pad;
    const sae_real *lane = (const sae_real *)o;
    for (int64_t h = 0; h < a->queries; h++)
        for (int64_t i0 = 0; i0 < a->T; i0 += LANES) {
            int64_t first = first_key(a, i0), end = end_key(a, i0);
            load_lanes(a, a->q + h * a->head, a->ld, i0, a->scale, q);
            scores(a, k, q, first, end, s);
            if (a->cap > 0)
                sae_lm_cap((end - first) * LANES, (double)a->cap, (sae_real *)(s + first));
            exponentials(a, i0, first, end, s);
            vec sum;
            sum_of(s, first, end, &sum);
            weighted_sum(a, v, s, first, end, o);
            for (int64_t c = 0; c < a->head; c++)
                o[c] /= sum;
            for (int64_t l = 0; l < LANES && i0 + l < a->T; l++)
                for (int64_t c = 0; c < a->head; c++)
                    out[(i0 + l) * a->ld_out + h * a->head + c] = lane[c * LANES + l];
        }
}

SAE_LM_CLONES
static void attend(const span *a, sae_real *out, sae_real *own)
{
    sae_real *k = own + (a->head + a->head_pad + a->padded) * LANES, *v = k + a->padded * a->head;
    pack_keys(a, a->k, k);
    pack_values(a, a->v, v);
    attend_packed(a, k, v, out, (vec *)own);
}

/* The same behind a past: its keys and values lie packed in k and v, the new ones join them. */
SAE_LM_CLONES
static void attend_behind(const span *a, sae_real *k, sae_real *v, sae_real *out, sae_real *own)
{
    for (int64_t j = 0; j < a->T; j++) {
        put_key(a, a->past + j, a->k + j * a->ld, k);
        put_value(a, a->past + j, a->v + j * a->ld, v);
    }
    attend_packed(a, k, v, out, (vec *)own);
}

span sae_lm_span(const sae_lm_config *c, int64_t layer, int64_t T)
{
    int64_t queries = c->heads / c->kv_heads, width = c->heads * c->head;
    return (span){
        .T = T,
        .padded = round_up(T, LANES),
        .head = c->head,
        .head_pad = round_up(c->head, TILE),
        .ld = sae_lm_qkv_width(c),
        .ld_out = width,
        .queries = queries,
        .window = sae_lm_is_local(c, layer) ? c->window : INT64_MAX / 4,
        .scale = (sae_real)(c->attn_scale > 0 ? c->attn_scale : 1.0 / sqrt((double)c->head)),
        .cap = (sae_real)c->attn_cap,
    };
}

/* ---- the past -------------------------------------------------------------------------------- */

int sae_lm_cache_open(sae_lm_cache *a, const sae_lm_config *c, int64_t longest, sae_err *err)
{
    int64_t heads = c->layers * c->kv_heads;
    *a = (sae_lm_cache){.padded = round_up(longest + LANES, LANES)};
    int rc = sae_new(&a->k, heads * a->padded * c->head, sizeof *a->k, "lm.cache", err);
    if (rc >= 0)
        rc = sae_new(&a->v, heads * a->padded * round_up(c->head, TILE), sizeof *a->v, "lm.cache",
                     err);
    if (rc < 0)
        sae_lm_cache_close(a);
    return rc;
}

void sae_lm_cache_close(sae_lm_cache *a)
{
    sae_free(a->k);
    sae_free(a->v);
    *a = (sae_lm_cache){0};
}

/* Values behind the end meet weights of 0: they must be finite. Scores there are written over. */
void sae_lm_cache_cut(sae_lm_cache *a, const sae_lm_config *c, int64_t n)
{
    if (n >= a->n)
        return;
    size_t bytes = (size_t)((a->n - n) * TILE) * sizeof *a->v;
    int64_t panels = c->layers * c->kv_heads * (round_up(c->head, TILE) / TILE);
    for (int64_t i = 0; i < panels; i++)
        memset(a->v + (i * a->padded + n) * TILE, 0, bytes);
    a->n = n;
}

void sae_lm_attention(const sae_lm_model *m, const sae_lm_group *g, int64_t layer,
                      const sae_real *qkv, sae_real *out)
{
    const sae_lm_config *c = &m->cfg;
    const sae_lm_cache *past = g->past;
    int64_t room = sae_lm_attention_room(c, m->work.longest), width = c->heads * c->head;
    int64_t items = (g->c1 - g->c0) * c->kv_heads;
#pragma omp parallel for schedule(dynamic, 1) if (!past || past->n + g->rows > SHORT)
    for (int64_t i = 0; i < items; i++) {
        int64_t context = g->c0 + i / c->kv_heads, kv = i % c->kv_heads;
        int64_t row = g->start[context] - g->row0, head = layer * c->kv_heads + kv;
        span a = sae_lm_span(c, layer, g->start[context + 1] - g->start[context]);
        sae_real *o = out + row * width + kv * a.queries * c->head;
        sae_real *own = m->work.own + omp_get_thread_num() * room;
        a.q = qkv + row * a.ld + kv * a.queries * c->head;
        a.k = qkv + row * a.ld + width + kv * c->head;
        a.v = a.k + c->kv_heads * c->head;
        if (!past) {
            attend(&a, o, own);
            continue;
        }
        a.past = past->n;
        a.padded = past->padded;
        attend_behind(&a, past->k + head * a.padded * a.head,
                      past->v + head * a.padded * a.head_pad, o, own);
    }
}
