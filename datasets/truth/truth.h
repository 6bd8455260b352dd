/* datasets/truth/truth.h - what sources whose atoms are known share: rows, truth, splits, hash.
 *
 * A source says how the code of a row is drawn (truth_law); here the code is multiplied with the
 * atoms, offset and noise are added, and batches are dealt to threads. A row is a pure function of
 * (options, seed, row) through Philox streams.
 */
#ifndef SAE_TRUTH_TRUTH_H
#define SAE_TRUTH_TRUTH_H

#include <sae/dataset.h>
#include <sae/fail.h>

enum { /* streams of these sources; 16..63 belong to datasets */
    TRUTH_DICT = SAE_STREAM_SYNTHETIC,
    TRUTH_SUPPORT,
    TRUTH_COEF,
    TRUTH_NOISE,
    TRUTH_OFFSET,
    TRUTH_WORLD,     /* frequencies, correlations, spreads: drawn once */
    TRUTH_COMMON,    /* what the features of a row share */
    TRUTH_EXCLUSIVE, /* which of several */
};

enum truth_unit { TRUTH_UNIT_NONE, TRUTH_UNIT_CODE, TRUTH_UNIT_ROW };

typedef struct truth_row { /* one row in the making */
    int64_t count;
    int32_t *idx; /* [features] ascending, different */
    double *val;  /* [features] */
    double *x;    /* [d] */
    double *work; /* [law.work] of the source; kept from row to row, 0 at first */
} truth_row;

typedef struct truth_law {
    const char *name; /* of the source */
    const sae_option *options;
    size_t opt_size;
    int64_t d, features;
    int64_t rows;   /* of an epoch of TRAIN; 0: it never ends */
    int64_t work;   /* doubles that code() needs for a row */
    int unit;       /* truth_unit: what is scaled to norm 1 */
    double offset;  /* norm of a random vector added to all rows */
    void (*code)(const sae_source *s, uint64_t row, truth_row *w); /* sets count, idx, val */
    void (*noise)(const sae_source *s, uint64_t row, truth_row *w); /* adds to x; NULL: none */
    int32_t (*label)(const sae_source *s, uint64_t row);            /* NULL: no labels */
} truth_law;

enum { TRUTH_CHUNKS = 64, TRUTH_BLOCKS = 16 };

struct sae_source {
    truth_law law;
    uint64_t seed;
    void (*parallel)(void (*body)(void *arg, int64_t i), void *arg, int64_t n);
    void *opt;        /* the source's options, a copy */
    void *own;        /* what code() reads; memory of truth_take() */
    sae_real *dict;   /* [features x d] unit rows */
    int32_t *parent;  /* [features] as in sae_truth, of truth_take(); or NULL */
    double *offset;   /* [d] */
    char hash[36];
    truth_row part[TRUTH_CHUNKS]; /* scratch of the parts of a batch */
    sae_code code;                /* of truth(); grows */
    void *block[TRUTH_BLOCKS];
    int blocks;
};

/* Gaussian unit atoms, the offset, scratch, the hash of all options. */
int truth_open(sae_source **source, const truth_law *law, const void *opt, const sae_host *host,
               sae_dims *dim, sae_err *err);
/* Zeroed memory that lives as long as the source; NULL when there is none. */
void *truth_take(sae_source *s, int64_t count, size_t size);

/* Members of a descriptor. */
int truth_fill(sae_source *s, enum sae_split split, uint64_t row0, int64_t B, const sae_fill *out,
               sae_err *err);
int truth_of(sae_source *s, enum sae_split split, uint64_t row0, int64_t B, sae_truth *t,
             sae_err *err);
int64_t truth_rows(const sae_source *s, enum sae_split split);
int truth_hash(const sae_source *s, char out[36]);
void truth_close(sae_source **source);

/* Append a feature above all others of the row. */
static inline void truth_add(truth_row *w, int64_t i, double value)
{
    w->idx[w->count] = (int32_t)i;
    w->val[w->count++] = value;
}

/* ---- random numbers -------------------------------------------------------------------------- */

/* x[j] += sd * normal j of the row's noise, j in [0, n). */
void truth_white(const sae_source *s, uint64_t row, double sd, double *x, int64_t n);
/* Uniform in (0, 1), number i of a row. */
static inline double truth_u01(const sae_source *s, uint32_t stream, uint64_t row, int64_t i)
{
    return (double)sae_u01(sae_philox(s->seed, stream, row, (uint32_t)(i / 4)).v[i % 4]);
}
/* x with P(|N(0,1)| > x) = q, 0 < q < 1. */
double truth_normal_tail(double q);
/* x with P(N(0,1) > x) = p; infinite at p <= 0 and p >= 1. */
double truth_normal_above(double p);

/* ---- matrices, in double --------------------------------------------------------------------- */

/* Make the rows of dict mutually orthogonal (features <= d), or a tight frame, D^T D = features / d
 * (features > d), as far as unit rows allow: the least sum of squared cosines. */
int truth_spread_atoms(sae_source *s, sae_err *err);
/* The lower triangle of a [n x n] becomes L, a = L L^T; 0 where a is not positive definite. */
int truth_cholesky(double *a, int64_t n);
/* Symmetric a [n x n]: its diagonal becomes the eigenvalues, rows of v the eigenvectors. */
void truth_eigen(double *a, double *v, int64_t n);

#endif
