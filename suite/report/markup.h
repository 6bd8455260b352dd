/* suite/report/markup.h - numbers in HTML. */
#ifndef SAE_REPORT_MARKUP_H
#define SAE_REPORT_MARKUP_H

#include <stdio.h>

/* The half width of its interval to two digits, the value to the same decimals but to five digits
 * at most; a half width that these do not show is left out. */
void sae_put_number(FILE *f, double value, double half);

#endif
