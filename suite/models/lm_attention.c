/* suite/models/lm_attention.c - causal softmax attention, forward. */
#include "models/lm_attention_tiles.h"

#include <omp.h>

int64_t sae_lm_attention_room(const sae_lm_config *c, int64_t longest)
{
    int64_t padded = round_up(longest + LANES, LANES), head_pad = round_up(c->head, TILE);
    return padded * (c->head + head_pad + LANES) + LANES * (c->head + head_pad);
}

SAE_LM_CLONES
void sae_lm_attend(const span *a, sae_real *out, sae_real *own)
{
    vec *q = (vec *)own, *o = q + a->head, *s = o + a->head_pad;
    sae_real *k = (sae_real *)(s + a->padded), *v = k + a->padded * a->head;
    const sae_real *lane = (const sae_real *)o;
    pack_keys(a, a->k, k);
    pack_values(a, a->v, v);
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

span sae_lm_span(const sae_lm_config *c, int64_t layer, int64_t past, int64_t T)
{
    int64_t queries = c->heads / c->kv_heads, width = c->heads * c->head;
    return (span){
        .T = T,
        .past = past,
        .padded = span_padded(past, T),
        .head = c->head,
        .head_pad = round_up(c->head, TILE),
        .ld = sae_lm_qkv_width(c),
        .ld_kv = sae_lm_qkv_width(c),
        .ld_out = width,
        .queries = queries,
        .window = sae_lm_is_local(c, layer) ? c->window : INT64_MAX / 4,
        .scale = (sae_real)(c->attn_scale > 0 ? c->attn_scale : 1.0 / sqrt((double)c->head)),
        .cap = (sae_real)c->attn_cap,
    };
}

void sae_lm_attention(const sae_lm_model *m, const sae_lm_group *g, int64_t layer,
                      const sae_real *qkv, sae_real *out)
{
    const sae_lm_config *c = &m->cfg;
    int64_t room = sae_lm_attention_room(c, m->work.longest), width = c->heads * c->head;
    int64_t items = (g->c1 - g->c0) * c->kv_heads;
#pragma omp parallel for schedule(dynamic, 1)
    for (int64_t i = 0; i < items; i++) {
        int64_t context = g->c0 + i / c->kv_heads, kv = i % c->kv_heads;
        int64_t row = g->start[context] - g->row0;
        span a = sae_lm_span(c, layer, 0, g->start[context + 1] - g->start[context]);
        a.q = qkv + row * a.ld + kv * a.queries * c->head;
        a.k = qkv + row * a.ld + width + kv * c->head;
        a.v = a.k + c->kv_heads * c->head;
        sae_lm_attend(&a, out + row * width + kv * a.queries * c->head,
                      m->work.own + omp_get_thread_num() * room);
    }
}
