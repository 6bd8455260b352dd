/* suite/report/html.c - index.html from reports/report.html: @NAME@ is replaced by what NAME's
 * function writes. Text from files goes through sae_html_text, which escapes it. */
#include "report/html.h"

#include "core/assets.h"
#include "core/error.h"
#include "core/memory.h"
#include "report/template.h"

#include <jansson.h>
#include <math.h>
#include <string.h>

typedef struct page {
    FILE *f;
    const sae_report_data *d;
    const sae_figures *figs;
    const char *plots_note, *dir;
    json_t *run; /* run.json, NULL when absent */
} page;

enum order { NEITHER, HIGHER, LOWER };

/* The columns of the summary, where the run has them. */
static const struct column {
    const char *metric, *head, *unit;
    enum order better;
    const char *meaning;
} columns[] = {
    {"sparsity.l0", "L0", "features", NEITHER,
     "Mean number of features with a non-zero value per activation row."},
    {"reconstruction.fvu", "FVU", "", LOWER,
     "Fraction of variance unexplained: squared reconstruction error divided by the squared "
     "distance of the activations from their mean, both summed over all rows. 0 is perfect, 1 is "
     "no "
     "better than the mean."},
    {"reconstruction.cosine", "cosine", "", HIGHER,
     "Mean cosine between an activation row and its reconstruction."},
    {"downstream.loss_recovered_zero", "CE recovered (zero)", "", HIGHER,
     "(CE with the hook set to zero - CE with the reconstruction) / (CE with the hook set to zero "
     "- "
     "CE of the unchanged model), CE being the next-token cross-entropy. 1 is perfect, 0 is zero "
     "ablation."},
    {"downstream.loss_recovered_mean", "CE recovered (mean)", "", HIGHER,
     "The same with the mean activation in place of zero."},
    {"downstream.ce_increase", "CE increase", "nats", LOWER,
     "Cross-entropy with the reconstruction in place of the activation, minus that of the "
     "unchanged "
     "model, per predicted token."},
    {"downstream.kl_spliced", "KL", "nats", LOWER,
     "Kullback-Leibler divergence from the predictions of the unchanged model to those with the "
     "reconstruction in place, per predicted token."},
    {"sparsity.dead_share", "dead", "", LOWER,
     "Share of the features that fired on no evaluated row."},
    {"recovery.matched_cosine", "atom cosine", "", HIGHER,
     "Mean cosine between true dictionary atoms and the features matched one to one with them."},
    {"recovery.share_recovered", "atoms found", "", HIGHER,
     "Share of the true atoms that have a feature with cosine above the threshold (0.9 unless set "
     "otherwise)."},
    {"recovery.support_f1", "support F1", "", HIGHER,
     "Harmonic mean of precision and recall of the active true atoms, through matched features."},
};
enum { COLUMNS = sizeof columns / sizeof columns[0] };

/* The error to two digits, the value to the same decimals but to five digits at most; an error that
 * these do not show is left out. */
static void put_number(FILE *f, double value, double error)
{
    enum { DIGITS = 5 };
    if (!isfinite(error) || error <= 0) {
        fprintf(f, "%.4g", value);
        return;
    }
    double magnitude = floor(log10(error)), size = fabs(value);
    double most = size > 0 ? DIGITS - 1 - floor(log10(size)) : 9;
    double fit = 1 - magnitude < most ? 1 - magnitude : most;
    int decimals = fit <= 0 ? 0 : fit >= 9 ? 9 : (int)fit;
    fprintf(f, "%.*f", decimals, value);
    if (error >= 0.5 * pow(10, -decimals))
        fprintf(f, " <span class=\"err\">&plusmn;&nbsp;%.*f</span>", decimals, error);
}

/* ---- summary --------------------------------------------------------------------------------- */

static int has_column(const sae_report_data *d, const char *metric)
{
    for (int64_t i = 0; i < d->configs; i++)
        if (sae_report_cell(d, i, metric))
            return 1;
    return 0;
}

/* Whether two SAEs have about the same number of active features; yes where it is not known. */
static int comparable(const sae_cell *a, const sae_cell *b)
{
    return !a || !b || (a->mean <= 1.1 * b->mean && b->mean <= 1.1 * a->mean);
}

