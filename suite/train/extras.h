/* suite/train/extras.h - what a variant may read beside rows: the true dictionary, a trained
 * SAE. */
#ifndef SAE_TRAIN_EXTRAS_H
#define SAE_TRAIN_EXTRAS_H

#include "train/stream.h"

typedef struct sae_extras sae_extras;

/* For a model on e that needs `needs` (SAE_NEED_TRUTH, SAE_NEED_BASE; others are ignored), on
 * batches of s of up to B rows, normalised by `norm`. *x is NULL when it needs neither. SAE_EINVAL
 * when the base was trained on rows that are normalised in another way. reg may be NULL where no
 * base is needed. */
int sae_extras_open(sae_extras **x, const sae_model *m, uint64_t needs, const sae_registry *reg,
                    const sae_stream *s, const sae_norm_const *norm, int64_t B,
                    const sae_engine *e, sae_err *err);
void sae_extras_close(sae_extras **x); /* NULL-safe */

/* Set ctx.truth and ctx.base; x may be NULL. */
void sae_extras_give(const sae_extras *x, sae_ctx *c);

#endif
