/* suite/report/html.c - index.html from reports/report.html: @NAME@ is replaced by what NAME's
 * function writes. Text from files goes through sae_html_text, which escapes it. */
#include "report/html.h"

#include "core/assets.h"
#include "core/error.h"
#include "core/memory.h"
#include "report/interval.h"
#include "report/markup.h"
#include "report/pairs.h"
#include "report/template.h"

#include <math.h>
#include <string.h>

enum { COLUMNS_MAX = 32, UNFOLDED_MAX = 6 };

typedef struct page {
    FILE *f;
    const sae_report_data *d;
    const sae_sections *sections;
    const sae_figures *figs;
    const char *plots_note, *dir;
} page;

/* ---- summary --------------------------------------------------------------------------------- */

static int has_metric(const sae_report_data *d, const char *metric)
{
    int64_t m = sae_report_metric(d, metric);
    for (int64_t i = 0; i < d->configs; i++)
        if (sae_report_cell_at(d, i, m))
            return 1;
    return 0;
}

/* Whether two SAEs have about the same number of active features; yes where it is not known. */
static int comparable(const sae_cell *a, const sae_cell *b)
{
    return !a || !b || (a->mean <= 1.1 * b->mean && b->mean <= 1.1 * a->mean);
}

/* A number that is the larger the better the value is. */
static double merit(enum sae_section_better better, double value)
{
    switch (better) {
    case SAE_SECTION_LOWER:
        return -value;
    case SAE_SECTION_ZERO:
        return -fabs(value);
    case SAE_SECTION_ONE:
        return -fabs(value - 1);
    default:
        return value;
    }
}

/* Whether no comparable SAE has a better mean in the column, and one has a worse. */
static int is_best(const sae_report_data *d, int64_t config, const sae_section_row *c)
{
    int64_t metric = sae_report_metric(d, c->metric), l0 = sae_report_metric(d, "sparsity.l0");
    const sae_cell *own = sae_report_cell_at(d, config, metric);
    int worse = 0;
    if (!own || c->better == SAE_SECTION_NEITHER)
        return 0;
    for (int64_t i = 0; i < d->configs; i++) {
        const sae_cell *v = sae_report_cell_at(d, i, metric);
        if (!v || !comparable(sae_report_cell_at(d, i, l0), sae_report_cell_at(d, config, l0)))
            continue;
        double lead = merit(c->better, own->mean) - merit(c->better, v->mean);
        if (lead < 0)
            return 0;
        worse |= lead > 0;
    }
    return worse;
}

/* The columns of a table: those of a section that the run has, or of all sections the ones for the
 * top of the page. */
typedef struct columns {
    const sae_section_row *c[COLUMNS_MAX];
    int count;
} columns;

static void add_columns(columns *t, const page *p, const sae_section *s, int summary)
{
    for (unsigned k = 0; k < s->rows_count && t->count < COLUMNS_MAX; k++)
        if ((!summary || s->rows[k].summary) && has_metric(p->d, s->rows[k].metric))
            t->c[t->count++] = &s->rows[k];
}

