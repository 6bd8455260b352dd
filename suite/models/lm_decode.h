/* suite/models/lm_decode.h - a language model token by token: every layer's keys and values are
 * kept, so a token costs one row.
 *
 * The logits have the bits of a pass over the whole context, in whatever pieces it is fed.
 */
#ifndef SAE_MODELS_LM_DECODE_H
#define SAE_MODELS_LM_DECODE_H

#include "models/lm_model.h"

typedef struct sae_lm_decoder sae_lm_decoder;

/* For contexts of up to `longest` tokens, at most those of the model, which is borrowed. Several
 * decoders may take turns on one model. */
int sae_lm_decoder_open(sae_lm_decoder **d, sae_lm_model *m, int64_t longest, sae_err *err);
void sae_lm_decoder_close(sae_lm_decoder **d); /* NULL-safe; sets *d to NULL */
/* Tokens that have been fed. */
int64_t sae_lm_decoder_tokens(const sae_lm_decoder *d);
/* Feed n >= 1 more; logits [vocab] are those of the last. SAE_EINVAL when they do not fit or an id
 * is out of range. */
int sae_lm_decoder_feed(sae_lm_decoder *d, const int32_t *tok, int64_t n, sae_real *logits,
                        sae_err *err);
/* Forget all tokens but the first n. */
void sae_lm_decoder_keep(sae_lm_decoder *d, int64_t n);

#endif
