/* suite/track/stats.h - order statistics, rank tests and exact intervals; definitions in README.md.
 *
 * Inputs hold finite numbers only.
 */
#ifndef SAE_TRACK_STATS_H
#define SAE_TRACK_STATS_H

#include <sae/base.h>

enum { SAE_PAIRS_MAX = 64 };

/* Quantile q of sorted values, linear between order statistics; NaN when n is 0. */
double sae_sorted_quantile(const double *x, int64_t n, double q);
/* Median; x is sorted in place. NaN when n is 0. */
double sae_median(double *x, int64_t n);
/* to / from - 1, counted upwards when from is negative; infinite when from is 0 and to is not. */
double sae_relative(double from, double to);
/* Median of |x - centre| (not scaled). room: [n] */
double sae_mad(const double *x, int64_t n, double centre, double *room);

/* Two-sided Mann-Whitney test: exact without ties and with a sample of at most 8, else the normal
 * approximation with continuity and tie corrections (scipy's automatic method). p is 1 when either
 * sample is empty or all values are equal. */
int sae_mann_whitney(const double *x, int64_t nx, const double *y, int64_t ny, double *p,
                     sae_err *err);

/* Wilcoxon's signed-rank statistic of `pairs` <= SAE_PAIRS_MAX differences under the null:
 * P(W+ <= w), and how many values w have P(W+ <= w) <= alpha / 2. */
double sae_signed_rank_cdf(int pairs, int64_t w);
int64_t sae_signed_rank_k(int pairs, double alpha);

typedef struct sae_interval {
    double centre, lo, hi;
} sae_interval;

/* Hodges-Lehmann estimate of the centre of d [pairs] and its exact two-sided interval; infinite
 * ends when there are too few pairs for alpha. */
sae_interval sae_hodges_lehmann(const double *d, int pairs, double alpha);
/* One-sided exact p of "the centre of d is at most `shift`" (Walsh averages equal to it count for
 * the hypothesis). lo > shift exactly when 2 p <= alpha. */
double sae_signed_rank_p(const double *d, int pairs, double shift);

#endif
