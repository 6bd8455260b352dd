/* suite/models/lm_math.h - sae_lm_ops for host memory, and the functions of numbers behind it.
 *
 * Each loop is compiled once per instruction set and chosen at run time. Reductions run in double.
 */
#ifndef SAE_MODELS_LM_MATH_H
#define SAE_MODELS_LM_MATH_H

#include <sae/lm_ops.h>

#include <math.h>
#include <string.h>

/* Sanitizers and clang's run-time dispatch do not go together with these clones. */
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) &&                             \
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

/* ---- sums ------------------------------------------------------------------------------------ */

/* Sums run in sixteen lanes, element i in lane i mod 16, added up in a fixed order: the same bits
 * whatever the width of the machine's vectors, as long as it has fused multiply-add. `term` is an
 * expression in i. */
enum { SAE_LM_SUM_LANES = 16 };

SAE_LM_INLINE double sae_lm_add_lanes(const double *a)
{
    double s = 0;
    for (int l = 0; l < SAE_LM_SUM_LANES; l++)
        s += a[l];
    return s;
}

#define SAE_LM_SUM(sum, n, term)                                                                   \
    do {                                                                                           \
        double lane_[SAE_LM_SUM_LANES] = {0};                                                      \
        int64_t whole_ = (n) / SAE_LM_SUM_LANES * SAE_LM_SUM_LANES;                                \
        for (int64_t i0_ = 0; i0_ < whole_; i0_ += SAE_LM_SUM_LANES)                               \
            _Pragma("omp simd") for (int l_ = 0; l_ < SAE_LM_SUM_LANES; l_++)                      \
            {                                                                                      \
                const int64_t i = i0_ + l_;                                                        \
                lane_[l_] += (term);                                                               \
            }                                                                                      \
        for (int64_t i = whole_; i < (n); i++)                                                     \
            lane_[i - whole_] += (term);                                                           \
        (sum) = sae_lm_add_lanes(lane_);                                                           \
    } while (0)

/* ---- the table for host memory (lm_ops.c) and what it is made of ----------------------------- */

extern const sae_lm_ops sae_lm_host_ops;

int sae_lm_host_norm(sae_device *dev, const sae_lm_normer *k, int64_t rows, const sae_real *x,
                     sae_real *out);
int sae_lm_host_norm_back(sae_device *dev, const sae_lm_normer *k, int64_t rows, const sae_real *x,
                          const sae_real *dy, int add, sae_real *dx, sae_real *hat);
int sae_lm_host_mix(sae_device *dev, enum sae_lm_act act, int gated, int64_t rows, int64_t n,
                    const sae_real *wide, sae_real *out);
int sae_lm_host_mix_back(sae_device *dev, enum sae_lm_act act, int gated, int64_t rows, int64_t n,
                         const sae_real *dout, sae_real *wide);
int sae_lm_host_position(sae_device *dev, const sae_lm_heads *h, const sae_lm_rows *g,
                         const sae_real *in, sae_real *out);
int sae_lm_host_position_back(sae_device *dev, const sae_lm_heads *h, const sae_lm_rows *g,
                              const sae_real *in, sae_real *d, sae_real *hat_q, sae_real *hat_k);
int64_t sae_lm_host_attention_room(const sae_lm_heads *h, int64_t rows, int64_t longest, int back);
int sae_lm_host_attention(sae_device *dev, const sae_lm_heads *h, const sae_lm_rows *g,
                          const sae_lm_past *past, const sae_real *qkv, sae_real *out,
                          sae_real *room);
int sae_lm_host_attention_back(sae_device *dev, const sae_lm_heads *h, const sae_lm_rows *g,
                               const sae_real *qkv, const sae_real *out, const sae_real *dout,
                               sae_real *dqkv, sae_real *room);
int sae_lm_host_results(sae_device *dev, const sae_lm_results *q, int64_t rows, sae_real *z);
/* z[i] = cap tanh(z[i] / cap), on the calling thread. */
void sae_lm_cap(int64_t n, double cap, sae_real *z);

#endif
