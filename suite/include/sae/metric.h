/* sae/metric.h - a streaming, mergeable measurement.
 *
 * The runner shows a metric every evaluated batch once, in the original (denormalised) activation
 * space, in a fixed order. Results must not depend on how rows are cut into batches. State is a
 * flat, position-independent block, so that it can be merged, stored and resumed.
 *
 * What a metric calls x are the rows that xhat reconstructs: the SAE's input, or the target of a
 * variant that has one of its own (SAE_NEED_TARGET). Everything around a language model is then at
 * the target's hook.
 */
#ifndef SAE_METRIC_H
#define SAE_METRIC_H

#include "variant.h"

#include <math.h>

enum { SAE_METRIC_ABI = 2 };

enum sae_better { SAE_HIGHER, SAE_LOWER, SAE_TARGET_ZERO, SAE_INFO, SAE_TARGET_ONE };

enum { /* what a metric reads beyond x; a metric whose needs are not met is skipped and logged */
    SAE_MNEED_CODE = 1 << 0,
    SAE_MNEED_XHAT = 1 << 1,
    SAE_MNEED_LM = 1 << 2,    /* sae_eval.splice */
    SAE_MNEED_TRUTH = 1 << 3, /* sae_eval.truth */
    SAE_MNEED_LABELS = 1 << 4,
    SAE_MNEED_GRAD = 1 << 5,
    SAE_MNEED_INSERT = 1 << 6,  /* sae_eval.insert, and of the splice the unchanged model */
    SAE_MNEED_PEER = 1 << 7,    /* compares two SAEs: sae_measure.peer, sae_eval.peer */
    SAE_MNEED_ZERO_ALL = 1 << 8 /* ce_zero_all and kl_zero_all of sae_splice: one more pass */
};

/* Entries of row i of a code, dense or sparse: p from sae_code_row(z, i) to sae_code_row(z, i + 1),
 * exclusive; the feature of entry p is sae_code_feature(z, i, p), its value z->val[p]. */
static inline int64_t sae_code_row(const sae_code *z, int64_t i)
{
    return z->dense ? i * z->n : z->rowptr[i];
}
static inline int64_t sae_code_feature(const sae_code *z, int64_t i, int64_t p)
{
    return z->dense ? p - i * z->n : z->idx[p];
}
/* 0 when the feature is not listed. */
static inline double sae_code_value(const sae_code *z, int64_t i, int64_t feature)
{
    if (z->dense)
        return (double)z->val[i * z->n + feature];
    for (int64_t p = z->rowptr[i]; p < z->rowptr[i + 1]; p++)
        if (z->idx[p] == feature)
            return (double)z->val[p];
    return 0;
}

/* A discrete variable that a source states for every token. */
typedef struct sae_label {
    const char *name; /* [a-z][a-z0-9_]* */
    int64_t classes;
    const char *const *class_names; /* [classes] */
    int bidirectional; /* 1: the first and the last class are opposite poles of one direction */
} sae_label;

/* Language-model losses around the hook, one entry per scored token. What needs no next token has
 * P entries: those, then the last position of every context. Losses of a changed model are there
 * for metrics with SAE_MNEED_LM. */
typedef struct sae_splice {
    int64_t T;               /* scored tokens: every token after BOS of every context */
    const sae_token *tok;    /* [P] the predicting position */
    const double *ce_clean;  /* [T] nats, unchanged model */
    const double *ce_splice; /* [T] hook rows replaced by xhat (excluded positions kept) */
    const double *ce_zero;   /* [T] the same rows replaced by 0 */
    const double *ce_mean;   /* [T] the same rows replaced by the mean row of TRAIN */
    const double *kl_splice; /* [P] KL(clean || spliced), nats */
    const double *kl_zero;   /* [P] KL(clean || zero-ablated), nats */
    int64_t P;               /* positions, >= T */
    const unsigned char *kept; /* [P] 0: the predicting position is unseen by SAEs (BOS) */
    const int32_t *top_clean, *top_splice; /* [P] most likely next token, -1: none (NaN) */
    const double *ce_zero_all; /* [T] every row at the hook replaced by 0, excluded ones too; */
    const double *kl_zero_all; /* [P] both NULL unless a metric asks for SAE_MNEED_ZERO_ALL */
} sae_splice;

