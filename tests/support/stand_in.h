/* tests/support/stand_in.h - a language model whose activations are random numbers keyed by the
 * tokens up to the position, and 60 short documents: for tests of what is built around a model. */
#ifndef SAE_TESTS_STAND_IN_H
#define SAE_TESTS_STAND_IN_H

#include <sae/dataset.h>

enum { LM_D = 5, LM_VOCAB = 30, LM_BOS = 1, LM_EOS = 2, LM_DOCS = 60, LM_CTX = 17,
       LM_TARGET_D = 3 };

extern sae_lm stand_in_lm;          /* hook resid_post.0, gradient = 1 - activation; behind it
                                       later.0 of width LM_TARGET_D, purpose 9 */
extern sae_docs stand_in_docs;      /* as opened last; the first letter of the path decides them */
extern int stand_in_passes;         /* begun and not ended */
extern int64_t stand_in_most_tokens; /* in one pass */

/* The activation at coordinate j after tokens hashed as history * 31 + token; purpose 0. Other
 * purposes give other numbers in (0, 1). */
sae_real stand_in_value(uint64_t history, int64_t j, uint32_t purpose);
/* Services of a host around the stand-in; parallel runs backwards. */
sae_host stand_in_host(uint64_t seed);

#endif
