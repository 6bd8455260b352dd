/* suite/models/lm_eval.h - how well a language model predicts a text, as it is or with one hook's
 * activations replaced.
 *
 * Every document is scored on its own: BOS first, cut to the model's context, every token after BOS
 * scored. An ablation replaces the activations at positions >= 1 of every document (BOS is left as
 * it is) by zeros, or by their mean over all the documents. The last position of a document
 * predicts nothing and takes no part in the mean. A scored token is counted under its own label and
 * surprisal, though the loss is that of the position before it.
 */
#ifndef SAE_MODELS_LM_EVAL_H
#define SAE_MODELS_LM_EVAL_H

#include <sae/dataset.h>

typedef struct sae_lm_ablation {
    char hook[64];
    int mean; /* 0: zeros */
} sae_lm_ablation;

/* "HOOK=zero" or "HOOK=mean"; SAE_EINVAL otherwise, or when the model has no such hook. */
int sae_lm_ablation_parse(sae_lm_ablation *a, const sae_lm *lm, const char *text, sae_err *err);

/* Means over a set of scored tokens, nats per token; NaN when there are none. Standard errors are
 * over documents (sae/groups.h); NaN with too few of them. */
typedef struct sae_lm_loss {
    int64_t tokens;
    double ce, ce_se;   /* cross-entropy of the model */
    double surprisal;   /* exact -log p(token | prefix) under the source; NaN: not known */
    double gap, gap_se; /* ce - surprisal: what the model has not learned */
} sae_lm_loss;

/* Tokens sorted by one of the documents' labels. */
typedef struct sae_lm_by {
    int64_t label, classes;
    sae_lm_loss *part; /* [classes] results */
} sae_lm_by;

typedef struct sae_lm_score {
    sae_lm_loss all;
    double seconds;  /* in passes over the documents */
    int64_t rows;    /* positions run through the model in that time, all passes together */
} sae_lm_score;

/* Score the documents; a NULL: as the model is; by NULL: not by class. SAE_EINVAL when there is no
 * token to score; SAE_ENONFINITE names the position whose logits are not finite. */
int sae_lm_score_docs(const sae_lm *lm, const sae_docs *docs, const sae_lm_ablation *a,
                      const sae_lm_by *by, sae_lm_score *out, sae_err *err);

#endif
