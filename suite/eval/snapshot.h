/* suite/eval/snapshot.h - host copies of what a variant wrote, for bitwise comparison. */
#ifndef SAE_EVAL_SNAPSHOT_H
#define SAE_EVAL_SNAPSHOT_H

#include "core/model.h"

typedef struct sae_snapshot {
    unsigned char *p;
    size_t bytes, cap;
} sae_snapshot;

/* Each appends to *s (zeroed at first). */
int sae_snap_rows(sae_snapshot *s, const sae_engine *e, const sae_tape *t, int64_t d, int64_t r0,
                  int64_t rows, sae_err *err); /* code and xhat of rows [r0, r0 + rows) */
int sae_snap_tape(sae_snapshot *s, const sae_engine *e, const sae_tape *t, int64_t d,
                  sae_err *err); /* all rows, residuals, losses, coefficients */
int sae_snap_tensors(sae_snapshot *s, const sae_engine *e, const sae_model *m, sae_err *err);
int sae_snap_bytes(sae_snapshot *s, const sae_engine *e, const void *src, int64_t count,
                   size_t size, sae_err *err); /* backend memory */

int sae_snap_equal(const sae_snapshot *a, const sae_snapshot *b);
void sae_snap_free(sae_snapshot *s);

#endif
