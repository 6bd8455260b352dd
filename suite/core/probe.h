/* suite/core/probe.h - a small model on synthetic rows: what conformance and gradient checks run
 * on.
 *
 * Everything follows from the descriptor: options from its table, inputs from needs(). Nothing here
 * knows a variant.
 */
#ifndef SAE_CORE_PROBE_H
#define SAE_CORE_PROBE_H

#include "model.h"

enum sae_probe_rows { /* what the rows of x are */
    SAE_ROWS_NORMAL,   /* independent standard normals plus one common offset */
    SAE_ROWS_CONSTANT, /* every row the same */
    SAE_ROWS_ZERO,
    SAE_ROWS_NAN       /* NORMAL with a NaN in the first row */
};

typedef struct sae_probe_shape {
    int64_t B, d, n; /* a variant that needs a target writes rows of d + 3 */
} sae_probe_shape;

typedef struct sae_probe_extras sae_probe_extras; /* what ctx.truth and ctx.base point to */

typedef struct sae_probe {
    const sae_variant *v;
    const sae_engine *e;
    sae_model model;
    sae_tape tape;
    sae_stats_store stats;
    sae_probe_extras *extras; /* NULL when the variant needs none */
    sae_real *x, *y, *g; /* backend memory, [B x d_in], [B x d_out], [B x d_in] */
    sae_token *tok;      /* host memory, [B] */
    sae_batch batch;     /* inputs that needs() does not name are NULL */
    sae_ctx ctx;
    sae_err err;         /* of the methods called through ctx */
} sae_probe;

/* Configuration i of a variant: its defaults (0), then every option moved alone to each of its
 * other names, to the lower end of its range and to 2. *label (caller frees) is "key=value", "" for
 * the defaults. SAE_DONE past the last one. */
int sae_probe_options(const sae_variant *v, int i, sae_opts **o, char **label, sae_err *err);

/* Model, tape and batch in TRAIN mode; v is an admitted descriptor, o is borrowed. init ran on the
 * batch, PARAM tensors got noise of 0.1 (so that no gradient vanishes by symmetry), three rounds of
 * forward and adapt moved STATE tensors and growing dictionaries; half of the features count as
 * long dead. SAE_ENEEDS if the variant needs a language model. */
int sae_probe_open(sae_probe *p, const sae_variant *v, const sae_opts *o, sae_probe_shape shape,
                   uint64_t seed, const sae_engine *e, sae_err *err);
void sae_probe_close(sae_probe *p);

/* Rewrite the rows of the batch. */
int sae_probe_fill(sae_probe *p, enum sae_probe_rows what, uint64_t seed);

/* A second tape for the same model, sized for the probe's batch. */
int sae_probe_tape(const sae_probe *p, enum sae_mode mode, sae_tape *t);

/* probe_extras.c: ctx.truth (random atoms) and ctx.base (the first registered variant that reads
 * rows only, untrained) for a probe whose variant needs them; the batch is filled. */
int sae_probe_extras_open(sae_probe *p, uint64_t needs, sae_probe_shape shape, uint64_t seed,
                          sae_err *err);
void sae_probe_extras_close(sae_probe *p);

#endif
