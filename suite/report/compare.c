/* suite/report/compare.c - compare.html: two or more SAEs of a run, metric by metric. */
#include "report/compare.h"

#include "core/assets.h"
#include "core/error.h"
#include "core/memory.h"
#include "report/interval.h"
#include "report/markup.h"
#include "report/template.h"

#include <math.h>
#include <string.h>

enum { SAES_MAX = 8 };

typedef struct page {
    FILE *f;
    const sae_report_data *d;
    int64_t config[SAES_MAX]; /* the first is the reference */
    int count;
} page;

/* ---- which SAEs ------------------------------------------------------------------------------ */

/* Whether saes.csv gives that id to the spec. */
static int has_id(const sae_report_data *d, const char *spec, const char *id)
{
    for (int64_t i = 0; i < d->saes.rows; i++)
        if (!strcmp(sae_table_cell(&d->saes, i, "spec"), spec) &&
            !strcmp(sae_table_cell(&d->saes, i, "id"), id))
            return 1;
    return 0;
}

static int find(const sae_report_data *d, const char *name, int64_t *config, sae_err *err)
{
    for (*config = 0; *config < d->configs; ++*config) {
        const sae_config *c = &d->config[*config];
        if (!strcmp(c->label, name) || !strcmp(c->spec, name) || has_id(d, c->spec, name))
            return SAE_OK;
    }
    SAE_FAIL(
        err, SAE_EINVAL,
        "--compare %s: the run has no such SAE; expected a spec as the page shows it%s%s, or an "
        "id of saes.csv",
        name, d->configs ? ", such as " : "", d->configs ? d->config[0].label : "");
}

/* ---- the table ------------------------------------------------------------------------------- */

/* How far a value is from the best one, where there is one: less is better. */
static double distance(const sae_cell *c)
{
    return !strcmp(c->better, "higher")  ? -c->mean
           : !strcmp(c->better, "lower") ? c->mean
           : !strcmp(c->better, "zero")  ? fabs(c->mean)
                                         : fabs(c->mean - 1);
}

/* What the interval of the difference says of an SAE beside the reference. */
static const char *verdict(const sae_bounds *b, const sae_cell *own, const sae_cell *reference)
{
    if (b->value == 0)
        return "equal";
    if (isnan(b->half))
        return "no interval";
    if (fabs(b->value) <= b->half)
        return "not separated";
    if (!*own->better)
        return b->value > 0 ? "higher" : "lower";
    return distance(own) < distance(reference) ? "better" : "worse";
}

static void put_difference(const page *p, const sae_cell *own, const sae_cell *reference)
{
    if (!own || !reference) {
        fputs("<td>&ndash;</td><td></td><td></td>", p->f);
        return;
    }
    sae_bounds b = sae_bounds_of_difference(p->d, own, reference);
    const char *says = verdict(&b, own, reference);
    fputs("<td>", p->f);
    sae_put_number(p->f, b.value, b.half);
    double least = sae_detectable(&b);
    fputs("</td><td>", p->f);
    if (isfinite(least))
        fprintf(p->f, "%.2g", least);
    fprintf(p->f, "</td><td%s>%s</td>", !strcmp(says, "better") ? " class=\"best\"" : "", says);
}

static void put_cell(const page *p, const sae_cell *c)
{
    fputs("<td>", p->f);
    if (c)
        sae_put_number(p->f, c->mean, sae_bounds_of(p->d, c).half);
    else
        fputs("&ndash;", p->f);
    fputs("</td>", p->f);
}

static void put_metric(const page *p, int64_t metric)
{
    const sae_cell *cell[SAES_MAX];
    int known = 0;
    for (int i = 0; i < p->count; i++) {
        cell[i] = sae_report_cell_at(p->d, p->config[i], metric);
        known += cell[i] != NULL;
    }
    if (known == 0)
        return;
    fputs("<tr><th scope=\"row\"><code>", p->f);
    sae_html_text(p->f, p->d->metric[metric]);
    fputs("</code></th>", p->f);
    put_cell(p, cell[0]);
    for (int i = 1; i < p->count; i++) {
        put_cell(p, cell[i]);
        put_difference(p, cell[i], cell[0]);
    }
    fputs("</tr>\n", p->f);
}

