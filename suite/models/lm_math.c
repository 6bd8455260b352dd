/* suite/models/lm_math.c - norms, gates, softmax. */
#include "models/lm_math.h"

#include <math.h>

/* 1 / (the length that the norm divides by). */
SAE_LM_CLONES
static float norm_factor(enum sae_lm_norm kind, double eps, int64_t n, const float *x)
{
    double s = 0;
#pragma omp simd reduction(+ : s)
    for (int64_t i = 0; i < n; i++)
        s += (double)x[i] * (double)x[i];
    if (kind == SAE_LM_NORM_UNIT)
        return (float)(1.0 / (fmax(sqrt(s), 1e-12) * sqrt((double)n)));
    return (float)(1.0 / sqrt(s / (double)n + eps));
}

void sae_lm_norm_rows(enum sae_lm_norm kind, const float *w, double eps, int64_t rows, int64_t n,
                      const float *x, float *out)
{
#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < rows; r++) {
        const float *xr = x + r * n;
        float *o = out + r * n, f = norm_factor(kind, eps, n, xr);
        for (int64_t i = 0; i < n; i++)
            o[i] = w ? xr[i] * f * w[i] : xr[i] * f;
    }
}

SAE_LM_CLONES
static void swiglu_row(int64_t n, const float *gate, const float *up, float *out)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++)
        out[i] = gate[i] / (1.0f + sae_lm_exp(-gate[i])) * up[i];
}

void sae_lm_swiglu(int64_t rows, int64_t n, const float *gu, float *out)
{
#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < rows; r++)
        swiglu_row(n, gu + r * 2 * n, gu + r * 2 * n + n, out + r * n);
}

void sae_lm_add(int64_t n, const float *delta, float *x)
{
#pragma omp parallel for simd schedule(static)
    for (int64_t i = 0; i < n; i++)
        x[i] += delta[i];
}

SAE_LM_CLONES
void sae_lm_softmax_stats(int64_t n, const float *z, double *max, double *log_sum)
{
    float m = z[0];
#pragma omp simd reduction(max : m)
    for (int64_t i = 0; i < n; i++)
        m = z[i] > m ? z[i] : m;
    double s = 0;
#pragma omp simd reduction(+ : s)
    for (int64_t i = 0; i < n; i++)
        s += (double)sae_lm_exp(z[i] - m);
    *max = (double)m;
    *log_sum = log(s);
}

SAE_LM_CLONES
double sae_lm_kl(int64_t n, const float *ref, const float *z, double max, double log_sum)
{
    double s = 0;
#pragma omp simd reduction(+ : s)
    for (int64_t i = 0; i < n; i++) {
        /* rounded like ref, so that a pass has no divergence from itself */
        float l = (float)(((double)z[i] - max) - log_sum);
        s += (double)sae_lm_exp(ref[i]) * ((double)ref[i] - (double)l);
    }
    return s;
}
