/* suite/models/lm_attention.c - causal softmax attention, forward. */
#include "models/lm_attention_tiles.h"

#include <omp.h>

enum { SHORT = 64 }; /* positions that one thread is done with before others are awake */

/* Elements of scratch of one thread. */
static int64_t room_of(const sae_lm_heads *h, int64_t longest)
{
    int64_t padded = round_up(longest + LANES, LANES), head_pad = round_up(h->head, TILE);
    return padded * (h->head + head_pad + LANES) + LANES * (h->head + head_pad);
}

int64_t sae_lm_host_attention_room(const sae_lm_heads *h, int64_t rows, int64_t longest, int back)
{
    (void)rows;
    return omp_get_max_threads() * (back ? sae_lm_back_room(h, longest) : room_of(h, longest));
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

/* The same behind a past: its keys and values lie packed in k and v, the new ones join them. Values
 * behind the end meet weights of 0: they must be finite. Scores there are written over. */
SAE_LM_CLONES
static void attend_behind(const span *a, sae_real *k, sae_real *v, sae_real *out, sae_real *own)
{
    int64_t n = a->past + a->T, end = end_key(a, (a->T - 1) / LANES * LANES);
    for (int64_t j = 0; j < a->T; j++) {
        put_key(a, a->past + j, a->k + j * a->ld, k);
        put_value(a, a->past + j, a->v + j * a->ld, v);
    }
    for (int64_t c = 0; c < a->head_pad; c += TILE)
        memset(v + c * a->padded + n * TILE, 0, (size_t)((end - n) * TILE) * sizeof *v);
    attend_packed(a, k, v, out, (vec *)own);
}

span sae_lm_span(const sae_lm_heads *h, int64_t T)
{
    return (span){
        .T = T,
        .padded = round_up(T, LANES),
        .head = h->head,
        .head_pad = round_up(h->head, TILE),
        .ld = (h->heads + 2 * h->kv_heads) * h->head,
        .ld_out = h->heads * h->head,
        .queries = h->heads / h->kv_heads,
        .window = h->window,
        .scale = (sae_real)h->scale,
        .cap = (sae_real)h->cap,
    };
}

int sae_lm_host_attention(sae_device *dev, const sae_lm_heads *h, const sae_lm_rows *g,
                          const sae_lm_past *past, const sae_real *qkv, sae_real *out,
                          sae_real *room)
{
    int64_t first = past ? past->n : 0, width = h->heads * h->head, items = g->N * h->kv_heads;
    int64_t each = room_of(h, first + g->longest);
    (void)dev;
#pragma omp parallel for schedule(dynamic, 1) if (!past || first + g->rows > SHORT)
    for (int64_t i = 0; i < items; i++) {
        int64_t context = i / h->kv_heads, kv = i % h->kv_heads, row = g->start[context];
        span a = sae_lm_span(h, g->start[context + 1] - row);
        sae_real *o = out + row * width + kv * a.queries * a.head;
        sae_real *own = room + omp_get_thread_num() * each;
        a.q = qkv + row * a.ld + kv * a.queries * a.head;
        a.k = qkv + row * a.ld + width + kv * a.head;
        a.v = a.k + h->kv_heads * a.head;
        if (!past) {
            attend(&a, o, own);
            continue;
        }
        a.past = first;
        a.padded = past->padded;
        attend_behind(&a, past->k + kv * a.padded * a.head, past->v + kv * a.padded * a.head_pad,
                      o, own);
    }
    return SAE_OK;
}
