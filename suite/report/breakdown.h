/* suite/report/breakdown.h - what the unexplained variance of SAEs of several widths is made of
 * (metrics/darkmatter.md). */
#ifndef SAE_REPORT_BREAKDOWN_H
#define SAE_REPORT_BREAKDOWN_H

#include "report/canvas.h"

typedef struct sae_power_law {
    double c, a, m; /* y = c + a x^m with c, a >= 0 and m < 0 */
    double rms;     /* of the residuals */
} sae_power_law;

/* Least squares over `count` points, x > 0. */
sae_power_law sae_power_law_fit(const double *x, const double *y, int64_t count);
double sae_power_law_at(const sae_power_law *f, double x);

enum { SAE_BREAKDOWN_WIDTHS = 4 }; /* the least of them */

/* Of every recipe of which the run has that many widths with darkmatter.fvu and
 * darkmatter.fvu_nonlinear: breakdown.csv, a row per SAE (no file when there is none), ... */
int sae_breakdown_write(const sae_report_data *d, const char *run_dir, sae_err *err);
/* ... and a figure. */
int sae_breakdown_draw(sae_canvas *c, const sae_section_figure *f);

#endif