static void put_head(const page *p, const columns *t)
{
    fputs("<thead><tr><th scope=\"col\">SAE</th><th scope=\"col\">seeds</th>", p->f);
    for (int i = 0; i < t->count; i++)
        sae_put_head(p->f, t->c[i]);
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

static void put_row(const page *p, const columns *t, int64_t config)
{
    const sae_config *c = &p->d->config[config];
    fputs("<tr><th scope=\"row\" title=\"", p->f);
    sae_html_text(p->f, c->spec);
    fputs("\"><code>", p->f);
    sae_html_text(p->f, c->label);
    fprintf(p->f, "</code></th><td>%lld</td>", (long long)seeds_of(p->d, config));
    for (int i = 0; i < t->count; i++) {
        const sae_cell *v = sae_report_cell(p->d, config, t->c[i]->metric);
        fputs(is_best(p->d, config, t->c[i]) ? "<td class=\"best\">" : "<td>", p->f);
        if (v)
            sae_put_number(p->f, v->mean, sae_bounds_of(p->d, v).half);
        else
            fputs("&ndash;", p->f);
        fputs("</td>", p->f);
    }
    fputs("</tr>\n", p->f);
}

static void put_table(const page *p, const columns *t)
{
    /* With many columns intervals stand below their values, or the last columns would not be seen.
     */
    fprintf(p->f, "<div class=\"scroll\"><table%s>\n", t->count > 6 ? " class=\"wide\"" : "");
    put_head(p, t);
    fputs("<tbody>\n", p->f);
    for (int64_t i = 0; i < p->d->configs; i++)
        put_row(p, t, i);
    fputs("</tbody></table></div>\n", p->f);
}

static void put_summary(const void *arg)
{
    const page *p = arg;
    columns t = {.count = 0};
    if (p->d->configs == 0) {
        fputs("<p>metrics.csv has no rows: nothing was measured.</p>\n", p->f);
        return;
    }
    for (int64_t i = 0; i < p->sections->count; i++)
        add_columns(&t, p, p->sections->s[i], 1);
    put_table(p, &t);
    fprintf(
        p->f,
        "<p class=\"note\">Mean%s &plusmn; half of its 95 %% confidence interval%s. Shaded: "
        "best of the SAEs with about the same L0 (within 10 %%). All values, one row per SAE and "
        "metric: <a href=\"metrics.csv\">metrics.csv</a>.</p>\n",
        p->d->seeds > 1 ? " over seeds" : "",
        p->d->seeds > 1 ? " over training seeds and documents"
                        : " over documents; one seed says nothing of how training varies");
}

/* ---- the other parts ------------------------------------------------------------------------- */

static void put_figure(const page *p, const sae_figure *g)
{
    fprintf(p->f,
            "<figure%s><a href=\"plots/%s.svg\"><img src=\"plots/%s.svg\" alt=\"%s\" "
            "loading=\"lazy\"></a>\n<figcaption>%s %s%s",
            g->wide ? " class=\"wide\"" : "", g->name, g->name, g->heading, g->of->note, g->repeats,
            *g->repeats ? " " : "");
    if (g->beside)
        fprintf(p->f, "Grey: %d SAEs measured elsewhere. ", g->beside);
    if (g->hidden)
        fprintf(p->f, "%d more lines do not fit in. ", g->hidden);
    fprintf(p->f,
            "<a href=\"plots/%s.png\">PNG</a>, <a href=\"plots/data/%s.dat\">data</a>, "
            "<a href=\"plots/data/%s.gp\">gnuplot</a></figcaption></figure>\n",
            g->name, g->name, g->name);
}

static int64_t figures_of(const page *p, const sae_section *s)
{
    int64_t count = 0;
    for (int i = 0; i < p->figs->count; i++)
        count += p->figs->f[i].section == s;
    return count;
}

/* The number of figures from i on that are of the same kind, one per variant. */
static int alike(const page *p, int i)
{
    int count = 0;
    for (const sae_figure *f = p->figs->f; i + count < p->figs->count; count++)
        if (f[i + count].of != f[i].of)
            break;
    return count;
}

/* Many figures of one kind are folded away, each kind below one line. */
static void put_figures(const page *p, const sae_section *s)
{
    if (p->plots_note || figures_of(p, s) == 0)
        return;
    fputs("<div class=\"figures\">\n", p->f);
    for (int i = 0, count; i < p->figs->count; i += count) {
        const sae_figure *first = &p->figs->f[i];
        count = alike(p, i);
        if (first->section != s)
            continue;
        int fold = count > UNFOLDED_MAX;
        if (fold) {
            fputs("<details class=\"all\"><summary>", p->f);
            sae_html_text(p->f, first->of->heading);
            fprintf(p->f, ": %d figures</summary><div class=\"figures\">\n", count);
        }
        for (int k = 0; k < count; k++)
            put_figure(p, &first[k]);
        fputs(fold ? "</div></details>\n" : "", p->f);
    }
    fputs("</div>\n", p->f);
}

/* What the section's figures do not show, since it says nothing. */
static void put_blanks(const page *p, const sae_section *s)
{
    for (int i = 0; i < p->figs->blanks && !p->plots_note; i++) {
        const sae_blank *b = &p->figs->blank[i];
        if (b->section != s)
            continue;
        fputs("<p class=\"note\">", p->f);
        sae_html_text(p->f, b->of->heading);
        fputs(": not drawn for ", p->f);
        sae_html_text(p->f, b->variants);
        fprintf(p->f, ", where every value is %g.</p>\n", *b->of->blank);
    }
}

/* What a section's columns mean. */
static void put_meanings(const page *p, const columns *t)
{
    fputs("<dl class=\"terms\">\n", p->f);
    for (int i = 0; i < t->count; i++)
        sae_put_term(p->f, t->c[i]);
    fputs("</dl>\n", p->f);
}

/* Whether the run has anything of it. */
static int is_shown(const page *p, const sae_section *s)
{
    int any = s->pairs ? sae_pairs_any(p->d, s) : 0;
    for (unsigned k = 0; !any && !s->pairs && k < s->rows_count; k++)
        any = has_metric(p->d, s->rows[k].metric);
    return any || figures_of(p, s) > 0;
}

static void put_contents(const void *arg)
{
    const page *p = arg;
    for (int64_t i = 0; i < p->sections->count; i++) {
        const sae_section *s = p->sections->s[i];
        if (!is_shown(p, s))
            continue;
        fprintf(p->f, "<a href=\"#%s\">", s->family);
        sae_html_text(p->f, s->title);
        fputs("</a>\n", p->f);
    }
}

static void put_section(const page *p, const sae_section *s)
{
    columns t = {.count = 0};
    if (!is_shown(p, s))
        return;
    if (!s->pairs)
        add_columns(&t, p, s, 0);
    fprintf(p->f, "<h2 id=\"%s\">", s->family);
    sae_html_text(p->f, s->title);
    fputs("</h2>\n<p>", p->f);
    sae_html_text(p->f, s->about);
    fputs("</p>\n", p->f);
    put_figures(p, s);
    put_blanks(p, s);
    if (s->pairs)
        sae_put_pairs(p->f, p->d, s);
    else if (t.count > 0)
        put_table(p, &t);
    if (t.count > 0)
        put_meanings(p, &t);
    fputs("<p class=\"note\">Defined in <code>", p->f);
    sae_html_text(p->f, s->source);
    fputs("</code> of saemark's source.</p>\n", p->f);
}

static void put_sections(const void *arg)
{
    const page *p = arg;
    for (int64_t i = 0; i < p->sections->count; i++)
        put_section(p, p->sections->s[i]);
    if (p->figs->left_out)
        fprintf(p->f, "<p class=\"note\">%d more figures were left out.</p>\n", p->figs->left_out);
}

static void put_training(const void *arg)
{
    const page *p = arg;
    if (p->plots_note) {
        fputs("<p class=\"note\">No plots: ", p->f);
        sae_html_text(p->f, p->plots_note);
        fputs("</p>\n", p->f);
    }
    put_figures(p, NULL);
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
            sae_put_number(p->f, c->mean, sae_bounds_of(d, c).half);
            fputs("</td><td>", p->f);
            sae_html_text(p->f, c->unit);
            fprintf(p->f, "</td><td>%lld</td></tr>\n", (long long)c->count);
        }
        fputs("</tbody></table></div></details>\n", p->f);
    }
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
    const char *title = fact(p->d->run, "title", room, sizeof room);
    sae_html_text(p->f, *title ? title : "saemark report");
}

