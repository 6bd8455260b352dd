/* suite/models/lm_state.h - where a training run of a language model stands, in memory and on disk.
 *
 * The moments lie in the place of the model. state.safetensors holds the weights and both moments
 * as they lie there, "w", "m" and "v" [count] in f32, and as metadata the identity of the run, its
 * step and token count, how long it took, and how long train.csv was. It is replaced as a whole, so
 * it is complete whenever the process dies.
 */
#ifndef SAE_MODELS_LM_STATE_H
#define SAE_MODELS_LM_STATE_H

#include "models/lm_weights.h"

typedef struct sae_lm_state {
    int64_t step, tokens, log_bytes;
    int64_t due;       /* 1: what the newest step reports is not in the log yet */
    double loss, norm; /* of the newest step */
    double seconds;
    sae_lm_place at; /* of the weights and of m and v */
    sae_real *m, *v; /* [count] moments of AdamW */
} sae_lm_state;

int sae_lm_state_open(sae_lm_state *s, const sae_lm_weights *w, const sae_lm_place *at,
                      sae_err *err); /* step 0 */
void sae_lm_state_close(sae_lm_state *s);
int sae_lm_state_save(const sae_lm_state *s, const sae_lm_weights *w, const char *dir,
                      const char *identity, sae_err *err);
/* SAE_OK without a change when dir holds no state; SAE_EFORMAT when it is another run's. */
int sae_lm_state_load(sae_lm_state *s, sae_lm_weights *w, const char *dir, const char *identity,
                      sae_err *err);
int sae_lm_state_remove(const char *dir, sae_err *err);

#endif
