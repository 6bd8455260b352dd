/* suite/models/lm_train.h - train a language model from scratch.
 *
 * AdamW (Loshchilov & Hutter 2019) on the mean cross-entropy of a batch of documents: weight decay
 * on matrices only, gradients clipped to a global norm, learning rate warmed up linearly and then
 * falling along a cosine to its minimum. Batch s is the documents [s batch, (s + 1) batch) of
 * TRAIN, so the run is a function of weights, corpus and settings. It computes where the model
 * lies. Every sum has a fixed order there: the same bits for any number of threads, and a run that
 * was killed and resumed ends like one that was not.
 *
 * The folder receives train.csv while it runs, state.safetensors at every checkpoint and when the
 * run is interrupted, and in the end what on_end writes, model.safetensors, and no state any more.
 */
#ifndef SAE_MODELS_LM_TRAIN_H
#define SAE_MODELS_LM_TRAIN_H

#include "models/lm_corpus.h"
#include "models/lm_model.h"

typedef struct sae_lm_trained {
    int64_t step, tokens; /* trained on, those that predict nothing included */
    double ce;            /* nats per scored token of the evaluation documents, by the last weights
                             in memory (f32): those of the file may be rounded to fewer bits */
    double nats;          /* their exact surprisal per scored token; NaN: unknown */
    int64_t scored;
    double seconds;       /* of every process of the run, for steps that are in the result */
} sae_lm_trained;

typedef struct sae_lm_training {
    sae_lm_model *m; /* with its first weights; ends with the last ones */
    const sae_lm_corpus *corpus;
    const char *dir;      /* exists */
    const char *identity; /* what must not change between a run and its resumption */
    int resume;           /* go on from the state in dir, if there is one */
    int64_t steps, batch; /* documents per step */
    int64_t warmup;       /* steps */
    double lr, min_lr, beta1, beta2, eps, weight_decay, clip;
    int64_t log_every, eval_every, checkpoint_every; /* steps; 0: at the end only */
    int64_t eval_docs;
    enum sae_st_dtype dtype; /* of model.safetensors */
    /* Writes the record of a run that is over, before the model: a folder with a model has one.
     * May be NULL. */
    int (*on_end)(void *arg, const sae_lm_trained *done, sae_err *err);
    void *arg;
} sae_lm_training;

/* SAE_EINTR after Ctrl-C, with the state of the newest step written; SAE_ENONFINITE names the step
 * or the evaluation document; SAE_EFORMAT when the state in dir is another run's. */
int sae_lm_train(const sae_lm_training *t, sae_lm_trained *out, sae_err *err);

#endif
