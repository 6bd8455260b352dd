/* suite/eval/lane.h - one SAE of an evaluation: raw rows in, codes and decoded raw rows out, both
 * in host memory. */
#ifndef SAE_EVAL_LANE_H
#define SAE_EVAL_LANE_H

#include "eval/runner.h"
#include "train/extras.h"

typedef struct sae_rows { /* rows of one batch, host memory, borrowed */
    int64_t B;
    const sae_real *x; /* [B x d_in] raw */
    const sae_real *y; /* [B x d_out] raw, what is to be reconstructed */
    const sae_real *g; /* [B x d_in] dCE/dx, or NULL */
    const sae_token *tok;
    uint64_t row0;
} sae_rows;

typedef struct sae_lane {
    const sae_subject *s;
    const sae_engine *e;
    sae_ctx ctx;           /* EVAL; statistics in backend memory */
    sae_ctx host;          /* the same with statistics in host memory, for metrics */
    sae_stats view, host_view;
    sae_stats_store blank; /* stands in for unknown statistics */
    uint64_t *host_stats;  /* [2 n] copies when the backend does not share memory */
    uint64_t needs;        /* SAE_NEED_* of the variant in EVAL */
    sae_extras *extras;    /* NULL when the variant needs none */
    sae_tape tape;
    sae_side in, out;      /* x, and y of a variant with a separate target */
    sae_real *g, *dev_g;   /* [B x d_in] normalised: host, backend (g where memory is shared) */
    int frozen;            /* the model is (sae_model_freeze) */
    int warned;            /* that its decoded rows break the language model */
    /* results of the batch run last, raw units, host */
    sae_real *xhat;        /* [B x d_out] */
    sae_code code;
    const sae_norm_row *norm; /* [B] of xhat; NULL: all rows alike */
} sae_lane;

/* A lane of the evaluation for batches of up to B rows. `have` is the union of SAE_NEED_* that rows
 * can carry; SAE_ENEEDS if the variant wants more. lm may be NULL. */
int sae_lane_open(sae_lane *l, const sae_evaluation *ev, const sae_subject *s, int64_t B,
                  uint64_t have, const sae_lm *lm, sae_err *err);
void sae_lane_close(sae_lane *l);
int sae_lane_run(sae_lane *l, const sae_rows *in);

#endif
