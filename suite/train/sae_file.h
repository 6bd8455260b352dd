/* suite/train/sae_file.h - trained SAEs as files.
 *
 * Writing: a directory with
 *   saemark.safetensors       the model bit for bit: every tensor in our layout, firing statistics,
 *                             spec, seed, dataset and normalisation (of the target too, where the
 *                             variant has one)
 *   cfg.json                  SAELens' keys, and what only we know under the key "saemark"
 *   sae_weights.safetensors   where the variant says how (sae_saelens): W_enc [d x n], b_enc, W_dec
 *                             [n x d], b_dec, threshold. The normalisation scale is folded in,
 *                             since SAELens readers expect weights for raw activations; it rounds
 *                             once: these are not the bits of the model. unit_row becomes SAELens'
 *                             constant_norm_rescale, row_std its layer_norm.
 *   SHA256SUMS                checksums of the others, verified on reading (and by sha256sum -c)
 * Reading: that directory (the first file wins), a directory by SAELens, and a bare safetensors
 * file with W_enc, b_enc, W_dec, b_dec in either orientation: the biases tell n from d. Names of
 * dictionary_learning and sparsify (encoder.weight, ...) will do, too.
 */
#ifndef SAE_TRAIN_SAE_FILE_H
#define SAE_TRAIN_SAE_FILE_H

#include "train/learner.h"

/* Call after finalize. dir appears complete or not at all; one that exists is replaced. */
int sae_file_export(const char *dir, const sae_learner *l, const sae_stream *s, sae_err *err);

/* A trained SAE for evaluation: a learner without gradients and optimiser, plus its
 * normalisation. */
typedef struct sae_loaded {
    sae_spec spec;
    sae_model model;
    void *opt;             /* options at the end of training */
    sae_stats_store stats; /* of training; tokens 0 when unknown */
    sae_norm_const norm;   /* mean is owned, zero when unknown (rows 0) */
    sae_norm_const target; /* of the target; mean NULL when the variant has none */
    uint64_t seed;
    char *canonical;
    char *dataset;         /* canonical spec of what it was trained on, NULL when unknown */
    char dataset_hash[36]; /* "" when unknown */
    char hook[64];         /* that another tool's cfg.json names, or "" */
} sae_loaded;

/* variant: spec string to interpret files of other tools with, NULL to take it from
 * cfg.json; its n is the file's. SAE_EFORMAT names file, tensor or key, expected and
 * found. */
int sae_file_import(sae_loaded *s, const char *path, const char *variant, const sae_registry *reg,
                    const sae_engine *e, sae_err *err);
void sae_loaded_close(sae_loaded *s, const sae_engine *e);

#endif
