/* suite/models/lm_corpus.h - where language models get their training documents from. */
#ifndef SAE_MODELS_LM_CORPUS_H
#define SAE_MODELS_LM_CORPUS_H

#include "core/text.h"
#include <sae/dataset.h>

/* Documents by number, as sae_dataset.docs: those of TRAIN go on for ever, EVAL has `eval` of them
 * (-1: unbounded). */
typedef struct sae_lm_corpus {
    void *self;
    int (*docs)(void *self, enum sae_split split, uint64_t doc0, int64_t N, sae_docs *out,
                sae_err *err);
    int64_t eval;
    const char *id; /* what the documents are, for the record and for resuming */
} sae_lm_corpus;

/* The contexts of a text file, each in one of the splits; TRAIN in an order permuted by (seed,
 * epoch). */
typedef struct sae_lm_text sae_lm_text;

/* docs (of sae_docs_open_windows) is borrowed. SAE_EINVAL when a split gets no context. */
int sae_lm_text_open(sae_lm_text **t, const sae_docs *docs, uint64_t seed, double eval_share,
                     sae_err *err);
int64_t sae_lm_text_eval(const sae_lm_text *t); /* contexts of EVAL */
/* As sae_lm_corpus.docs. */
int sae_lm_text_docs(void *t, enum sae_split split, uint64_t doc0, int64_t N, sae_docs *out,
                     sae_err *err);
void sae_lm_text_close(sae_lm_text **t); /* NULL-safe */

#endif
