/* suite/eval/runner.h - measure many SAEs in one pass over the evaluation split.
 *
 * Each batch is read (or captured) once, encoded and decoded by every SAE, denormalised, and shown
 * to every metric. When a metric splices into a language model, batches are whole documents: one
 * clean pass, one zero- and one mean-ablated pass are shared by all SAEs, and one spliced pass is
 * run per SAE; metrics over rows see the rows of the clean pass. Rows come in the same order either
 * way. Further passes run what the metrics that asked for them read, and end when these have seen
 * enough. A metric that compares SAEs is run for every ordered pair it asks for among the SAEs
 * measured together. SAEs that reconstruct a separate target (SAE_NEED_TARGET) get a pass of their
 * own, after the others: their metrics compare with the target, and the language model goes on from
 * its hook.
 */
#ifndef SAE_EVAL_RUNNER_H
#define SAE_EVAL_RUNNER_H

#include "train/sae_file.h"
#include "train/stream.h"

typedef struct sae_subject { /* one SAE under measurement; all borrowed */
    const sae_model *model;
    const void *opt;            /* options at the end of training; NULL: model->opt */
    const sae_stats *stats;     /* training statistics (backend memory), NULL when unknown */
    const sae_norm_const *norm; /* of its training stream */
    const sae_norm_const *target; /* of its targets there; NULL where it has none */
    const char *spec;           /* canonical */
    uint64_t seed;
} sae_subject;
sae_subject sae_subject_of(const sae_loaded *s); /* s is borrowed, too */

/* One line of metrics.csv / features.csv, handed to the sink. With a peer: of the pair. */
typedef struct sae_result {
    const sae_subject *subject, *peer;
    const char *metric; /* "downstream.loss_recovered_zero" */
    const sae_row *row; /* value, se, count, unit */
    const char *reason; /* why there is no finite value; NULL when there is one */
} sae_result;
typedef struct sae_result_point {
    const sae_subject *subject, *peer;
    const char *metric; /* "sparsity"; the series is point->key */
    const sae_series *point;
} sae_result_point;
typedef struct sae_result_deviations { /* of the row handed over last */
    const sae_subject *subject, *peer;
    const char *metric;
    const double *deviation; /* [SAE_GROUPS], see sae_measure.deviations */
} sae_result_deviations;

typedef struct sae_evaluation {
    sae_stream *stream;        /* EVAL split is read */
    const sae_engine *e;
    const sae_registry *reg;   /* opens base SAEs; may be NULL where no variant needs one */
    const sae_subject *subject;
    int64_t count;
    sae_spec *const *metric;   /* [metrics] */
    int64_t metrics;
    int64_t rows;              /* rows to measure (with a language model rounded up to whole
                                  groups of documents); 0: all of a bounded split, else 65536 */
    int (*on_row)(void *arg, const sae_result *r);
    int (*on_point)(void *arg, const sae_result_point *p); /* may be NULL */
    int (*on_deviations)(void *arg, const sae_result_deviations *d); /* may be NULL */
    void *arg;
} sae_evaluation;

/* Metrics whose needs the dataset cannot meet are skipped with one log line each. Everything is
 * allocated before the first batch. The same inputs give the same bits; a batch is B rows of the
 * stream, or the documents that fit into B rows. SAE_EINTR after Ctrl-C. */
int sae_evaluate(const sae_evaluation *ev, sae_err *err);

#endif
