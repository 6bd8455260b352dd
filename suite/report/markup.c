/* suite/report/markup.c - numbers in HTML. */
#include "report/markup.h"

#include <math.h>

void sae_put_number(FILE *f, double value, double half)
{
    enum { DIGITS = 5 };
    if (!isfinite(half) || half <= 0) {
        fprintf(f, "%.4g", value);
        return;
    }
    double magnitude = floor(log10(half)), size = fabs(value);
    double most = size > 0 ? DIGITS - 1 - floor(log10(size)) : 9;
    double fit = 1 - magnitude < most ? 1 - magnitude : most;
    int decimals = fit <= 0 ? 0 : fit >= 9 ? 9 : (int)fit;
    fprintf(f, "%.*f", decimals, value);
    if (half >= 0.5 * pow(10, -decimals))
        fprintf(f, " <span class=\"err\">&plusmn;&nbsp;%.*f</span>", decimals, half);
}
