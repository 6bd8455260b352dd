/* suite/report/compare.h - compare.html: two or more SAEs of a run, metric by metric. */
#ifndef SAE_REPORT_COMPARE_H
#define SAE_REPORT_COMPARE_H

#include "report/data.h"

/* Write dir/compare.html: every metric of the SAEs named by label, spec or id (NULL-terminated, at
 * least two), the first being what the others are compared with. SAE_EINVAL names the SAE that the
 * run does not have. */
int sae_compare_write(const sae_report_data *d, const char *const *names, const char *dir,
                      sae_err *err);

#endif
