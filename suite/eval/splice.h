/* suite/eval/splice.h - language-model passes of an evaluation, a group of documents at a time.
 *
 * For every group: one pass halted at the hook, finished once unchanged, once with zeros and once
 * with the mean row in place of every row that SAEs see; then once per SAE with its decoded rows.
 * Rows of excluded tokens (BOS) keep the model's own activation in all of them, so that the passes
 * differ in nothing but those rows; only the pass that SAE_MNEED_ZERO_ALL asks for has zeros there
 * too. With a target in the view, SAEs see the rows at `hook`, and the model goes on from the hook
 * of the targets. Where nobody reads the losses of a changed model, it is not run.
 */
#ifndef SAE_EVAL_SPLICE_H
#define SAE_EVAL_SPLICE_H

#include "core/arena.h"
#include <sae/dataset.h>

enum { SAE_SPLICE_CELLS = 1 << 24 }; /* rows x vocabulary kept per group, unless one document alone
                                        has more */

typedef struct sae_splicer {
    sae_lm_view v;
    const double *mean;  /* [d] */
    int64_t d_in, d;     /* widths at the hook and where the model goes on */
    int64_t vocab, cap;  /* cap: most rows of a group */
    int64_t next;        /* first document of the next group */
    int64_t rows, kept;  /* of this group: all, and those SAEs see */
    int64_t *start;      /* [documents + 1] */
    int64_t *kept_row;   /* [cap] row of the group behind each kept row */
    int64_t *position;   /* [cap] row of the group behind each position of sae_splice */
    sae_token *tok;      /* [cap] of each position */
    unsigned char *kept_at; /* [cap] of each position: SAEs see its row */
    int32_t *top[2];     /* [cap] most likely tokens: clean, spliced */
    double *gathered;    /* [cap] results on their way from rows to positions */
    float *logprob;      /* [cap x vocab] of the unchanged model */
    float *mix;          /* [cap x the larger width] rows to go on from; gradients on the way */
    int64_t *batch_row;  /* [cap] of each scored token: its kept row or -1 */
    int32_t *next_token; /* [cap] of each scored token */
    int32_t *expect;     /* [cap] of each row, with inserts */
    float *grad;         /* [cap x d] with inserts, else NULL */
    double *loss[10];    /* [cap] see splice.c */
    int zero_all;        /* run that pass too */
    int rows_only;       /* set before sae_splicer_next: rows and targets are wanted, no losses; */
    int clean_only;      /* of the losses only those of the unchanged model */
    sae_arena memory;    /* of the arrays above */
    sae_lm_pass *pass;
    sae_splice out;      /* of this group */
    sae_insert insert;
    sae_err *err;        /* of the evaluation, for passes that metrics ask for */
} sae_splicer;

typedef struct sae_splicer_shape {
    int64_t d_in, d; /* widths at the hook and where the model goes on */
    int64_t budget;  /* rows of a group, about */
    int zero_all;    /* 1: with the pass that replaces excluded rows as well */
    int inserts;     /* 1: `insert` may be used */
} sae_splicer_shape;

/* v, mean [d] and err are borrowed while the splicer is open. */
int sae_splicer_open(sae_splicer *s, const sae_lm_view *v, const double *mean,
                     const sae_splicer_shape *shape, sae_err *err);
void sae_splicer_close(sae_splicer *s);
/* Capture the next group: rows, targets of a view that has any, tokens, and unless NULL gradients
 * and labels, of the kept rows, of which there are at most cap. `out` holds the shared losses,
 * `insert` is ready. SAE_DONE: no more documents. */
int sae_splicer_next(sae_splicer *s, const sae_fill *to, sae_err *err);
/* Fill ce_splice and kl_splice with xhat [kept x d]. */
int sae_splicer_splice(sae_splicer *s, const sae_real *xhat, sae_err *err);

#endif