static void put_subtitle(const void *arg)
{
    const page *p = arg;
    char room[32];
    const char *when = fact(p->d->run, "finished", room, sizeof room);
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
    static const char *const files[] = {"metrics.csv",    "pairs.csv",    "saes.csv",
                                        "loss.csv",       "features.csv", "breakdown.csv",
                                        "deviations.npy", "run.json"};
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
    if (!p->d->run) {
        fputs("<p class=\"note\">run.json is not there.</p>\n", p->f);
        return;
    }
    fputs("<dl class=\"facts\">\n", p->f);
    for (size_t i = 0; i < sizeof facts / sizeof facts[0]; i++) {
        char room[32];
        const char *value = fact(p->d->run, facts[i][0], room, sizeof room);
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

static const sae_part parts[] = {
    {"@TITLE@", put_title},       {"@SUBTITLE@", put_subtitle},
    {"@CSS@", put_css},           {"@CONTENTS@", put_contents},
    {"@SUMMARY@", put_summary},   {"@SECTIONS@", put_sections},
    {"@TRAINING@", put_training}, {"@DETAILS@", put_details},
    {"@FACTS@", put_facts},       {NULL, NULL},
};

int sae_html_write(const sae_report_data *d, const sae_sections *sections, const sae_figures *figs,
                   const char *plots_note, const char *dir, sae_err *err)
{
    page p = {.d = d, .sections = sections, .figs = figs, .plots_note = plots_note, .dir = dir};
    sae_out o;
    char *path = sae_path_join(dir, "index.html");
    int rc = path ? sae_out_open(&o, path, err) : SAE_SET(err, SAE_ENOMEM, "out of memory");
    if (rc >= 0) {
        p.f = o.f;
        sae_template_fill("reports/report.html", parts, &p, o.f);
        rc = sae_out_commit(&o, err);
    }
    sae_free(path);
    return rc;
}
