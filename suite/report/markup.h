/* suite/report/markup.h - numbers, heads and meanings of columns in HTML. */
#ifndef SAE_REPORT_MARKUP_H
#define SAE_REPORT_MARKUP_H

#include "report/section.h"

#include <stdio.h>

/* The half width of its interval to two digits, the value to the same decimals but to five digits
 * at most; a half width that these do not show is left out. */
void sae_put_number(FILE *f, double value, double half);
/* The head of a table's column, with its unit and which values are better. */
void sae_put_head(FILE *f, const sae_section_row *c);
/* What the column means, an entry of a list of terms. */
void sae_put_term(FILE *f, const sae_section_row *c);

#endif
