/* suite/models/lm_init.h - random weights of a new language model. */
#ifndef SAE_MODELS_LM_INIT_H
#define SAE_MODELS_LM_INIT_H

#include "models/lm_weights.h"

typedef struct sae_lm_init {
    uint64_t seed;
    double std; /* of matrices; what writes to the stream is smaller by sqrt(2 layers) */
} sae_lm_init;

/* sae_lm_source.read with a sae_lm_init as self: normal matrices, norms of one, biases of zero, as
 * in GPT-2 (Radford et al. 2019, section 2.3). Every element is a function of (seed, part, layer,
 * index). */
int sae_lm_read_init(void *init, const sae_lm_config *c, enum sae_lm_part p, int64_t layer,
                     sae_real *out, sae_err *err);

#endif
