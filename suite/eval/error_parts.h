/* suite/eval/error_parts.h - what a trained SAE makes of a dataset's rows, and what it leaves, as
 * shards: rows that other SAEs can be trained on (metrics/darkmatter.md). */
#ifndef SAE_EVAL_ERROR_PARTS_H
#define SAE_EVAL_ERROR_PARTS_H

#include "core/safetensors.h"
#include "eval/runner.h"

enum sae_error_part {
    SAE_ERROR_X, /* the rows themselves, to stand beside the other parts */
    SAE_ERROR_XHAT,
    SAE_ERROR_ALL,
    SAE_ERROR_LINEAR,
    SAE_ERROR_NONLINEAR
};
extern const char *const sae_error_part_names[]; /* NULL-terminated, in enum order */

typedef struct sae_error_parts { /* all borrowed */
    sae_stream *stream;          /* TRAIN is read, raw */
    const sae_engine *e;
    const sae_registry *reg;
    const sae_subject *subject; /* reads and reconstructs the same rows */
    enum sae_error_part part;   /* the linear error is fitted, with intercept, to the same rows */
    int64_t rows;               /* 0: all of a bounded split */
    const char *dir;            /* new or empty */
    enum sae_st_dtype dtype;
    int64_t rows_per_shard;
} sae_error_parts;

/* Memory: a batch and a shard. Shows progress. *rows: rows written. */
int sae_error_parts_write(const sae_error_parts *p, int64_t *rows, sae_err *err);

#endif
