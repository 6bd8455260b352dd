/* suite/models/lm_results.c - what is made of logits: the cap, losses, probabilities, gradients. */
#include "models/lm_math.h"

SAE_LM_CLONES
void sae_lm_cap(int64_t n, double cap, sae_real *z)
{
    sae_real c = (sae_real)cap, inverse = (sae_real)(1 / cap);
#pragma omp simd
    for (int64_t i = 0; i < n; i++)
        z[i] = c * sae_lm_tanh(z[i] * inverse);
}

/* *max and *log_sum with log softmax(z)[v] = (z[v] - *max) - *log_sum. */
SAE_LM_CLONES
static void softmax_stats(int64_t n, const sae_real *z, double *max, double *log_sum)
{
    sae_real m = z[0];
#pragma omp simd reduction(max : m)
    for (int64_t i = 0; i < n; i++)
        m = z[i] > m ? z[i] : m;
    double s;
    SAE_LM_SUM(s, n, (double)sae_lm_exp(z[i] - m));
    *max = (double)m;
    *log_sum = log(s);
}

/* sum over v of exp(ref[v]) (ref[v] - log softmax(z)[v]). */
SAE_LM_CLONES
static double divergence(int64_t n, const sae_real *ref, const sae_real *z, double max,
                         double log_sum)
{
    double s; /* the logarithm is rounded like ref: a pass has no divergence from itself */
    SAE_LM_SUM(s, n,
               (double)sae_lm_exp(ref[i]) *
                   ((double)ref[i] - (double)(sae_real)(((double)z[i] - max) - log_sum)));
    return s;
}

/* z becomes d(ce of token `next`)/d(logits before the cap). */
SAE_LM_CLONES
static void ce_back(int64_t n, int32_t next, double cap, double max, double log_sum, sae_real *z)
{
    sae_real m = (sae_real)max, inverse = (sae_real)exp(-log_sum), own = z[next];
    sae_real c = cap > 0 ? (sae_real)(1 / cap) : 0;
#pragma omp simd
    for (int64_t i = 0; i < n; i++)
        z[i] = sae_lm_exp(z[i] - m) * inverse * (1 - z[i] * c * z[i] * c);
    z[next] -= 1 - own * c * own * c;
}

/* The lowest id whose logit is the largest one. */
static int32_t first_equal(int64_t vocab, const sae_real *z, double max)
{
    int64_t v = 0;
    while (v < vocab - 1 && (double)z[v] != max)
        v++;
    return (int32_t)v;
}

static void row_results(const sae_lm_results *q, int64_t r, sae_real *z)
{
    double max, log_sum;
    int64_t vocab = q->vocab;
    int32_t next = q->next ? q->next[r] : -1;
    softmax_stats(vocab, z, &max, &log_sum);
    if (q->top)
        q->top[r] = isfinite(log_sum) ? first_equal(vocab, z, max) : -1;
    if (q->ce)
        q->ce[r] = next < 0 ? (double)NAN : (max - (double)z[next]) + log_sum;
    if (q->kl)
        q->kl[r] = divergence(vocab, q->ref + r * vocab, z, max, log_sum);
    if (q->logprob)
        for (int64_t v = 0; v < vocab; v++)
            q->logprob[r * vocab + v] = (sae_real)(((double)z[v] - max) - log_sum);
    if (q->back && next >= 0)
        ce_back(vocab, next, q->cap, max, log_sum, z);
    else if (q->back)
        memset(z, 0, (size_t)vocab * sizeof *z);
}

int sae_lm_host_results(sae_device *dev, const sae_lm_results *q, int64_t rows, sae_real *z)
{
    (void)dev;
#pragma omp parallel for schedule(static) if (sae_lm_many(rows, q->vocab))
    for (int64_t r = 0; r < rows; r++)
        row_results(q, r, z + r * q->vocab);
    return SAE_OK;
}
