/* suite/models/lm_ops.c - sae_lm_ops for host memory: the table, and its smallest entries. */
#include "models/lm_math.h"

enum { APART = 1 << 14 }; /* elements that are worth waking threads for */

static int embed(sae_device *dev, const sae_lm_tables *t, const sae_lm_rows *g, sae_real *x)
{
    int64_t d = t->d;
    sae_real scale = (sae_real)t->scale;
    (void)dev;
    for (int64_t r = 0; r < g->rows; r++) {
        const sae_real *e = t->embed + g->tok[r] * d;
        const sae_real *p = t->position ? t->position + g->pos[r] * d : NULL;
        for (int64_t i = 0; i < d; i++)
            x[r * d + i] = e[i] * scale + (p ? p[i] : 0);
    }
    return SAE_OK;
}

/* Columns have one writer each. */
static int embed_back(sae_device *dev, const sae_lm_tables *t, const sae_lm_rows *g,
                      const sae_real *dx, sae_real *dembed, sae_real *dposition)
{
    enum { STRIP = 16 };
    int64_t d = t->d;
    sae_real scale = (sae_real)t->scale;
    (void)dev;
#pragma omp parallel for schedule(static)
    for (int64_t i0 = 0; i0 < d; i0 += STRIP)
        for (int64_t r = 0; r < g->rows; r++)
            for (int64_t i = i0; i < d && i < i0 + STRIP; i++) {
                dembed[g->tok[r] * d + i] += dx[r * d + i] * scale;
                if (dposition)
                    dposition[g->pos[r] * d + i] += dx[r * d + i];
            }
    return SAE_OK;
}

static int add(sae_device *dev, int64_t n, const sae_real *delta, sae_real *x)
{
    (void)dev;
#pragma omp parallel for simd schedule(static) if (n > APART)
    for (int64_t i = 0; i < n; i++)
        x[i] += delta[i];
    return SAE_OK;
}

static int cap(sae_device *dev, int64_t n, double at, sae_real *z)
{
    (void)dev;
#pragma omp parallel for schedule(static) if (n > APART)
    for (int64_t i = 0; i < n; i += APART)
        sae_lm_cap(n - i < APART ? n - i : APART, at, z + i);
    return SAE_OK;
}

const sae_lm_ops sae_lm_host_ops = {
    .abi = SAE_LM_OPS_ABI,
    .size = sizeof(sae_lm_ops),
    .embed = embed,
    .embed_back = embed_back,
    .norm = sae_lm_host_norm,
    .norm_back = sae_lm_host_norm_back,
    .mix = sae_lm_host_mix,
    .mix_back = sae_lm_host_mix_back,
    .add = add,
    .cap = cap,
    .position = sae_lm_host_position,
    .position_back = sae_lm_host_position_back,
    .attention_room = sae_lm_host_attention_room,
    .attention = sae_lm_host_attention,
    .attention_back = sae_lm_host_attention_back,
    .results = sae_lm_host_results,
};
