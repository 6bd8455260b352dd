/* suite/models/lm_init.c - random weights of a new language model. */
#include "models/lm_init.h"

#include <math.h>
#include <sae/rng.h>

static int is_bias(enum sae_lm_part p)
{
    switch (p) {
    case SAE_LM_NORM_FINAL_B:
    case SAE_LM_HEAD_B:
    case SAE_LM_NORM_ATTN_B:
    case SAE_LM_Q_B:
    case SAE_LM_K_B:
    case SAE_LM_V_B:
    case SAE_LM_O_B:
    case SAE_LM_NORM_MLP_B:
    case SAE_LM_GATE_B:
    case SAE_LM_UP_B:
    case SAE_LM_DOWN_B: return 1;
    default: return 0;
    }
}

/* Number i of a tensor; what 32 bits do not hold of i is above the number of the tensor. */
static double normal(uint64_t seed, uint64_t tensor, uint64_t i)
{
    return sae_normal(seed, SAE_STREAM_INIT, tensor | i >> 32 << 32, (uint32_t)i);
}

int sae_lm_read_init(void *init, const sae_lm_config *c, enum sae_lm_part p, int64_t layer,
                     sae_real *out, sae_err *err)
{
    const sae_lm_init *k = init;
    int64_t rows, cols;
    (void)err;
    sae_lm_part_shape(c, p, &rows, &cols);
    int writes = p == SAE_LM_O || p == SAE_LM_DOWN;
    double std = writes ? k->std / sqrt(2.0 * (double)c->layers) : k->std;
    uint64_t tensor = (uint64_t)(layer * SAE_LM_PARTS + (int64_t)p);
    sae_real constant = is_bias(p) ? 0 : 1;
    int vector = sae_lm_part_is_vector(p);
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < (out ? rows * cols : 0); i++)
        out[i] = vector ? constant : (sae_real)(std * normal(k->seed, tensor, (uint64_t)i));
    return SAE_OK;
}
