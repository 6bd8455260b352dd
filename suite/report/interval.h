/* suite/report/interval.h - 95 % confidence intervals of what the pages show.
 *
 * A value is the mean over S seeds of one SAE, all measured on the same documents. Two things make
 * it vary: which documents were measured, and training. Their variances add up:
 *     error^2 = s^2 / S + e^2
 * s^2 is the variance between the seeds' values; e^2 the delete-a-group jackknife variance of the
 * mean, from the means of the seeds' deviations (deviations.npy), else the mean of their squared
 * standard errors, as if they moved together. With one seed only e^2 is known, and the interval
 * speaks of documents alone. The half width is Student's t times the error, with Satterthwaite's
 * degrees of freedom for S - 1 and the number of groups - 1.
 *
 * The difference of two SAEs is treated alike: e^2 from the difference of their deviations, so that
 * what documents do to both cancels.
 */
#ifndef SAE_REPORT_INTERVAL_H
#define SAE_REPORT_INTERVAL_H

#include "report/data.h"

typedef struct sae_bounds {
    double value, error, df; /* error NaN: not known */
    double half;             /* half width of the 95 % interval; NaN: not known */
    int64_t seeds;           /* the fewer, of a difference */
    int paired;              /* a difference whose documents cancel */
} sae_bounds;

sae_bounds sae_bounds_of(const sae_report_data *d, const sae_cell *c);
/* Value, low and high as figures draw them: the range over seeds; the interval where there is one.
 */
void sae_bar_of(const sae_report_data *d, const sae_cell *c, double out[3]);
const char *sae_bar_caption(const sae_report_data *d); /* for what is drawn so */
/* a - b; both not NULL. */
sae_bounds sae_bounds_of_difference(const sae_report_data *d, const sae_cell *a, const sae_cell *b);
/* The difference that would be told from 0 with 95 % confidence in 80 % of repetitions. */
double sae_detectable(const sae_bounds *b);

#endif
