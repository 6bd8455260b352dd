/* suite/models/lm_math.c - norms and nonlinearities of rows, and their derivatives. */
#include "models/lm_math.h"

/* ---- norms ----------------------------------------------------------------------------------- */

typedef struct moments {
    sae_real mean, factor; /* x-hat = (x - mean) * factor */
} moments;

SAE_LM_CLONES
static moments row_moments(const sae_lm_normer *k, const sae_real *x)
{
    double s = 0, q = 0, mean = 0, n = (double)k->n;
    if (k->kind == SAE_LM_NORM_LAYER) {
        SAE_LM_SUM(s, k->n, (double)x[i]);
        mean = s / n;
    }
    SAE_LM_SUM(q, k->n, ((double)x[i] - mean) * ((double)x[i] - mean));
    double f = k->kind == SAE_LM_NORM_UNIT ? 1.0 / (fmax(sqrt(q), 1e-12) * sqrt(n))
                                           : 1.0 / sqrt(q / n + k->eps);
    return (moments){(sae_real)mean, (sae_real)f};
}

SAE_LM_CLONES
static void norm_row(const sae_lm_normer *k, const sae_real *x, sae_real *out)
{
    moments m = row_moments(k, x);
    const sae_real *w = k->w, *b = k->b;
    for (int64_t i = 0; i < k->n; i++)
        out[i] = (x[i] - m.mean) * m.factor;
    if (w)
        for (int64_t i = 0; i < k->n; i++)
            out[i] *= w[i];
    if (b)
        for (int64_t i = 0; i < k->n; i++)
            out[i] += b[i];
}

int sae_lm_host_norm(sae_device *dev, const sae_lm_normer *k, int64_t rows, const sae_real *x,
                     sae_real *out)
{
    (void)dev;
#pragma omp parallel for schedule(static) if (sae_lm_many(rows, k->n))
    for (int64_t r = 0; r < rows; r++)
        norm_row(k, x + r * k->n, out + r * k->n);
    return SAE_OK;
}

/* dx = f (w dy - mean(w dy) - x-hat mean(w dy x-hat)); the first mean is that of LAYER only, and
 * UNIT has a sum in place of the second, because its x-hat is shorter by sqrt(n). */
SAE_LM_CLONES
static void norm_row_back(const sae_lm_normer *k, const sae_real *x, const sae_real *dy, int add,
                          sae_real *dx, sae_real *hat)
{
    moments m = row_moments(k, x);
    double s = 0, q = 0, n = (double)k->n;
    const sae_real *w = k->w;
    if (k->kind == SAE_LM_NORM_LAYER)
        SAE_LM_SUM(s, k->n, (double)(w ? dy[i] * w[i] : dy[i]));
    SAE_LM_SUM(q, k->n,
               (double)(w ? dy[i] * w[i] : dy[i]) * (double)((x[i] - m.mean) * m.factor));
    sae_real mean = (sae_real)(k->kind == SAE_LM_NORM_LAYER ? s / n : 0);
    sae_real along = (sae_real)(k->kind == SAE_LM_NORM_UNIT ? q * n : q / n);
    for (int64_t i = 0; i < k->n; i++) {
        sae_real xh = (x[i] - m.mean) * m.factor, g = w ? dy[i] * w[i] : dy[i];
        sae_real d = m.factor * (g - mean - xh * along);
        if (hat)
            hat[i] = dy[i] * xh;
        dx[i] = add ? dx[i] + d : d;
    }
}

int sae_lm_host_norm_back(sae_device *dev, const sae_lm_normer *k, int64_t rows, const sae_real *x,
                          const sae_real *dy, int add, sae_real *dx, sae_real *hat)
{
    (void)dev;
#pragma omp parallel for schedule(static) if (sae_lm_many(rows, k->n))
    for (int64_t r = 0; r < rows; r++)
        norm_row_back(k, x + r * k->n, dy + r * k->n, add, dx + r * k->n,
                      hat ? hat + r * k->n : NULL);
    return SAE_OK;
}

/* ---- nonlinearities -------------------------------------------------------------------------- */

#define GELU_A ((sae_real)0.79788456080286536) /* sqrt(2 / pi) */
#define GELU_B ((sae_real)0.044715)
#define NORMAL ((sae_real)0.39894228040143268) /* 1 / sqrt(2 pi) */

/* 1 / (1 + e^-x) */
SAE_LM_INLINE sae_real logistic(sae_real x)
{
    return 1 / (1 + sae_lm_exp(-x));
}

