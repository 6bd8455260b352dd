/* suite/models/lm_math.h - the loops of the passes that are not matrix products.
 *
 * Each function is compiled once per instruction set and chosen at run time. A row's result depends
 * on that row only. Reductions run in double.
 */
#ifndef SAE_MODELS_LM_MATH_H
#define SAE_MODELS_LM_MATH_H

#include "models/lm_model.h"

#include <math.h>
#include <string.h>

/* Sanitizers and clang's run-time dispatch do not go together with these clones. */
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && \
    !defined(__SANITIZE_ADDRESS__)
#define SAE_LM_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define SAE_LM_CLONES
#endif

/* A clone for an instruction set is only as good as what is inlined into it. */
#define SAE_LM_INLINE static inline __attribute__((always_inline))

/* Whether rows of so many elements are worth waking threads for. */
SAE_LM_INLINE int sae_lm_many(int64_t rows, int64_t each)
{
    return rows > 1 && rows * each > 1024;
}

#ifdef SAE_REAL_IS_DOUBLE
SAE_LM_INLINE sae_real sae_lm_exp(sae_real x)
{
    return exp(x);
}
SAE_LM_INLINE sae_real sae_lm_tanh(sae_real x)
{
    return tanh(x);
}
/* Phi(x), the normal distribution function. */
SAE_LM_INLINE sae_real sae_lm_phi(sae_real x)
{
    return 0.5 * erfc(-x * 0.70710678118654752);
}
#else
/* e^x within 2 ulp, written so that loops over it vectorise: x = n ln 2 + r, Taylor series of
 * degree 7 (remainder below 6e-9 for |r| <= ln(2) / 2). x outside [-87, 88] counts as the bound it
 * is beyond, NaN stays NaN. */
SAE_LM_INLINE float sae_lm_exp(float x)
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

/* tanh within 8 ulp: its Taylor series below 0.3 (the next term is below 6e-8 of the value), the
 * exponential above, where 1 - tanh is at most 0.71 and its rounding errors are those of 1. */
SAE_LM_INLINE float sae_lm_tanh(float x)
{
    float a = fabsf(x), q = x * x;
    float s = 62.0f / 2835;
    s = s * q - 17.0f / 315;
    s = s * q + 2.0f / 15;
    s = s * q - 1.0f / 3;
    s = a + a * q * s;
    float l = 1.0f - 2.0f / (1.0f + sae_lm_exp(2.0f * a));
    float t = a < 0.3f ? s : l;
    return x < 0 ? -t : t;
}

/* Phi(x), the normal distribution function: erfc(z) = t e^(-z^2 + P(t)) with t = 2 / (2 + z), a
 * Chebyshev fit of relative error below 1.2e-7 (Press et al., Numerical Recipes, 6.2.2). */
SAE_LM_INLINE float sae_lm_phi(float x)
{
    float z = fabsf(x) * 0.707106781f, t = 1.0f / (1.0f + 0.5f * z);
    float p = 0.17087277f;
    p = p * t - 0.82215223f;
    p = p * t + 1.48851587f;
    p = p * t - 1.13520398f;
    p = p * t + 0.27886807f;
    p = p * t - 0.18628806f;
    p = p * t + 0.09678418f;
    p = p * t + 0.37409196f;
    p = p * t + 1.00002368f;
    p = p * t - 1.26551223f;
    float half = 0.5f * t * sae_lm_exp(p - z * z);
    return x < 0 ? half : 1.0f - half;
}
#endif

/* out[r,:] = norm(x[r,:]); out may be x. */
void sae_lm_norm_rows(const sae_lm_normer *k, int64_t rows, const sae_real *x, sae_real *out);
/* dx[r,:] (+)= the gradient of x from that of the norm's output, dy; `add`: 0 to overwrite. hat,
 * when not NULL, becomes dy * x-hat: its column sums are the gradient of w. dx may be dy when it is
 * overwritten. */
void sae_lm_norm_rows_back(const sae_lm_normer *k, int64_t rows, const sae_real *x,
                           const sae_real *dy, int add, sae_real *dx, sae_real *hat);

/* The MLP's nonlinearity: out [rows x n] from wide [rows x n], or gated from [rows x 2 n] (gate,
 * then up). */
void sae_lm_mix(enum sae_lm_act act, int gated, int64_t rows, int64_t n, const sae_real *wide,
                sae_real *out);
/* wide becomes the gradient of itself from that of the output. */
void sae_lm_mix_back(enum sae_lm_act act, int gated, int64_t rows, int64_t n, const sae_real *dout,
                     sae_real *wide);

/* x[i] += delta[i] */
void sae_lm_add(int64_t n, const sae_real *delta, sae_real *x);
/* z = cap tanh(z / cap); its backward multiplies dz by 1 - (z / cap)^2, z being the result. */
void sae_lm_cap(int64_t n, double cap, sae_real *z);
/* *max and *log_sum with log softmax(z)[v] = (z[v] - *max) - *log_sum. */
void sae_lm_softmax_stats(int64_t n, const sae_real *z, double *max, double *log_sum);
/* sum over v of exp(ref[v]) (ref[v] - log softmax(z)[v]). */
double sae_lm_kl(int64_t n, const sae_real *ref, const sae_real *z, double max, double log_sum);
/* z becomes d(ce of token `next`)/d(logits before the cap); cap 0: none. */
void sae_lm_ce_back(int64_t n, int32_t next, double cap, double max, double log_sum, sae_real *z);

/* Queries and keys of a group's rows, normalised and turned to their positions: out [rows x qkv];
 * values are copied. out may be in. */
void sae_lm_position(const sae_lm_model *m, const sae_lm_group *g, int64_t layer,
                     const sae_real *in, sae_real *out);
/* d: the gradient of `in` from that of the output, in place. hat_q, hat_k [rows x head], where
 * there is a norm: their column sums are the gradients of its weights. */
void sae_lm_position_back(const sae_lm_model *m, const sae_lm_group *g, int64_t layer,
                          const sae_real *in, sae_real *d, sae_real *hat_q, sae_real *hat_k);

/* Causal attention of every context of a group: qkv [rows x (heads + 2 kv_heads) head] with
 * positions applied, out [rows x heads head]. Works in m->work.own, which holds
 * sae_lm_attention_room elements per thread. */
void sae_lm_attention(const sae_lm_model *m, const sae_lm_group *g, int64_t layer,
                      const sae_real *qkv, sae_real *out);
/* dqkv from dout, out as computed; `own`: sae_lm_attention_back_room elements per thread. */
void sae_lm_attention_back(const sae_lm_model *m, const sae_lm_group *g, int64_t layer,
                           const sae_real *qkv, const sae_real *out, const sae_real *dout,
                           sae_real *dqkv, sae_real *own);
int64_t sae_lm_attention_room(const sae_lm_config *c, int64_t longest);
int64_t sae_lm_attention_back_room(const sae_lm_config *c, int64_t longest);

#endif
