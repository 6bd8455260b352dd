/* suite/models/sample.h - a token from logits: the largest, or drawn from the softmax. */
#ifndef SAE_MODELS_SAMPLE_H
#define SAE_MODELS_SAMPLE_H

#include <sae/kernels.h>

typedef struct sae_lm_sampling {
    double temperature; /* logits are divided by it; 0: the largest, the lowest id among equals */
    double top_p; /* draw from the smallest set of most probable tokens (equals: lower ids first)
                     that has this mass, at least one; 1: from all. After the temperature */
    uint64_t seed;
} sae_lm_sampling;

typedef struct sae_lm_choice {
    double weight;
    int32_t id;
} sae_lm_choice;

/* SAE_EINVAL unless temperature >= 0 and 0 < top_p <= 1, both finite. */
int sae_lm_sampling_check(const sae_lm_sampling *s, sae_err *err);
/* The token that u in (0, 1) draws from n finite logits; room [n] is scratch. */
int32_t sae_lm_sample(const sae_lm_sampling *s, int64_t n, const sae_real *z, double u,
                      sae_lm_choice *room);

#endif
