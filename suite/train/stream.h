/* suite/train/stream.h - the activation stream of a run: a dataset, read once, normalised once,
 * shown to every SAE. */
#ifndef SAE_TRAIN_STREAM_H
#define SAE_TRAIN_STREAM_H

#include "core/helper.h"
#include "core/model.h"
#include "core/spec.h"

#include <sae/metric.h>

enum sae_norm {
    SAE_NORM_NONE,     /* x as it is                                                          */
    SAE_NORM_MEAN_SQ1, /* x / s with s^2 = mean of |x|^2 (dictionary_learning)                 */
    SAE_NORM_SQRT_D,   /* x * sqrt(d) / mean |x| (SAELens expected_average_only_in)            */
    SAE_NORM_UNIT_ROW, /* x / |x| per row; decoded rows are multiplied by |x| again            */
    SAE_NORM_ROW_STD   /* (x - m) / (s + 1e-5) per row, m its mean and s its standard deviation
                          with d - 1 (SAELens layer_norm); decoded rows get both back        */
};
extern const char *const sae_norm_names[]; /* NULL-terminated, in enum order */

/* Constants estimated once from the first rows of TRAIN and kept in checkpoints. */
typedef struct sae_norm_const {
    enum sae_norm kind;
    double scale;  /* raw = scale * model units; 1 where rows have their own */
    int64_t rows;  /* rows of the estimate */
    double *mean;  /* [d] mean raw row, for mean ablation and as a baseline; owned by the stream */
} sae_norm_const;

/* Rows of one kind on their way to variants: normalised, then copied to the backend. */
typedef struct sae_side {
    int64_t d;
    const sae_norm_const *norm;
    const sae_engine *e;
    sae_real *x;       /* [B x d] host; NULL: rows are shown as they are */
    sae_real *dev;     /* [B x d] copy on a device; NULL where memory is shared */
    sae_norm_row *row; /* [B] scale and shift of kinds that have them per row, else NULL */
} sae_side;

int sae_side_open(sae_side *s, const sae_norm_const *norm, int64_t d, int64_t B,
                  const sae_engine *e, sae_err *err);
void sae_side_close(sae_side *s);
/* *out = the rows of raw [B x d] (host) as a batch points to them. */
int sae_side_load(sae_side *s, const sae_real *raw, int64_t B, const sae_real **out, sae_err *err);

/* A batch and the memory it is in. */
typedef struct sae_buffers {
    sae_side in, out;          /* x; y where there are targets */
    sae_real *raw, *raw_y, *g; /* [B x d] host; NULL: the dataset has none */
    sae_real *dev_g;           /* copy of g on a device; NULL where memory is shared */
    sae_token *tok;            /* [B] */
    sae_batch host;            /* its rows as variants see them, in host memory */
    sae_batch shown;           /* the same in memory of the engine: what variants get */
} sae_buffers;

typedef struct sae_request {
    enum sae_split split;
    uint64_t row0;
    int64_t B; /* 0: nothing */
    uint64_t need;
} sae_request;

typedef struct sae_stream {
    const sae_dataset *ds;
    sae_source *src;
    char *canonical;       /* of the dataset's spec; owned */
    sae_dims dim;          /* widths of x and y; n and n_cap are 0 */
    const sae_engine *e;
    sae_norm_const norm, target; /* of x and of y, of one kind; target.mean is NULL when the dataset
                              has no targets */
    int64_t B;             /* largest batch */
    sae_buffers now;       /* the last batch, untouched until the next fill */
    int overlaps;          /* 1: a batch can be loaded while the last one is in use */
    sae_buffers next;      /* where that happens; opened with `ahead`, on first use */
    sae_helper *ahead;
    sae_request asked;     /* of ahead; settled by the next fill */
    char hash[36];         /* of the dataset */
} sae_stream;

int sae_stream_open(sae_stream *s, const sae_spec *spec, const sae_host *host, const sae_engine *e,
                    enum sae_norm norm, int64_t B, sae_err *err);
void sae_stream_close(sae_stream *s);
/* Estimate norm and target, once: before it, scales are 1 and means 0. Not done by opening, since
 * 2^15 rows of a language model are no trifle; a stream that normalises does it before its first
 * batch. Overwrites the rows of the last batch. */
int sae_stream_constants(sae_stream *s, sae_err *err);

/* The part of `need` (a union of SAE_NEED_*) that the dataset cannot supply; a base is no matter of
 * the dataset. */
uint64_t sae_stream_lacks(const sae_stream *s, uint64_t need);

/* Rows [row0, row0 + B) of a split, normalised, as the batch that variants see. `need` is a union
 * of SAE_NEED_*; SAE_ENEEDS if the dataset cannot supply it. Members that are not needed are NULL,
 * but y is x. */
int sae_stream_fill(sae_stream *s, enum sae_split split, uint64_t row0, int64_t B, uint64_t need,
                    sae_batch *out, sae_err *err);

/* Begin to load rows [row0, row0 + B) of TRAIN while the last batch is in use: the next fill that
 * asks for the same takes them over, with the error if there was one. Does nothing unless
 * s->overlaps. Until that fill, or sae_stream_settle, nobody else may use the source. */
int sae_stream_ahead(sae_stream *s, uint64_t row0, int64_t B, uint64_t need, sae_err *err);
/* Wait for what is being loaded and forget it: behind it the source is free. */
void sae_stream_settle(sae_stream *s);

/* Estimate the constants of x, or of y (target 1), from the first min(rows of TRAIN, 2^15) rows;
 * n->kind is set, n->mean [d] is written. A source without TRAIN rows is for evaluation only: kind
 * NONE takes its EVAL rows.
 * buf [B x d] is overwritten. Sums run in double in row order, so the result does not depend on B.
 * SAE_ENONFINITE names the row. */
int sae_norm_estimate(sae_norm_const *n, const sae_dataset *ds, sae_source *src, int target,
                      sae_mat buf, sae_err *err);
int sae_norm_is_per_row(enum sae_norm kind);
/* Normalise raw rows given by the caller (LM activations of the runner); x may be raw. row [rows]
 * is written by kinds that are per row, else ignored. A zero row of UNIT_ROW has scale 1. */
void sae_norm_apply(const sae_norm_const *n, sae_cmat raw, sae_mat x, sae_norm_row *row);
void sae_norm_undo(const sae_norm_const *n, const sae_norm_row *row, sae_mat x);
/* dCE/dx per raw unit -> per model unit, with scale and shift of a row held constant. */
void sae_norm_gradient(const sae_norm_const *n, const sae_norm_row *row, sae_mat g);

#endif
