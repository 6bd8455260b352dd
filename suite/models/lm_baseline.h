/* suite/models/lm_baseline.h - what a corpus costs without context: the cross-entropies of the
 * uniform, the unigram and the bigram model.
 *
 * With counts c over the training documents (tokens behind the first of each, N of them) and a
 * vocabulary of V tokens
 *     p(b)     = (c(b) + 1) / (N + V)
 *     p(b | a) = (c(a b) + p(b)) / (c(a) + 1)
 * that is Laplace's rule, and Dirichlet smoothing of one pseudo-count spread like the unigrams
 * (MacKay & Peto 1995, A hierarchical Dirichlet language model, Natural Language Engineering 1).
 */
#ifndef SAE_MODELS_LM_BASELINE_H
#define SAE_MODELS_LM_BASELINE_H

#include "models/lm_corpus.h"

enum { SAE_LM_BASELINE_DOCS = 256 }; /* most documents that a call of corpus->docs asks for */

typedef struct sae_lm_baseline {
    double uniform, unigram, bigram; /* nats per scored token */
    int64_t trained, scored;         /* tokens */
} sae_lm_baseline;

/* Counted on the first `train` documents of TRAIN, scored on the first `eval` of EVAL. SAE_EINVAL
 * when a token lies outside the vocabulary, or a split has none to count. */
int sae_lm_baseline_score(const sae_lm_corpus *corpus, int64_t vocab, int64_t train, int64_t eval,
                          sae_lm_baseline *out, sae_err *err);

#endif