/* Whether no comparable SAE has a better mean in column c, and one has a worse. */
static int is_best(const sae_report_data *d, int64_t config, const struct column *c)
{
    int64_t metric = sae_report_metric(d, c->metric), l0 = sae_report_metric(d, "sparsity.l0");
    const sae_cell *own = sae_report_cell_at(d, config, metric);
    int worse = 0;
    if (!own || c->better == NEITHER)
        return 0;
    for (int64_t i = 0; i < d->configs; i++) {
        const sae_cell *v = sae_report_cell_at(d, i, metric);
        if (!v || !comparable(sae_report_cell_at(d, i, l0), sae_report_cell_at(d, config, l0)))
            continue;
        double lead = c->better == HIGHER ? own->mean - v->mean : v->mean - own->mean;
        if (lead < 0)
            return 0;
        worse |= lead > 0;
    }
    return worse;
}

static void put_head(const page *p)
{
    fputs("<thead><tr><th scope=\"col\">SAE</th><th scope=\"col\">seeds</th>", p->f);
    for (int i = 0; i < COLUMNS; i++)
        if (has_column(p->d, columns[i].metric))
            fprintf(p->f, "<th scope=\"col\">%s<span class=\"unit\">%s%s%s</span></th>",
                    columns[i].head, columns[i].unit,
                    columns[i].unit[0] && columns[i].better ? ", " : "",
                    columns[i].better == HIGHER  ? "higher is better"
                    : columns[i].better == LOWER ? "lower is better"
                                                 : "");
    fputs("</tr></thead>\n", p->f);
}

static int64_t seeds_of(const sae_report_data *d, int64_t config)
{
    int64_t most = 0;
    for (int64_t m = 0; m < d->metric_count; m++) {
        int64_t seeds = d->cell[config * d->metric_count + m].seeds;
        most = seeds > most ? seeds : most;
    }
    return most;
}

static void put_row(const page *p, int64_t config)
{
    const sae_config *c = &p->d->config[config];
    fputs("<tr><th scope=\"row\" title=\"", p->f);
    sae_html_text(p->f, c->spec);
    fputs("\"><code>", p->f);
    sae_html_text(p->f, c->label);
    fprintf(p->f, "</code></th><td>%lld</td>", (long long)seeds_of(p->d, config));
    for (int i = 0; i < COLUMNS; i++) {
        const sae_cell *v = sae_report_cell(p->d, config, columns[i].metric);
        if (!v && !has_column(p->d, columns[i].metric))
            continue;
        fputs(is_best(p->d, config, &columns[i]) ? "<td class=\"best\">" : "<td>", p->f);
        if (v)
            put_number(p->f, v->mean, sae_cell_error(v));
        else
            fputs("&ndash;", p->f);
        fputs("</td>", p->f);
    }
    fputs("</tr>\n", p->f);
}

static void put_summary(const void *arg)
{
    const page *p = arg;
    if (p->d->configs == 0) {
        fputs("<p>metrics.csv has no rows: nothing was measured.</p>\n", p->f);
        return;
    }
    int shown = 0;
    for (int i = 0; i < COLUMNS; i++)
        shown += has_column(p->d, columns[i].metric);
    /* With many columns errors stand below their values, or the last columns would not be seen. */
    fprintf(p->f, "<div class=\"scroll\"><table%s>\n", shown > 6 ? " class=\"wide\"" : "");
    put_head(p);
    fputs("<tbody>\n", p->f);
    for (int64_t i = 0; i < p->d->configs; i++)
        put_row(p, i);
    fputs("</tbody></table></div>\n<p class=\"note\">Mean over seeds &plusmn; its standard error; "
          "with one seed &plusmn; the standard error over documents. Shaded: best of the SAEs with "
          "about the same L0 (within 10 %). All values, one row per SAE and metric: "
          "<a href=\"metrics.csv\">metrics.csv</a>.</p>\n",
          p->f);
}

/* ---- the other parts ------------------------------------------------------------------------- */

