/* suite/core/shards.h - activation shards on disk: a directory with manifest.json and
 * acts-00000.safetensors, ... (DESIGN "Files").
 *
 * manifest.json: {"format": "saemark-shards", "version": 1, "model", "weights_hash", "hook",
 * "tokenizer_hash", "text", "text_hash", "d", "dtype", "rows", "norm": {"rows", "mean_sq", "mean":
 * [d]}, "shards": [{"file", "rows", "xxh128"}, ...]}. Every shard has doc [rows] u64, tokens [rows]
 * i32, pos [rows] u32, acts [rows, d]. With the optional manifest entry "grads", a dtype, every
 * shard also has grads [rows, d], the gradient of the summed cross-entropy; without it none has.
 * The directory is written under a temporary name and renamed.
 */
#ifndef SAE_CORE_SHARDS_H
#define SAE_CORE_SHARDS_H

#include "safetensors.h"
#include <sae/dataset.h>

/* Validates everything but the content hashes. */
int sae_shards_open(const char *dir, sae_shards **shards, sae_err *err);
void sae_shards_close(sae_shards **shards);
int sae_shards_verify(const char *dir, sae_err *err); /* recompute every hash */

typedef struct sae_shards_info { /* facts for the manifest; strings are copied */
    const char *model, *weights_hash, *hook, *tokenizer_hash, *text, *text_hash;
    int64_t d;
    enum sae_st_dtype dtype;    /* F32, F16 or BF16 */
    int64_t rows_per_shard;
    int grads;                  /* rows come with gradients */
    enum sae_st_dtype grads_dtype;
} sae_shards_info;

typedef struct sae_shards_writer sae_shards_writer;

/* SAE_EINVAL if dir exists and is not empty. Memory: one shard. */
int sae_shards_writer_open(sae_shards_writer **w, const char *dir, const sae_shards_info *info,
                           sae_err *err);
/* SAE_ENONFINITE naming the row if a value is NaN, Inf or too large for the dtype. grads [rows x d]
 * is read only if info.grads was set. */
int sae_shards_writer_add(sae_shards_writer *w, int64_t rows, const float *acts,
                          const float *grads, const sae_token *tok, sae_err *err);
/* Last shard, manifest, rename. Always frees; a failure leaves nothing. */
int sae_shards_writer_commit(sae_shards_writer **w, sae_err *err);
void sae_shards_writer_abandon(sae_shards_writer **w); /* NULL-safe; removes what was written */

#endif
