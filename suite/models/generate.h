/* suite/models/generate.h - continuations of a prompt. */
#ifndef SAE_MODELS_GENERATE_H
#define SAE_MODELS_GENERATE_H

#include "models/sample.h"
#include <sae/lm.h>

typedef struct sae_lm_generator sae_lm_generator; /* a model behind a prompt */

/* Run the prompt, n >= 1 tokens (*seconds: how long that took), with room for up to `most` further
 * tokens as far as the context allows. The model is borrowed. SAE_EINVAL when the prompt is empty
 * or longer than the context. */
int sae_lm_generator_open(sae_lm_generator **g, const sae_lm *lm, const int32_t *prompt, int64_t n,
                          int64_t most, double *seconds, sae_err *err);
void sae_lm_generator_close(sae_lm_generator **g); /* NULL-safe; sets *g to NULL */

typedef struct sae_lm_request {
    sae_lm_sampling sampling;
    uint32_t sequence; /* continuations of one seed are told apart by it */
    int64_t most;      /* tokens, at most those of open */
    int to_the_end;    /* stop in front of EOS, and of BOS: another document begins */
    int (*token)(void *arg, int32_t id, sae_err *err); /* receives every token as it is drawn */
    void *arg;
} sae_lm_request;

enum sae_lm_stop {
    SAE_LM_STOP_COUNT,  /* as many tokens as asked for */
    SAE_LM_STOP_END,    /* of the document */
    SAE_LM_STOP_CONTEXT /* the context is full */
};
const char *sae_lm_stop_name(enum sae_lm_stop s); /* "count", "end", "context" */

typedef struct sae_lm_generated {
    int64_t tokens;
    enum sae_lm_stop stop;
    double seconds;
} sae_lm_generated;

/* One continuation; may be called any number of times. Random numbers depend on the seed, the
 * sequence and the position of the token only. SAE_ENONFINITE names the position whose logits are
 * not finite. */
int sae_lm_generate(sae_lm_generator *g, const sae_lm_request *r, sae_lm_generated *out,
                    sae_err *err);

#endif