static void put_plots(const void *arg)
{
    const page *p = arg;
    if (p->plots_note) {
        fputs("<p class=\"note\">No plots: ", p->f);
        sae_html_text(p->f, p->plots_note);
        fputs("</p>\n", p->f);
        return;
    }
    fputs("<div class=\"figures\">\n", p->f);
    for (int i = 0; i < p->figs->count; i++) {
        const sae_figure *g = &p->figs->f[i];
        fprintf(p->f,
                "<figure><a href=\"plots/%s.svg\"><img src=\"plots/%s.svg\" alt=\"%s\" "
                "loading=\"lazy\"></a>\n<figcaption>%s %s%s",
                g->name, g->name, g->heading, g->note, g->repeats, *g->repeats ? " " : "");
        if (g->beside)
            fprintf(p->f, "Grey: %d SAEs measured elsewhere. ", g->beside);
        if (g->hidden)
            fprintf(p->f, "%d more lines do not fit in. ", g->hidden);
        fprintf(p->f,
                "<a href=\"plots/%s.png\">PNG</a>, <a href=\"plots/data/%s.dat\">data</a>, "
                "<a href=\"plots/data/%s.gp\">gnuplot</a></figcaption></figure>\n",
                g->name, g->name, g->name);
    }
    fputs("</div>\n", p->f);
    if (p->figs->left_out)
        fprintf(p->f, "<p class=\"note\">%d more figures were left out.</p>\n", p->figs->left_out);
}

static void put_details(const void *arg)
{
    const page *p = arg;
    const sae_report_data *d = p->d;
    for (int64_t i = 0; i < d->configs; i++) {
        fputs("<details><summary><code>", p->f);
        sae_html_text(p->f, d->config[i].label);
        fputs("</code></summary><p class=\"note\"><code>", p->f);
        sae_html_text(p->f, d->config[i].spec);
        fputs("</code></p>\n<div class=\"scroll\"><table><thead><tr><th>metric</th><th>value</th>"
              "<th>unit</th><th>count</th></tr></thead><tbody>\n",
              p->f);
        for (int64_t m = 0; m < d->metric_count; m++) {
            const sae_cell *c = &d->cell[i * d->metric_count + m];
            if (c->seeds == 0)
                continue;
            fputs("<tr><td><code>", p->f);
            sae_html_text(p->f, d->metric[m]);
            fputs("</code></td><td>", p->f);
            put_number(p->f, c->mean, sae_cell_error(c));
            fputs("</td><td>", p->f);
            sae_html_text(p->f, c->unit);
            fprintf(p->f, "</td><td>%lld</td></tr>\n", (long long)c->count);
        }
        fputs("</tbody></table></div></details>\n", p->f);
    }
}

static void put_terms(const void *arg)
{
    const page *p = arg;
    fputs("<dl class=\"terms\">\n", p->f);
    for (int i = 0; i < COLUMNS; i++)
        if (has_column(p->d, columns[i].metric))
            fprintf(p->f, "<dt>%s <code>%s</code></dt><dd>%s%s%s%s</dd>\n", columns[i].head,
                    columns[i].metric, columns[i].meaning, columns[i].unit[0] ? " In " : "",
                    columns[i].unit, columns[i].unit[0] ? "." : "");
    fputs("</dl>\n<p class=\"note\">Errors are standard errors. Every metric of saemark is defined "
          "in the files metrics/*.md of its source.</p>\n",
          p->f);
}

/* ---- run.json -------------------------------------------------------------------------------- */

/* Value at "a.b" as text; "" when absent. */
static const char *fact(const json_t *run, const char *path, char *room, size_t bytes)
{
    char key[64];
    const char *dot = strchr(path, '.');
    snprintf(key, sizeof key, "%.*s", (int)(dot ? dot - path : (int)strlen(path)), path);
    const json_t *v = json_object_get(run, key);
    if (dot)
        return fact(v, dot + 1, room, bytes);
    if (json_is_string(v))
        return json_string_value(v);
    room[0] = '\0';
    if (json_is_integer(v))
        snprintf(room, bytes, "%lld", (long long)json_integer_value(v));
    else if (json_is_real(v))
        snprintf(room, bytes, "%.6g", json_real_value(v));
    return room;
}

static void put_title(const void *arg)
{
    const page *p = arg;
    char room[32];
    const char *title = fact(p->run, "title", room, sizeof room);
    sae_html_text(p->f, *title ? title : "saemark report");
}

