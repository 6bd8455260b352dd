/* suite/report/markup.c - numbers, heads and meanings of columns in HTML. */
#include "report/markup.h"

#include "report/template.h"

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

void sae_put_head(FILE *f, const sae_section_row *c)
{
    static const char *const words[] = {"", "higher is better", "lower is better", "0 is best",
                                        "1 is best"};
    fputs("<th scope=\"col\">", f);
    sae_html_text(f, c->head);
    fprintf(f, "<span class=\"unit\">%s%s%s</span></th>", c->unit ? c->unit : "",
            c->unit && c->better ? ", " : "", words[c->better]);
}

void sae_put_term(FILE *f, const sae_section_row *c)
{
    fputs("<dt>", f);
    sae_html_text(f, c->head);
    fputs(" <code>", f);
    sae_html_text(f, c->metric);
    fputs("</code></dt><dd>", f);
    sae_html_text(f, c->meaning);
    if (c->unit)
        fprintf(f, " In %s.", c->unit);
    fputs("</dd>\n", f);
}
