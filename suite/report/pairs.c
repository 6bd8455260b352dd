/* suite/report/pairs.c - what pairs of SAEs have in common. */
#include "report/pairs.h"

#include "report/markup.h"
#include "report/template.h"

#include <math.h>
#include <string.h>

/* A row of pairs.csv that is of the section's column. */
static int is_of(const sae_table *t, int64_t row, const sae_section_row *c)
{
    return !strcmp(sae_table_cell(t, row, "metric"), c->metric) &&
           isfinite(sae_table_real(t, row, "value"));
}

static int same_specs(const sae_table *t, int64_t a, int64_t b)
{
    return !strcmp(sae_table_cell(t, a, "spec"), sae_table_cell(t, b, "spec")) &&
           !strcmp(sae_table_cell(t, a, "peer"), sae_table_cell(t, b, "peer"));
}

static const sae_section_row *column_of(const sae_section *s, const sae_table *t, int64_t row)
{
    for (unsigned k = 0; k < s->rows_count; k++)
        if (is_of(t, row, &s->rows[k]))
            return &s->rows[k];
    return NULL;
}

int sae_pairs_any(const sae_report_data *d, const sae_section *s)
{
    for (int64_t i = 0; i < d->pairs.rows; i++)
        if (column_of(s, &d->pairs, i))
            return 1;
    return 0;
}

static const char *label_of(const sae_report_data *d, const char *spec)
{
    for (int64_t i = 0; i < d->configs; i++)
        if (!strcmp(d->config[i].spec, spec))
            return d->config[i].label;
    return spec;
}

/* Mean over the pairs of seeds of two specs, of which `first` is a row; their number. */
static int64_t mean_of(const sae_table *t, int64_t first, const sae_section_row *c, double *mean)
{
    int64_t count = 0;
    *mean = 0;
    for (int64_t i = first; i < t->rows; i++)
        if (is_of(t, i, c) && same_specs(t, i, first))
            *mean += (sae_table_real(t, i, "value") - *mean) / (double)++count;
    return count;
}

/* Whether an earlier row of the section is of the same two specs. */
static int seen(const sae_table *t, int64_t row, const sae_section *s)
{
    for (int64_t i = 0; i < row; i++)
        if (same_specs(t, i, row) && column_of(s, t, i))
            return 1;
    return 0;
}

static void put_pair(FILE *f, const sae_report_data *d, const sae_section *s, int64_t row)
{
    const sae_table *t = &d->pairs;
    const char *spec = sae_table_cell(t, row, "spec"), *peer = sae_table_cell(t, row, "peer");
    int64_t most = 0;
    double mean;
    fputs("<tr><th scope=\"row\"><code>", f);
    sae_html_text(f, label_of(d, spec));
    fputs("</code></th><td><code>", f);
    sae_html_text(f, strcmp(spec, peer) ? label_of(d, peer) : "another seed");
    fputs("</code></td>", f);
    for (unsigned k = 0; k < s->rows_count; k++) {
        int64_t count = mean_of(t, row, &s->rows[k], &mean);
        most = count > most ? count : most;
    }
    fprintf(f, "<td>%lld</td>", (long long)most);
    for (unsigned k = 0; k < s->rows_count; k++) {
        fputs("<td>", f);
        if (mean_of(t, row, &s->rows[k], &mean) > 0)
            sae_put_number(f, mean, (double)NAN);
        else
            fputs("&ndash;", f);
        fputs("</td>", f);
    }
    fputs("</tr>\n", f);
}

void sae_put_pairs(FILE *f, const sae_report_data *d, const sae_section *s)
{
    if (!sae_pairs_any(d, s))
        return;
    fputs("<div class=\"scroll\"><table>\n<thead><tr><th scope=\"col\">SAE</th>"
          "<th scope=\"col\">with</th><th scope=\"col\">pairs</th>",
          f);
    for (unsigned k = 0; k < s->rows_count; k++)
        sae_put_head(f, &s->rows[k]);
    fputs("</tr></thead>\n<tbody>\n", f);
    for (int64_t i = 0; i < d->pairs.rows; i++)
        if (column_of(s, &d->pairs, i) && !seen(&d->pairs, i, s))
            put_pair(f, d, s, i);
    fputs("</tbody></table></div>\n<p class=\"note\">Means over the pairs of seeds.</p>\n"
          "<dl class=\"terms\">\n",
          f);
    for (unsigned k = 0; k < s->rows_count; k++)
        sae_put_term(f, &s->rows[k]);
    fputs("</dl>\n", f);
}
