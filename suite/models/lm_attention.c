/* suite/models/lm_attention.c - causal softmax attention with rotary positions.
 *
 * The unit of work is one key/value head of one context, with the query heads that read it. Sixteen
 * consecutive queries are the lanes of a vector: scores, softmax and the weighted sum then run down
 * the keys without a horizontal step, whatever the width of a head. Keys and values are packed so
 * that the scalars that meet one vector lie side by side.
 */
#include "models/lm_math.h"

#include <math.h>
#include <omp.h>

enum { LANES = 16, TILE = 8 };

/* A clone for an instruction set is only as good as what is inlined into it. */
#define INLINE static inline __attribute__((always_inline))

typedef float vec __attribute__((vector_size(LANES * sizeof(float)), may_alias));

typedef struct span {
    int64_t T, padded;      /* positions, and up to a multiple of LANES */
    int64_t head, head_pad; /* width, and up to a multiple of TILE */
    int64_t ld, ld_out;
    const float *q, *k, *v; /* of the first position; q: the first query head */
    const float *rope;
    float *out;
    int64_t queries;        /* query heads of this key/value head */
    vec *qt, *s, *o;        /* [head], [padded], [head_pad] */
    float *kp, *vp;         /* [padded / TILE][head][TILE], [head_pad / TILE][padded][TILE] */
} span;

int64_t sae_lm_attention_room(const sae_lm_config *c, int64_t longest)
{
    int64_t padded = (longest + LANES - 1) / LANES * LANES;
    int64_t head_pad = (c->head + TILE - 1) / TILE * TILE;
    return padded * (c->head + head_pad + LANES) + LANES * (c->head + head_pad);
}

/* The place of (position, component) among the packed keys. */
INLINE float *key_at(const span *a, int64_t j, int64_t c)
{
    return a->kp + (j / TILE * a->head + c) * TILE + j % TILE;
}

INLINE void pack(const span *a)
{
    int64_t half = a->head / 2;
    memset(a->kp, 0, (size_t)(a->padded * a->head) * sizeof(float));
    memset(a->vp, 0, (size_t)(a->padded * a->head_pad) * sizeof(float));
    for (int64_t j = 0; j < a->T; j++) {
        const float *k = a->k + j * a->ld, *v = a->v + j * a->ld;
        const float *co = a->rope + j * a->head, *si = co + half;
        for (int64_t c = 0; c < half; c++) {
            *key_at(a, j, c) = k[c] * co[c] - k[half + c] * si[c];
            *key_at(a, j, half + c) = k[half + c] * co[c] + k[c] * si[c];
        }
        for (int64_t c = 0; c < a->head; c++)
            a->vp[(c / TILE * a->padded + j) * TILE + c % TILE] = v[c];
    }
}

/* Queries i0..i0+15 as lanes, rotated and scaled; lanes behind the end are zero. */
INLINE void load_queries(const span *a, const float *q, int64_t i0)
{
    int64_t half = a->head / 2;
    float scale = (float)(1.0 / sqrt((double)a->head));
    float *t = (float *)a->qt;
    memset(t, 0, (size_t)(a->head * LANES) * sizeof *t);
    for (int64_t l = 0; l < LANES && i0 + l < a->T; l++) {
        const float *x = q + (i0 + l) * a->ld, *co = a->rope + (i0 + l) * a->head, *si = co + half;
        for (int64_t c = 0; c < half; c++) {
            t[c * LANES + l] = (x[c] * co[c] - x[half + c] * si[c]) * scale;
            t[(half + c) * LANES + l] = (x[half + c] * co[c] + x[c] * si[c]) * scale;
        }
    }
}

/* s[j] = <k[j], q> for keys [0, n), n a multiple of TILE. */
INLINE void scores(const span *a, int64_t n)
{
    for (int64_t j = 0; j < n; j += TILE) {
        const float *k = a->kp + j * a->head;
        vec t[TILE] = {{0}};
        for (int64_t c = 0; c < a->head; c++)
#pragma GCC unroll 8
            for (int i = 0; i < TILE; i++)
                t[i] += k[c * TILE + i] * a->qt[c];
#pragma GCC unroll 8
        for (int i = 0; i < TILE; i++)
            a->s[j + i] = t[i];
    }
}

/* s = value where the key comes after the query. */
INLINE void fill_future(const span *a, int64_t i0, int64_t n, float value)
{
    float *s = (float *)a->s;
    for (int64_t j = i0; j < n; j++)
        for (int64_t l = 0; l < j - i0; l++)
            s[j * LANES + l] = value;
}

