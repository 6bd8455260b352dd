/* suite/train/checkpoint.h - the exact state of a learner on disk, for resume and for evaluation.
 *
 * One safetensors file: every tensor of the model, "adam_m.NAME" and "adam_v.NAME", "last_fired",
 * "fire_count", and as metadata the canonical spec, seed, step, training config, normalisation,
 * dataset spec and hash. Saving, loading and saving again gives the same bytes.
 */
#ifndef SAE_TRAIN_CHECKPOINT_H
#define SAE_TRAIN_CHECKPOINT_H

#include "train/learner.h"

int sae_checkpoint_save(const char *path, const sae_learner *l, const sae_norm_const *norm,
                        int64_t d, const char *dataset_hash, sae_err *err);
/* l was opened with the same spec, seed and config: anything that differs is SAE_EFORMAT naming the
 * field, expected and found. */
int sae_checkpoint_load(const char *path, sae_learner *l, const char *dataset_hash, sae_err *err);

#endif