static void put_subtitle(const void *arg)
{
    const page *p = arg;
    char room[32];
    const char *when = fact(p->run, "finished", room, sizeof room);
    fprintf(p->f, "%lld SAE%s", (long long)p->d->configs, p->d->configs == 1 ? "" : "s");
    if (*p->d->hook) {
        fputs(" on <code>", p->f);
        sae_html_text(p->f, p->d->hook);
        fputs("</code>", p->f);
    }
    if (*when) {
        fputs(", finished ", p->f);
        sae_html_text(p->f, when);
    }
    fputs(". Data: ", p->f);
    static const char *const files[] = {"metrics.csv", "saes.csv", "loss.csv", "features.csv",
                                        "run.json"};
    const char *comma = "";
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        char *path = sae_path_join(p->dir, files[i]);
        if (path && sae_file_exists(path)) {
            fprintf(p->f, "%s<a href=\"%s\">%s</a>", comma, files[i], files[i]);
            comma = ", ";
        }
        sae_free(path);
    }
}

static void put_facts(const void *arg)
{
    const page *p = arg;
    static const char *const facts[][2] = {{"plan", "Plan"},
                                           {"command", "Command"},
                                           {"dataset.spec", "Dataset"},
                                           {"dataset.hash", "Dataset hash"},
                                           {"eval_dataset.spec", "Measured on"},
                                           {"hook", "Hook"},
                                           {"dataset.d", "Activation width"},
                                           {"steps", "Steps"},
                                           {"batch", "Rows per step"},
                                           {"eval_rows", "Rows measured (0: all)"},
                                           {"norm.kind", "Normalisation"},
                                           {"norm.scale", "Normalisation scale"},
                                           {"build.version", "saemark"},
                                           {"build.git", "Source"},
                                           {"build.compiler", "Compiler"},
                                           {"build.flags", "Compiler flags"},
                                           {"machine.processor", "Processor"},
                                           {"machine.library", "Linear algebra"},
                                           {"machine.backend", "Backend"},
                                           {"machine.threads", "Threads"}};
    if (!p->run) {
        fputs("<p class=\"note\">run.json is not there.</p>\n", p->f);
        return;
    }
    fputs("<dl class=\"facts\">\n", p->f);
    for (size_t i = 0; i < sizeof facts / sizeof facts[0]; i++) {
        char room[32];
        const char *value = fact(p->run, facts[i][0], room, sizeof room);
        if (!*value)
            continue;
        fprintf(p->f, "<dt>%s</dt><dd><code>", facts[i][1]);
        sae_html_text(p->f, value);
        fputs("</code></dd>\n", p->f);
    }
    fputs("</dl>\n", p->f);
}

static void put_css(const void *arg)
{
    const page *p = arg;
    sae_asset_write("reports/report.css", p->f);
}

static int load_run(page *p, sae_err *err)
{
    json_error_t e;
    char *path = sae_path_join(p->dir, "run.json");
    if (!path)
        SAE_FAIL(err, SAE_ENOMEM, "out of memory");
    int rc = SAE_OK;
    if (sae_file_exists(path)) {
        p->run = json_load_file(path, 0, &e);
        if (!p->run)
            rc = SAE_SET(err, SAE_EFORMAT, "%s: line %d: %s", path, e.line, e.text);
    }
    sae_free(path);
    return rc;
}

static const sae_part parts[] = {
    {"@TITLE@", put_title},     {"@SUBTITLE@", put_subtitle}, {"@CSS@", put_css},
    {"@SUMMARY@", put_summary}, {"@PLOTS@", put_plots},       {"@DETAILS@", put_details},
    {"@TERMS@", put_terms},     {"@FACTS@", put_facts},       {NULL, NULL},
};

int sae_html_write(const sae_report_data *d, const sae_figures *figs, const char *plots_note,
                   const char *dir, sae_err *err)
{
    page p = {.d = d, .figs = figs, .plots_note = plots_note, .dir = dir};
    SAE_TRY(load_run(&p, err));
    sae_out o;
    char *path = sae_path_join(dir, "index.html");
    int rc = path ? sae_out_open(&o, path, err) : SAE_SET(err, SAE_ENOMEM, "out of memory");
    if (rc >= 0) {
        p.f = o.f;
        sae_template_fill("reports/report.html", parts, &p, o.f);
        rc = sae_out_commit(&o, err);
    }
    sae_free(path);
    json_decref(p.run);
    return rc;
}
