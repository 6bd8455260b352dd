/* suite/track/detect.h - changes of level in a series: Hampel filter, E-divisive splits, rank
 * tests, smallest effect. Definitions and measured error rates in README.md.
 */
#ifndef SAE_TRACK_DETECT_H
#define SAE_TRACK_DETECT_H

#include <sae/base.h>

enum { SAE_DETECT_VERSION = 1, SAE_DETECT_WINDOW = 60 };

typedef struct sae_detect {
    double p_max;    /* a boundary stays when its Mann-Whitney p is below this */
    double min_rel;  /* and the medians differ by at least this fraction */
    int64_t min_seg; /* fewest points on a side */
} sae_detect;

typedef struct sae_change {
    int64_t index;           /* first point of the new level */
    int64_t n_left, n_right; /* points of the levels before and after */
    double left, right;      /* their medians */
    double rel;              /* right / left - 1; infinite when left is 0 */
    double p;
} sae_change;

/* Replace isolated outliers by the median around them: z [n] out; flag [n] out, 1 where replaced;
 * flag may be NULL. */
void sae_hampel(const double *x, int64_t n, double *z, unsigned char *flag);

/* E-divisive statistic of the split of z[0, kappa) at tau. */
double sae_energy(const double *z, int64_t tau, int64_t kappa);

/* Changes in x [n], n <= SAE_DETECT_WINDOW, in order; *count of them into out [n]. flag as above.
 * Series shorter than 2 min_seg have none. */
int sae_detect_changes(const double *x, int64_t n, const sae_detect *d, sae_change *out,
                       int64_t *count, unsigned char *flag, sae_err *err);

#endif