static void put_name(const page *p, int i)
{
    fputs("<code>", p->f);
    sae_html_text(p->f, p->d->config[p->config[i]].label);
    fputs("</code>", p->f);
}

static void put_table(const void *arg)
{
    const page *p = arg;
    fputs("<div class=\"scroll\"><table>\n<thead><tr><th scope=\"col\">metric</th>", p->f);
    for (int i = 0; i < p->count; i++) {
        fputs("<th scope=\"col\">", p->f);
        put_name(p, i);
        fputs("</th>", p->f);
        if (i > 0)
            fputs("<th scope=\"col\">difference</th><th scope=\"col\">detectable</th>"
                  "<th scope=\"col\"></th>",
                  p->f);
    }
    fputs("</tr></thead>\n<tbody>\n", p->f);
    for (int64_t m = 0; m < p->d->metric_count; m++)
        put_metric(p, m);
    fputs("</tbody></table></div>\n", p->f);
}

static void put_title(const void *arg)
{
    const page *p = arg;
    for (int i = 0; i < p->count; i++) {
        fputs(i == 0 ? "" : i == 1 ? " beside " : ", ", p->f);
        put_name(p, i);
    }
}

static void put_notes(const void *arg)
{
    const page *p = arg;
    int64_t least = INT64_MAX;
    for (int i = 0; i < p->count; i++)
        for (int64_t m = 0; m < p->d->metric_count; m++) {
            const sae_cell *c = sae_report_cell_at(p->d, p->config[i], m);
            least = c && c->seeds < least ? c->seeds : least;
        }
    if (least == 1)
        fputs("<p><strong>One training seed.</strong> The intervals speak of the documents alone: "
              "another training of the same SAE may differ by more.</p>\n",
              p->f);
    if (!p->d->deviations.data)
        fputs("<p>The run has no deviations.npy: documents are treated as if each SAE had been "
              "measured on others, which makes the intervals of differences too wide.</p>\n",
              p->f);
}

static void put_css(const void *arg)
{
    const page *p = arg;
    sae_asset_write("reports/report.css", p->f);
}

static const sae_part parts[] = {{"@TITLE@", put_title},
                                 {"@CSS@", put_css},
                                 {"@NOTES@", put_notes},
                                 {"@TABLE@", put_table},
                                 {NULL, NULL}};

int sae_compare_write(const sae_report_data *d, const char *const *names, const char *dir,
                      sae_err *err)
{
    page p = {.d = d};
    sae_out o;
    for (; names[p.count]; p.count++) {
        if (p.count == SAES_MAX)
            SAE_FAIL(err, SAE_EINVAL, "--compare: at most %d SAEs fit beside each other", SAES_MAX);
        SAE_TRY(find(d, names[p.count], &p.config[p.count], err));
        for (int i = 0; i < p.count; i++)
            if (p.config[i] == p.config[p.count])
                SAE_FAIL(err, SAE_EINVAL, "--compare %s: the same SAE as %s", names[p.count],
                         names[i]);
    }
    if (p.count < 2)
        SAE_FAIL(err, SAE_EINVAL, "--compare: expected at least two SAEs, found %d", p.count);
    char *path = sae_path_join(dir, "compare.html");
    int rc = path ? sae_out_open(&o, path, err) : SAE_SET(err, SAE_ENOMEM, "out of memory");
    sae_free(path);
    SAE_TRY(rc);
    p.f = o.f;
    sae_template_fill("reports/compare.html", parts, &p, o.f);
    return sae_out_commit(&o, err);
}
