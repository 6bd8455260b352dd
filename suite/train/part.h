/* suite/train/part.h - arrays of a learner as tensors of a safetensors file. */
#ifndef SAE_TRAIN_PART_H
#define SAE_TRAIN_PART_H

#include "core/safetensors.h"
#include "train/learner.h"

typedef struct sae_part {
    char name[96];
    enum sae_st_dtype dtype;
    int64_t rows, cols; /* cols -1: rank 1 */
    void *p;            /* backend memory, or host memory: */
    int host;
} sae_part;

enum { SAE_MAX_PART = 3 * SAE_MAX_TENSOR + 3 };

/* A tensor of a model as part PREFIX + its name; p: its values or an array of the same shape. */
sae_part sae_part_tensor(const char *prefix, const sae_tensor *t, void *p);
/* Firing statistics of n features: two parts. */
void sae_part_stats(sae_part out[2], const sae_stats_store *s, int64_t n);

/* Declare all parts, begin, write their data. */
int sae_parts_write(sae_st_writer *w, const sae_engine *e, const sae_part *parts, int count,
                    sae_err *err);
/* Read them back bit for bit; shape and dtype must be the declared ones. */
int sae_parts_read(const sae_st *st, const sae_engine *e, const sae_part *parts, int count,
                   sae_err *err);

/* A count from a file's metadata. */
int sae_part_count(const sae_st *st, const char *key, int64_t *out, sae_err *err);

#endif
