/* suite/models/lm_attention_tiles.h - the inner loops of attention, forward and backward.
 *
 * The unit of work is one key/value head of one context, with the query heads that read it. Sixteen
 * consecutive queries are the lanes of a vector: scores, softmax and the weighted sum then run down
 * the keys without a horizontal step, whatever the width of a head. Keys and values are packed so
 * that the scalars that meet one vector lie side by side. Keys that a query does not see contribute
 * exact zeros, so a lane's result does not depend on which queries share its vector.
 */
#ifndef SAE_MODELS_LM_ATTENTION_TILES_H
#define SAE_MODELS_LM_ATTENTION_TILES_H

#include "models/lm_math.h"

enum { LANES = 16, TILE = 8 };

typedef sae_real vec __attribute__((vector_size(LANES * sizeof(sae_real)), may_alias));

static inline int64_t round_up(int64_t n, int64_t to)
{
    return (n + to - 1) / to * to;
}

/* Backward: elements of scratch of one thread. */
int64_t sae_lm_back_room(const sae_lm_heads *h, int64_t longest);

/* The queries and keys of one context and one key/value head: `past` keys come before the key of
 * the first query. */
typedef struct span {
    int64_t T, past, padded; /* queries; keys rounded up: room for whole blocks of queries */
    int64_t head, head_pad;  /* width, and up to a multiple of TILE */
    int64_t ld, ld_out;
    const sae_real *q, *k, *v; /* q: the first query head; k, v: those of the first query's row */
    int64_t queries;           /* query heads of this key/value head */
    int64_t window;            /* keys a query sees */
    sae_real scale, cap;       /* cap 0: none */
} span;

/* A span of T queries without a past, for rows of stacked queries, keys and values; the caller sets
 * q, k and v. */
span sae_lm_span(const sae_lm_heads *h, int64_t T);

/* First key that a query of the block at i0 sees, down to a multiple of TILE; and the end. */
SAE_LM_INLINE int64_t first_key(const span *a, int64_t i0)
{
    int64_t first = a->past + i0 - a->window + 1;
    return first > 0 ? first / TILE * TILE : 0;
}
SAE_LM_INLINE int64_t end_key(const span *a, int64_t i0)
{
    return round_up(a->past + i0 + LANES, TILE);
}

/* Packed keys, the scalars of scores(): [padded / TILE][head][TILE], as in sae_lm_past. */
SAE_LM_INLINE void put_key(const span *a, int64_t j, const sae_real *x, sae_real *packed)
{
    for (int64_t c = 0; c < a->head; c++)
        packed[(j / TILE * a->head + c) * TILE + j % TILE] = x[c];
}

/* Packed values, the scalars of weighted_sum(): [head_pad / TILE][padded][TILE], likewise. */
SAE_LM_INLINE void put_value(const span *a, int64_t j, const sae_real *x, sae_real *packed)
{
    for (int64_t c = 0; c < a->head; c++)
        packed[(c / TILE * a->padded + j) * TILE + c % TILE] = x[c];
}

SAE_LM_INLINE void pack_keys(const span *a, const sae_real *x, sae_real *out)
{
    memset(out, 0, (size_t)(a->padded * a->head) * sizeof *out);
    for (int64_t j = 0; j < a->T; j++)
        put_key(a, j, x + j * a->ld, out);
}

SAE_LM_INLINE void pack_values(const span *a, const sae_real *x, sae_real *out)
{
    memset(out, 0, (size_t)(a->padded * a->head_pad) * sizeof *out);
    for (int64_t j = 0; j < a->T; j++)
        put_value(a, j, x + j * a->ld, out);
}

