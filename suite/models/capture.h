/* suite/models/capture.h - write the activations of a language model to shards. */
#ifndef SAE_MODELS_CAPTURE_H
#define SAE_MODELS_CAPTURE_H

#include "core/safetensors.h"
#include <sae/dataset.h>

typedef struct sae_capture {
    const sae_lm *lm;
    const char *hook;
    const sae_docs *docs;
    const unsigned char *exclude; /* [vocab] 1: rows of this token are left out; NULL: none */
    const char *dir;              /* new or empty */
    const char *model, *text;     /* paths for the manifest; text is hashed */
    enum sae_st_dtype dtype;      /* F32, F16 or BF16 */
    int64_t rows_per_shard;
    int grads;                    /* also d(sum of cross-entropy)/d(activation) of every row */
    enum sae_st_dtype grads_dtype;
    int64_t batch;                /* tokens per forward pass; a longer context makes its own pass */
} sae_capture;

/* Memory: one pass and one shard. Shows progress. SAE_EINTR when interrupted; whatever fails leaves
 * nothing behind. *rows: rows written. */
int sae_capture_run(const sae_capture *c, int64_t *rows, sae_err *err);

#endif
