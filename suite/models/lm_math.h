/* suite/models/lm_math.h - the loops of the forward pass that are not matrix products.
 *
 * Each function is compiled once per instruction set and chosen at run time. A row's result depends
 * on that row (attention: on its context) only.
 */
#ifndef SAE_MODELS_LM_MATH_H
#define SAE_MODELS_LM_MATH_H

#include "models/lm_model.h"

#include <string.h>

/* Sanitizers and clang's run-time dispatch do not go together with these clones. */
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && \
    !defined(__SANITIZE_ADDRESS__)
#define SAE_LM_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define SAE_LM_CLONES
#endif

/* e^x within 2 ulp, written so that loops over it vectorise: x = n ln 2 + r, Taylor series of
 * degree 7 (remainder below 6e-9 for |r| <= ln(2) / 2). x outside [-87, 88] counts as the bound it
 * is beyond, NaN stays NaN. */
static inline float sae_lm_exp(float x)
{
    const float shift = 0x1.8p23f; /* adding it rounds to an integer in the low mantissa bits */
    float y = 88.0f < x ? 88.0f : x;
    y = -87.0f > y ? -87.0f : y;
    float t = y * 1.44269504f + shift;
    float n = t - shift;
    float r = y - n * 0x1.62e4p-1f; /* ln 2 in two parts; the first times n is exact */
    r = r - n * 1.42860682e-6f;
    float s = 1.0f / 5040;
    s = s * r + 1.0f / 720;
    s = s * r + 1.0f / 120;
    s = s * r + 1.0f / 24;
    s = s * r + 1.0f / 6;
    s = s * r + 0.5f;
    s = s * r + 1.0f;
    s = s * r + 1.0f;
    uint32_t bits;
    memcpy(&bits, &t, sizeof bits);
    bits = (bits + 127u) << 23; /* the low bits of t hold n; shift's own bits leave at the top */
    float scale;
    memcpy(&scale, &bits, sizeof scale);
    return s * scale;
}

/* out[r,:] = norm(x[r,:]); out may be x. */
void sae_lm_norm_rows(enum sae_lm_norm kind, const float *w, double eps, int64_t rows, int64_t n,
                      const float *x, float *out);
/* out[r,i] = silu(gu[r,i]) * gu[r,n+i], gu [rows x 2n]. */
void sae_lm_swiglu(int64_t rows, int64_t n, const float *gu, float *out);
/* x[i] += delta[i] */
void sae_lm_add(int64_t n, const float *delta, float *x);
/* *max and *log_sum with log softmax(z)[v] = (z[v] - *max) - *log_sum. */
void sae_lm_softmax_stats(int64_t n, const float *z, double *max, double *log_sum);
/* sum over v of exp(ref[v]) (ref[v] - log softmax(z)[v]). */
double sae_lm_kl(int64_t n, const float *ref, const float *z, double max, double log_sum);

/* Causal attention of every context of a group: qkv [rows x (heads + 2 kv_heads) head] before
 * rotation, out [rows x heads head]. Works in m->work.own, which holds sae_lm_attention_room floats
 * per thread. */
void sae_lm_attention(const sae_lm_model *m, const sae_lm_group *g, const float *qkv, float *out);
int64_t sae_lm_attention_room(const sae_lm_config *c, int64_t longest);

#endif