/* Rows i0..i0+15 of x as lanes, times scale; lanes behind the end are zero. */
SAE_LM_INLINE void load_lanes(const span *a, const sae_real *x, int64_t ld, int64_t i0,
                              sae_real scale, vec *out)
{
    sae_real *t = (sae_real *)out;
    memset(t, 0, (size_t)(a->head * LANES) * sizeof *t);
    for (int64_t l = 0; l < LANES && i0 + l < a->T; l++)
        for (int64_t c = 0; c < a->head; c++)
            t[c * LANES + l] = x[(i0 + l) * ld + c] * scale;
}

/* s[j] = <k[j], q> for keys [first, end), multiples of TILE. */
SAE_LM_INLINE void scores(const span *a, const sae_real *packed, const vec *q, int64_t first,
                          int64_t end, vec *s)
{
    for (int64_t j = first; j < end; j += TILE) {
        const sae_real *k = packed + j * a->head;
        vec t[TILE] = {{0}};
        for (int64_t c = 0; c < a->head; c++)
#pragma GCC unroll 8
            for (int i = 0; i < TILE; i++)
                t[i] += k[c * TILE + i] * q[c];
#pragma GCC unroll 8
        for (int i = 0; i < TILE; i++)
            s[j + i] = t[i];
    }
}

/* s = value where a query does not see the key: it comes later, or before its window. */
SAE_LM_INLINE void fill_unseen(const span *a, int64_t i0, int64_t first, int64_t end,
                               sae_real value, vec *sv)
{
    sae_real *s = (sae_real *)sv;
    int64_t at = a->past + i0;
    for (int64_t j = at; j < end; j++)
        for (int64_t l = 0; l < j - at && l < LANES; l++)
            s[j * LANES + l] = value;
    for (int64_t j = first; j < at + LANES - a->window; j++)
        for (int64_t l = j - at + a->window > 0 ? j - at + a->window : 0; l < LANES; l++)
            s[j * LANES + l] = value;
}

/* s = exp(s - max over the keys a query sees), 0 for the others. */
SAE_LM_INLINE void exponentials(const span *a, int64_t i0, int64_t first, int64_t end, vec *sv)
{
    sae_real *s = (sae_real *)sv, m[4 * LANES]; /* four keys at a time hide a maximum's latency */
    fill_unseen(a, i0, first, end, -INFINITY, sv);
    memcpy(m, s + first * LANES, sizeof m);
    for (int64_t j = first + 4; j < end; j += 4)
#pragma omp simd
        for (int l = 0; l < 4 * LANES; l++)
            m[l] = s[j * LANES + l] > m[l] ? s[j * LANES + l] : m[l];
    for (int k = 1; k < 4; k++)
#pragma omp simd
        for (int l = 0; l < LANES; l++)
            m[l] = m[k * LANES + l] > m[l] ? m[k * LANES + l] : m[l];
    for (int64_t j = first; j < end; j++)
#pragma omp simd
        for (int l = 0; l < LANES; l++)
            s[j * LANES + l] = sae_lm_exp(s[j * LANES + l] - m[l]);
    fill_unseen(a, i0, first, end, 0, sv);
}

/* out[c] = sum_j s[j] v[j, c] */
SAE_LM_INLINE void weighted_sum(const span *a, const sae_real *packed, const vec *s, int64_t first,
                                int64_t end, vec *out)
{
    for (int64_t c = 0; c < a->head_pad; c += TILE) {
        const sae_real *v = packed + c * a->padded;
        vec t[TILE] = {{0}};
        for (int64_t j = first; j < end; j++)
#pragma GCC unroll 8
            for (int i = 0; i < TILE; i++)
                t[i] += v[j * TILE + i] * s[j];
#pragma GCC unroll 8
        for (int i = 0; i < TILE; i++)
            out[c + i] = t[i];
    }
}

/* *sum = sum_j s[j] */
SAE_LM_INLINE void sum_of(const vec *s, int64_t first, int64_t end, vec *sum)
{
    vec t[4] = {{0}};
    for (int64_t j = first; j < end; j += 4)
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++)
            t[i] += s[j + i];
    *sum = (t[0] + t[1]) + (t[2] + t[3]);
}

#endif