/* raw = scale * model units + shift, of one row. */
typedef struct sae_norm_row {
    double scale, shift;
} sae_norm_row;

/* What a further pass of the language model is to give; NULL: not wanted. Tokens are the first T
 * positions of sae_splice. */
typedef struct sae_insert_out {
    double *ce;        /* [T] nats */
    double *kl;        /* [T] KL(clean || this pass), nats */
    sae_real *logprob; /* [rows x vocab] nats, see sae_insert.at */
    sae_real *grad;    /* [B x d] d(sum of ce over all scored tokens)/d(row) at the rows given */
    const int32_t *expect; /* in: [T] tokens that ce and grad are about in place of those that
                              follow; -1: none, ce is NaN and grad is without it */
} sae_insert_out;

/* Further passes of the language model over the documents of the batch, with rows of the metric's
 * own choice at the hook. Usable during batch() only. A pass costs what ce_splice costs, with grad
 * about three times that. */
typedef struct sae_insert {
    int64_t rows, vocab;     /* rows: every position of the documents */
    const int64_t *at;       /* [T] log-probabilities of a scored token are at
                                logprob + at[t] * vocab */
    const int64_t *row;      /* [T] its row of the batch, -1: SAEs do not see it */
    const int32_t *next;     /* [T] the token that follows */
    const sae_real *logprob; /* [rows x vocab] nats, of the unchanged model */
    void *self;
    /* x [B x d] in raw units stand in for the batch's; excluded positions keep their own. */
    int (*run)(void *self, const sae_real *x, const sae_insert_out *out);
} sae_insert;

/* The other SAE of a pair on the same rows. */
typedef struct sae_eval_peer {
    const sae_real *xhat; /* [B x d] raw units; NULL unless needed */
    const sae_code *code; /* NULL unless needed */
} sae_eval_peer;

typedef struct sae_eval { /* one evaluated batch; all pointers borrowed for the call */
    int64_t B, d;             /* d: d_out of the model */
    const sae_real *x, *xhat; /* [B x d] raw activation units; xhat NULL unless needed */
    const sae_real *g;        /* [B x d] dCE/dx or NULL */
    const sae_code *code;     /* [B x n] or NULL unless needed */
    const sae_token *tok;     /* [B]; sources without documents number rows as documents */
    const int32_t *label;     /* [B x sae_measure.labels] classes, -1: does not apply; or NULL */
    const sae_truth *truth;   /* NULL unless needed */
    const sae_splice *splice; /* NULL unless needed */
    uint64_t row0;            /* number of the first row; rows of a pass count from 0 */
    const sae_norm_row *norm; /* [B] where rows are normalised one by one; NULL: all alike, by
                                 sae_measure.scale */
    const sae_insert *insert; /* NULL unless needed */
    const sae_eval_peer *peer; /* NULL unless needed */
} sae_eval;

typedef struct sae_row { /* one result */
    const char *key;     /* appended to the metric's name with a dot: "reconstruction.fvu" */
    double value;        /* NaN is written as an empty field with the reason in the log */
    double se;           /* standard error over documents; NaN if not estimated */
    int64_t count;       /* rows, tokens or features behind the value */
    const char *unit;    /* "1", "nats", "features", ... */
    enum sae_better better;
} sae_row;

/* One point of a per-feature or histogram table (features.csv, plots). */
typedef struct sae_series {
    const char *key;      /* "density", "ce_by_position", ... */
    int64_t index;        /* feature, bin or position */
    double value;
} sae_series;

/* An SAE by what a pair metric knows of it beside the one under measurement. */
typedef struct sae_peer {
    const sae_model *m;
    const sae_ctx *c;
    const char *spec; /* canonical */
    uint64_t seed;
    double scale;
} sae_peer;

