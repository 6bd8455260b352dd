/* suite/train/checkpoint.h - the exact state of learners on disk, for resume.
 *
 * A learner is one safetensors file: every tensor of the model, "adam_m.NAME" and "adam_v.NAME",
 * "last_fired", "fire_count", and as metadata its identity (canonical spec, seed, training config,
 * dataset spec and hash, normalisation) and its clock (step, tokens, done, n, seconds). Saving,
 * loading and saving again gives the same bytes.
 *
 * A checkpoint of a run is a directory step-NNNNNNNN with one such file per learner, named by the
 * learner's id. It is written as step-NNNNNNNN.tmp and renamed when it is complete and synced; only
 * then are older ones removed. So whatever moment the process dies at, the newest directory without
 * .tmp is a complete checkpoint.
 */
#ifndef SAE_TRAIN_CHECKPOINT_H
#define SAE_TRAIN_CHECKPOINT_H

#include "train/learner.h"

int sae_checkpoint_save(const char *path, const sae_learner *l, const sae_stream *s, sae_err *err);
/* l was opened with the same spec, seed and config, on the same data: anything that differs is
 * SAE_EFORMAT naming the field, expected and found; l must then be closed. */
int sae_checkpoint_load(const char *path, sae_learner *l, const sae_stream *s, sae_err *err);

/* Save `count` learners as the run's state after `step` steps. A complete checkpoint of that step
 * that is there already is kept: it holds the same state. */
int sae_checkpoints_save(const char *dir, int64_t step, sae_learner *const *l, int64_t count,
                         const sae_stream *s, sae_err *err);
/* Load the newest complete one; *step = its step, 0 if there is none (then nothing is touched). */
int sae_checkpoints_load(const char *dir, int64_t *step, sae_learner *const *l, int64_t count,
                         const sae_stream *s, sae_err *err);

#endif