/* s = exp(s - max over the keys a query may see), 0 for the others. */
INLINE void exponentials(const span *a, int64_t i0, int64_t n)
{
    float *s = (float *)a->s, m[4 * LANES]; /* four keys at a time hide the latency of a maximum */
    fill_future(a, i0, n, -INFINITY);
    memcpy(m, s, sizeof m);
    for (int64_t j = 4; j < n; j += 4)
#pragma omp simd
        for (int l = 0; l < 4 * LANES; l++)
            m[l] = s[j * LANES + l] > m[l] ? s[j * LANES + l] : m[l];
    for (int k = 1; k < 4; k++)
#pragma omp simd
        for (int l = 0; l < LANES; l++)
            m[l] = m[k * LANES + l] > m[l] ? m[k * LANES + l] : m[l];
    for (int64_t j = 0; j < n; j++)
#pragma omp simd
        for (int l = 0; l < LANES; l++)
            s[j * LANES + l] = sae_lm_exp(s[j * LANES + l] - m[l]);
    fill_future(a, i0, n, 0);
}

/* o[c] = sum_j s[j] v[j, c] / sum_j s[j] */
INLINE void weighted_sum(const span *a, int64_t n)
{
    for (int64_t c = 0; c < a->head_pad; c += TILE) {
        const float *v = a->vp + c * a->padded;
        vec t[TILE] = {{0}}, sum = {0};
        for (int64_t j = 0; j < n; j++) {
            sum += a->s[j];
#pragma GCC unroll 8
            for (int i = 0; i < TILE; i++)
                t[i] += v[j * TILE + i] * a->s[j];
        }
#pragma GCC unroll 8
        for (int i = 0; i < TILE; i++)
            a->o[c + i] = t[i] / sum;
    }
}

SAE_LM_CLONES
static void attend(const span *a)
{
    pack(a);
    const float *o = (const float *)a->o;
    for (int64_t h = 0; h < a->queries; h++)
        for (int64_t i0 = 0; i0 < a->T; i0 += LANES) {
            load_queries(a, a->q + h * a->head, i0);
            scores(a, i0 + LANES);
            exponentials(a, i0, i0 + LANES);
            weighted_sum(a, i0 + LANES);
            for (int64_t l = 0; l < LANES && i0 + l < a->T; l++)
                for (int64_t c = 0; c < a->head; c++)
                    a->out[(i0 + l) * a->ld_out + h * a->head + c] = o[c * LANES + l];
        }
}

/* Key/value head `kv` of context `c` with the calling thread's scratch. */
static void attend_one(const sae_lm_model *m, const sae_lm_group *g, const float *qkv, float *out,
                       int64_t c, int64_t kv)
{
    const sae_lm_config *f = &m->cfg;
    int64_t row = g->start[c] - g->row0, T = g->start[c + 1] - g->start[c];
    int64_t queries = f->heads / f->kv_heads, width = f->heads * f->head;
    float *own = m->work.own + omp_get_thread_num() * sae_lm_attention_room(f, m->work.longest);
    span a = {
        .T = T,
        .padded = (T + LANES - 1) / LANES * LANES,
        .head = f->head,
        .head_pad = (f->head + TILE - 1) / TILE * TILE,
        .ld = width + 2 * f->kv_heads * f->head,
        .ld_out = width,
        .rope = m->rope,
        .queries = queries,
    };
    a.q = qkv + row * a.ld + kv * queries * f->head;
    a.k = qkv + row * a.ld + width + kv * f->head;
    a.v = a.k + f->kv_heads * f->head;
    a.out = out + row * width + kv * queries * f->head;
    a.qt = (vec *)own;
    a.o = a.qt + f->head;
    a.s = a.o + a.head_pad;
    a.kp = (float *)(a.s + a.padded);
    a.vp = a.kp + a.padded * f->head;
    attend(&a);
}

void sae_lm_attention(const sae_lm_model *m, const sae_lm_group *g, const float *qkv, float *out)
{
    int64_t heads = m->cfg.kv_heads, items = (g->c1 - g->c0) * heads;
#pragma omp parallel for schedule(dynamic, 1)
    for (int64_t i = 0; i < items; i++)
        attend_one(m, g, qkv, out, g->c0 + i / heads, i % heads);
}