typedef struct sae_measure { /* context of a measurement; read-only for metrics */
    uint32_t size;
    const sae_model *m;
    const sae_ctx *c;        /* kernels, seed, training statistics (host memory) */
    const char *spec;        /* canonical */
    uint64_t seed;           /* of its training */
    const sae_peer *peer;    /* with SAE_MNEED_PEER, else NULL */
    const void *opt;
    const sae_truth *truth;  /* atoms (n, d, dict; code NULL) with SAE_MNEED_TRUTH, else NULL;
                                valid in state_size, begin and end */
    const sae_label *label;  /* [labels] with SAE_MNEED_LABELS, else NULL and 0 */
    int64_t labels;
    double scale;            /* decoded activations in raw units = scale * model units (mean) */
    int (*emit)(void *sink, const sae_row *row);
    int (*point)(void *sink, const sae_series *p);
    /* How a value moves when a group of documents is left out, less its mean over groups:
     * deviation[g], g in [0, 256), NaN for a group without rows; after emit of that key. Lets a
     * reader tell differences of SAEs measured on the same rows. May be NULL. */
    int (*deviations)(void *sink, const char *key, const double *deviation);
    void *sink;
} sae_measure;

static inline sae_norm_row sae_eval_norm(const sae_measure *r, const sae_eval *e, int64_t i)
{
    sae_norm_row alike = {r->scale, 0};
    return e->norm ? e->norm[i] : alike;
}

typedef struct sae_metric {
    uint32_t abi, size; /* SAE_METRIC_ABI, sizeof(sae_metric) */
    const char *name, *summary, *source;
    uint32_t needs;     /* SAE_MNEED_*: without one of these it does not run */
    size_t opt_size;    /* >= 1 */
    const sae_option *options;
    size_t (*state_size)(const sae_measure *r);
    /* state is zeroed, 64-byte aligned; begin and end may use transient memory of their own */
    int (*begin)(const sae_measure *r, void *state);
    /* SAE_DONE: the rest of this pass is not wanted */
    int (*batch)(const sae_measure *r, void *state, const sae_eval *e);
    /* into += from; associative and commutative up to rounding */
    int (*merge)(const sae_measure *r, void *into, const void *from);
    int (*end)(const sae_measure *r, void *state); /* emits rows; SAE_AGAIN: another pass */
    uint32_t wants; /* SAE_MNEED_*: what it also reads where there is any */
    /* With SAE_MNEED_PEER: whether r->m with r->peer is a pair to measure. Asked for every ordered
     * pair of different SAEs that are measured together and reconstruct the same rows. */
    int (*pair)(const sae_measure *r);
    uint32_t (*wants_for)(const void *opt); /* the part of wants with these options; NULL: all */
    /* Passes with these options where the rows are enough for it, so that others know what is left;
     * NULL: one. It may answer SAE_AGAIN less often. */
    int64_t (*passes_for)(const void *opt);
} sae_metric;

/* ---- for the authors of metrics -------------------------------------------------------------- */

/* A value without a standard error. */
static inline int sae_emit_value(const sae_measure *r, const char *key, double value, int64_t count,
                                 const char *unit, enum sae_better better)
{
    sae_row row = {key, value, (double)NAN, count, unit, better};
    return r->emit(r->sink, &row);
}

static inline int sae_emit_point(const sae_measure *r, const char *series, int64_t index,
                                 double value)
{
    sae_series p = {series, index, value};
    return r->point(r->sink, &p);
}

/* `begin` of a metric whose state starts as zeros. */
static inline int sae_begin_zero(const sae_measure *r, void *state)
{
    (void)r, (void)state;
    return SAE_OK;
}

/* `state_size`, `batch` and `merge` of a metric that reads no rows. */
static inline size_t sae_no_rows_size(const sae_measure *r)
{
    (void)r;
    return 1;
}
static inline int sae_no_rows_batch(const sae_measure *r, void *state, const sae_eval *e)
{
    (void)r, (void)state, (void)e;
    return SAE_DONE;
}
static inline int sae_no_rows_merge(const sae_measure *r, void *into, const void *from)
{
    (void)r, (void)into, (void)from;
    return SAE_OK;
}

/* What a metric reads with these options where all that it wants is there. */
static inline uint32_t sae_metric_reads(const sae_metric *m, const void *opt)
{
    return m->needs | (m->wants & (m->wants_for ? m->wants_for(opt) : m->wants));
}

static inline int64_t sae_metric_passes(const sae_metric *m, const void *opt)
{
    return m->passes_for ? m->passes_for(opt) : 1;
}

#endif
