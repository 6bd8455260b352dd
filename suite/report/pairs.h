/* suite/report/pairs.h - what pairs of SAEs have in common: pairs.csv as tables. */
#ifndef SAE_REPORT_PAIRS_H
#define SAE_REPORT_PAIRS_H

#include "report/data.h"
#include "report/section.h"

#include <stdio.h>

/* Whether pairs.csv has a value of the section. */
int sae_pairs_any(const sae_report_data *d, const sae_section *s);
/* A row per pair of specs, means over the pairs of their seeds; with what the columns mean. */
void sae_put_pairs(FILE *f, const sae_report_data *d, const sae_section *s);

#endif