/* 2 sqrt(2/pi) (x + 0.044715 x^3): tanh's argument, twice, because (1 + tanh u) / 2 is the logistic
 * function of 2 u. */
SAE_LM_INLINE sae_real gelu_arg(sae_real x)
{
    return 2 * GELU_A * (x + GELU_B * x * x * x);
}

SAE_LM_INLINE sae_real value_of(enum sae_lm_act act, sae_real x)
{
    switch (act) {
    case SAE_LM_SILU: return x * logistic(x);
    case SAE_LM_GELU_TANH: return x * logistic(gelu_arg(x));
    case SAE_LM_GELU: return x * sae_lm_phi(x);
    case SAE_LM_RELU: break;
    }
    return x > 0 ? x : 0;
}

SAE_LM_INLINE sae_real slope_of(enum sae_lm_act act, sae_real x)
{
    sae_real s;
    switch (act) {
    case SAE_LM_SILU:
        s = logistic(x);
        return s + x * s * (1 - s);
    case SAE_LM_GELU_TANH:
        s = logistic(gelu_arg(x));
        return s + x * s * (1 - s) * 2 * GELU_A * (1 + 3 * GELU_B * x * x);
    case SAE_LM_GELU: return sae_lm_phi(x) + x * NORMAL * sae_lm_exp(-x * x / 2);
    case SAE_LM_RELU: break;
    }
    return x > 0 ? 1 : 0;
}

/* One row for one nonlinearity, known when this is inlined, so that the loops vectorise. */
SAE_LM_INLINE void mix_row(enum sae_lm_act act, int gated, int64_t n, const sae_real *wide,
                           sae_real *out)
{
    const sae_real *up = wide + n;
    if (gated)
#pragma omp simd
        for (int64_t i = 0; i < n; i++)
            out[i] = value_of(act, wide[i]) * up[i];
    else
#pragma omp simd
        for (int64_t i = 0; i < n; i++)
            out[i] = value_of(act, wide[i]);
}

SAE_LM_INLINE void mix_row_back(enum sae_lm_act act, int gated, int64_t n, const sae_real *dout,
                                sae_real *wide)
{
    sae_real *up = wide + n;
    if (gated)
#pragma omp simd
        for (int64_t i = 0; i < n; i++) {
            sae_real gate = wide[i], v = value_of(act, gate);
            wide[i] = dout[i] * up[i] * slope_of(act, gate);
            up[i] = dout[i] * v;
        }
    else
#pragma omp simd
        for (int64_t i = 0; i < n; i++)
            wide[i] = dout[i] * slope_of(act, wide[i]);
}

#define EACH_ACT(call)                                                                             \
    switch (act) {                                                                                 \
    case SAE_LM_SILU: call(SAE_LM_SILU); break;                                                    \
    case SAE_LM_GELU_TANH: call(SAE_LM_GELU_TANH); break;                                          \
    case SAE_LM_GELU: call(SAE_LM_GELU); break;                                                    \
    case SAE_LM_RELU: call(SAE_LM_RELU); break;                                                    \
    }

SAE_LM_CLONES
static void mix_any(enum sae_lm_act act, int gated, int64_t n, const sae_real *wide, sae_real *out)
{
#define CALL(a) mix_row(a, gated, n, wide, out)
    EACH_ACT(CALL)
#undef CALL
}

SAE_LM_CLONES
static void mix_any_back(enum sae_lm_act act, int gated, int64_t n, const sae_real *dout,
                         sae_real *wide)
{
#define CALL(a) mix_row_back(a, gated, n, dout, wide)
    EACH_ACT(CALL)
#undef CALL
}

int sae_lm_host_mix(sae_device *dev, enum sae_lm_act act, int gated, int64_t rows, int64_t n,
                    const sae_real *wide, sae_real *out)
{
    int64_t ld = gated ? 2 * n : n;
    (void)dev;
#pragma omp parallel for schedule(static) if (sae_lm_many(rows, n))
    for (int64_t r = 0; r < rows; r++)
        mix_any(act, gated, n, wide + r * ld, out + r * n);
    return SAE_OK;
}

int sae_lm_host_mix_back(sae_device *dev, enum sae_lm_act act, int gated, int64_t rows, int64_t n,
                         const sae_real *dout, sae_real *wide)
{
    int64_t ld = gated ? 2 * n : n;
    (void)dev;
#pragma omp parallel for schedule(static) if (sae_lm_many(rows, n))
    for (int64_t r = 0; r < rows; r++)
        mix_any_back(act, gated, n, dout + r * n, wide + r * ld);
    return SAE_OK;
}
