/* suite/train/trainer.h - train any number of SAEs on one activation stream.
 *
 * for every step: read the batch once; every learner that is not done takes its step. The control
 * flow knows no variant; tensor roles decide what happens (suite/README.md).
 */
#ifndef SAE_TRAIN_TRAINER_H
#define SAE_TRAIN_TRAINER_H

#include "train/checkpoint.h"

typedef struct sae_trainer {
    sae_stream *stream;
    const sae_registry *reg;  /* opens base SAEs; may be NULL where no variant needs one */
    sae_learner **learner; /* [count] borrowed */
    int64_t count;
    int64_t steps;            /* of the run; every learner's cfg.steps */
    int64_t log_every;        /* steps between loss rows; 0: steps / 200, at least 1 */
    int64_t checkpoint_every; /* steps; 0: only at the end and on interrupt */
    const char *dir;          /* checkpoint directory, NULL: none */
    /* One call per learner and logged step; may be NULL. */
    int (*on_loss)(void *arg, const sae_learner *l, double lr);
    /* Before a checkpoint of `step` becomes visible: everything that belongs to earlier steps must
     * be on disk when it returns (loss.csv); may be NULL. */
    int (*on_checkpoint)(void *arg, int64_t step);
    void *arg;
} sae_trainer;

/* Run to the end, from the learners' common step; then finalize. SAE_ENEEDS before the first step
 * if the dataset lacks an input that a learner declares. SAE_EINTR after Ctrl-C (a checkpoint is
 * written first when dir is set). SAE_ENONFINITE names the learner, the step and the loss. The last
 * checkpoint holds the state before finalize, which is a function of it. */
int sae_trainer_run(sae_trainer *t, sae_err *err);
/* Load the newest complete checkpoint of dir into the learners; *step = its step, 0 if none. */
int sae_trainer_resume(sae_trainer *t, int64_t *step, sae_err *err);

#endif
