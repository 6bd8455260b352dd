/* suite/models/generate.h - greedy continuation of a prompt. */
#ifndef SAE_MODELS_GENERATE_H
#define SAE_MODELS_GENERATE_H

#include <sae/lm.h>

/* out[0..count): the tokens of the largest logit (the lowest id among equals), one after another.
 * The whole context is run again for each of them. SAE_EINVAL when prompt and continuation do not
 * fit the context. */
int sae_lm_greedy(const sae_lm *lm, const int32_t *prompt, int64_t n, int64_t count, int32_t *out,
                  sae_err *err);

#endif
