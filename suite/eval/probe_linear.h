/* suite/eval/probe_linear.h - linear probes: how well a linear map of rows tells a label.
 *
 * The probe is linear discriminant analysis (Fisher 1936; Rao 1948; Hastie, Tibshirani & Friedman
 * 2009, The Elements of Statistical Learning, 4.3): classes c with means m_c and one covariance W
 * within all of them, so that the score of a row is
 *     s_c(x) = (x - m)' R^-1 (m_c - m) - (m_c - m)' R^-1 (m_c - m) / 2,    R = W + 1e-8 diag(T)
 * with m the mean and T the covariance of all N training rows. It has a closed form, streams (class
 * sums and second moments, in double), and unlike least squares on class indicators it does not
 * mask classes that lie between others. The ridge only makes R invertible: language models keep
 * much of what they know in directions of little variance, and a ridge that shrinks (already 1e-3)
 * hides it, even where rows are few. A coordinate without any spread gets weight 0.
 *
 * Two rules read the scores, each the best for its own figure: accuracy adds the log of the class's
 * share of the training rows (compare with the majority class), balanced accuracy, the mean over
 * classes of the share of their rows that are told, adds nothing (compare with 1 / classes). A
 * class that training did not show is never told; of equal scores the first class wins.
 *
 * Everything runs in the order of the rows on the calling thread; probes are independent of each
 * other, so callers run many at once. Rows come by document, for errors over documents.
 */
#ifndef SAE_EVAL_PROBE_LINEAR_H
#define SAE_EVAL_PROBE_LINEAR_H

#include <sae/metric.h>

typedef struct sae_linprobe {
    int64_t d, classes;
    double *count;  /* [classes] training rows */
    double *sum;    /* [classes x d] of rows less the origin */
    double *second; /* [d x d] lower triangle of the sum of products; fit leaves R's factor */
    double *origin; /* [d] the first training row: keeps sums of rows far from 0 exact */
    double *w;      /* [classes x d] after fit */
    double *b;      /* [classes] -infinity for a class not seen */
    double *prior;  /* [classes] log share */
    double *panel;  /* [rows x d] training rows that wait for their products */
    int64_t rows, waiting; /* training rows; of them in the panel */
    double *x;             /* [d] a held-out row less the origin */
    double *groups;        /* sums of held-out rows by document, sae/groups.h */
} sae_linprobe;

typedef struct sae_linprobe_result {
    int64_t trained, rows, classes; /* rows of either kind; classes among the held-out rows */
    double majority;                /* share of the class that is most frequent in training */
    double accuracy, accuracy_se;
    double balanced, balanced_se; /* standard errors over documents; NaN with too few */
} sae_linprobe_result;

int sae_linprobe_open(sae_linprobe *p, int64_t d, int64_t classes, sae_err *err);
void sae_linprobe_close(sae_linprobe *p);

/* Training rows x [rows x d]; the label of row i is label[i * stride], -1: the row does not count.
 */
void sae_linprobe_add(sae_linprobe *p, const sae_real *x, const int32_t *label, int64_t stride,
                      int64_t rows);
/* SAE_ENONFINITE when the rows' products overflow or hold NaN. */
int sae_linprobe_fit(sae_linprobe *p, sae_err *err);
/* Held-out rows of one document, after fit. */
void sae_linprobe_test(sae_linprobe *p, const sae_real *x, const int32_t *label, int64_t stride,
                       int64_t rows, uint64_t doc);
/* Of all held-out rows so far; NaN without any. */
sae_linprobe_result sae_linprobe_score(sae_linprobe *p);

#endif
