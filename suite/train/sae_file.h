/* suite/train/sae_file.h - trained SAEs as files other tools read.
 *
 * Writing: a directory with sae_weights.safetensors and cfg.json in SAELens' layout where the
 * variant can be expressed there (W_enc [d x n], b_enc, W_dec [n x d], b_dec), what only we know
 * under the key "saemark". Reading: that directory, and a bare safetensors file with W_enc / b_enc /
 * W_dec / b_dec in either orientation (d and n tell them apart; d == n needs cfg.json).
 */
#ifndef SAE_TRAIN_SAE_FILE_H
#define SAE_TRAIN_SAE_FILE_H

#include "train/learner.h"

int sae_file_export(const char *dir, const sae_learner *l, const sae_norm_const *norm,
                    const char *dataset, sae_err *err);

/* A trained SAE for evaluation: a learner without gradients and optimiser, plus its normalisation.
 * variant: spec string to interpret bare files with ("relu"), NULL to take it from cfg.json. */
typedef struct sae_loaded {
    sae_spec spec;
    sae_model model;
    sae_norm_const norm;
    uint64_t seed;
    char *canonical;
} sae_loaded;

int sae_file_import(sae_loaded *s, const char *path, const char *variant, const sae_registry *reg,
                    const sae_engine *e, sae_err *err);
void sae_loaded_close(sae_loaded *s, const sae_engine *e);

#endif
