/* suite/run/deviations.h - how every row of metrics.csv moves when documents are left out.
 *
 * One row of SAE_GROUPS float32 numbers per row of metrics.csv, in the same order: the jackknife's
 * deviations (sae/metric.h); NaN where a value has none. The variance of a difference of two SAEs
 * measured on the same rows is (m - 1) / m times the sum of squares of the difference of their
 * rows, m the number of groups that are not NaN: what both share cancels.
 */
#ifndef SAE_RUN_DEVIATIONS_H
#define SAE_RUN_DEVIATIONS_H

#include "core/file.h"
#include <sae/groups.h>

typedef struct sae_deviations { /* a wave's rows, as they come */
    sae_out out;
    float row[SAE_GROUPS];
    int waiting; /* row is begun and not written */
} sae_deviations;

int sae_deviations_open(sae_deviations *d, const char *path, sae_err *err);
int sae_deviations_next(sae_deviations *d, sae_err *err); /* begin the next row */
void sae_deviations_set(sae_deviations *d, const double *deviation);
int sae_deviations_commit(sae_deviations *d, sae_err *err);
void sae_deviations_abandon(sae_deviations *d);

/* The header of a .npy file of float32 [rows x SAE_GROUPS]; what follows are the waves' files. */
int sae_deviations_header(sae_out *out, int64_t rows, sae_err *err);

#endif
