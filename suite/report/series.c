/* suite/report/series.c - figures of series. */
#include "report/series.h"

#include "core/error.h"
#include "core/memory.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { TITLE_MAX = 40, FEW = 8, QUANTILES = 200, TALL = 500 };

static const char *const over_seeds[] = {"Mean over seeds; the band spans the seeds.", ""};
static const char *const mean_of_seeds[] = {"Mean over seeds.", ""};
static const char *const all_seeds[] = {"Features of all seeds together.", ""};
static const char *const first_seed[] = {"The first seed.", ""};

static const struct {
    const char *template, *const *repeats;
} look[] = {[SAE_FIGURE_CURVE] = {"reports/curve.gp", over_seeds},
            [SAE_FIGURE_HISTOGRAM] = {"reports/histogram.gp", mean_of_seeds},
            [SAE_FIGURE_QUANTILES] = {"reports/curve.gp", all_seeds},
            [SAE_FIGURE_MAP] = {"reports/map.gp", first_seed},
            [SAE_FIGURE_PATH] = {"reports/path.gp", first_seed},
            [SAE_FIGURE_LABELS] = {"reports/labels.gp", mean_of_seeds}};

static const sae_section_figure loss = {.name = "loss",
                                        .kind = SAE_FIGURE_CURVE,
                                        .heading = "Training loss",
                                        .xlabel = "optimiser step",
                                        .ylabel = "total loss (the variant's own objective)",
                                        .note = "Totals of different variants are not comparable.",
                                        .log_y = 1};

/* What one section's figure shows. */
typedef struct series {
    const sae_section_figure *f;
    sae_points p, reference; /* by config, then in the order in which they are joined */
    double *label;           /* [labels] numbers of the labels that `p` has, ascending */
    int64_t labels;
} series;

/* ---- reading --------------------------------------------------------------------------------- */

static int64_t end_of_config(const sae_points *p, int64_t from)
{
    int64_t to = from;
    while (to < p->count && p->p[to].config == p->p[from].config)
        to++;
    return to;
}

static int by_y(const void *a, const void *b)
{
    const sae_point *p = a, *q = b;
    return (p->y > q->y) - (p->y < q->y);
}

/* Values by feature become their quantiles over the share of features at or below. */
static void make_quantiles(sae_points *p)
{
    int64_t kept = 0;
    for (int64_t from = 0, to; from < p->count; from = to) {
        to = end_of_config(p, from);
        int64_t n = to - from, shown = n < QUANTILES ? n : QUANTILES;
        qsort(p->p + from, (size_t)n, sizeof *p->p, by_y);
        for (int64_t i = 0; i < shown; i++) {
            int64_t rank = shown > 1 ? i * (n - 1) / (shown - 1) : 0;
            sae_point q = p->p[from + rank];
            q.x = ((double)rank + 0.5) / (double)n;
            p->p[kept++] = q;
        }
    }
    p->count = kept;
}

static int by_number(const void *a, const void *b)
{
    double p = *(const double *)a, q = *(const double *)b;
    return (p > q) - (p < q);
}

/* The numbers of labels become places on the axis, next to each other; a reference of other labels
 * has none. */
static int make_places(series *s, sae_err *err)
{
    int64_t count = 0;
    SAE_TRY(sae_new(&s->label, s->p.count, sizeof *s->label, "report.labels", err));
    for (int64_t i = 0; i < s->p.count; i++)
        s->label[i] = s->p.p[i].x;
    if (s->p.count)
        qsort(s->label, (size_t)s->p.count, sizeof *s->label, by_number);
    for (int64_t i = 0; i < s->p.count; i++)
        if (count == 0 || s->label[count - 1] < s->label[i])
            s->label[count++] = s->label[i];
    s->labels = count;
    sae_points *const all[] = {&s->p, &s->reference};
    for (int k = 0; k < 2; k++) {
        int64_t kept = 0;
        for (int64_t i = 0, at; i < all[k]->count; i++) {
            sae_point p = all[k]->p[i];
            for (at = 0; at < count && s->label[at] < p.x;)
                at++;
            if (at == count || s->label[at] > p.x)
                continue;
            p.x = (double)at;
            all[k]->p[kept++] = p;
        }
        all[k]->count = kept;
    }
    return SAE_OK;
}

/* Leave out the lines whose values are all the blank one; the page names their variants. */
static void drop_blank(series *s, sae_canvas *c)
{
    sae_blank out = {.section = c->section, .of = s->f};
    int64_t kept = 0;
    int last = -1;
    size_t used = 0;
    for (int64_t from = 0, to; from < s->p.count; from = to) {
        const sae_config *config = &c->d->config[s->p.p[from].config];
        int blank = 1;
        to = end_of_config(&s->p, from);
        for (int64_t i = from; i < to; i++)
            blank &= s->p.p[i].y == *s->f->blank;
        for (int64_t i = from; i < to && !blank; i++)
            s->p.p[kept++] = s->p.p[i];
        if (!blank || config->variant_no == last || used >= sizeof out.variants)
            continue;
        used += (size_t)snprintf(out.variants + used, sizeof out.variants - used, "%s%s",
                                 used ? ", " : "", config->variant);
        last = config->variant_no;
    }
    s->p.count = kept;
    if (used > 0 && c->figs->blanks < SAE_BLANKS_MAX)
        c->figs->blank[c->figs->blanks++] = out;
}

static int read_series(series *s, const sae_report_data *d, sae_err *err)
{
    const sae_section_figure *f = s->f;
    if (f->kind == SAE_FIGURE_MAP || f->kind == SAE_FIGURE_PATH)
        return sae_report_map(d, f->across, f->value, &s->p, err);
    SAE_TRY(sae_report_series(d, f->value, &s->p, err));
    if (f->reference)
        SAE_TRY(sae_report_series(d, f->reference, &s->reference, err));
    if (f->kind == SAE_FIGURE_QUANTILES)
        make_quantiles(&s->p);
    return f->kind == SAE_FIGURE_LABELS ? make_places(s, err) : SAE_OK;
}

/* ---- drawing --------------------------------------------------------------------------------- */

/* A histogram ends at the last bin that is not empty. */
static void draw_points(sae_canvas *c, const sae_section_figure *f, const sae_points *p,
                        int64_t from, int64_t to)
{
    double scale = f->scale != 0.0 ? f->scale : 1;
    double room = f->kind == SAE_FIGURE_HISTOGRAM ? 0.75 * scale : 0;
    for (int64_t i = from, next; i < to; i = next) {
        double sum = 0, range[2] = {INFINITY, -INFINITY}, x = (p->p[i].x + f->shift) * scale;
        for (next = i; next < to && p->p[next].x == p->p[i].x; next++) {
            sum += p->p[next].y;
            sae_canvas_extend(range, p->p[next].y, p->p[next].y);
        }
        if (room == 0 || range[1] > 0)
            sae_canvas_extend(c->x, x - room, x + room);
        sae_canvas_extend(c->y, range[0], range[1]);
        fprintf(c->dat.f, "%.9g\t%.9g\t%.9g\t%.9g\n", x, sum / (double)(next - i), range[0],
                range[1]);
    }
}

/* Number of a spec among those of its variant. */
static int number_of(const sae_report_data *d, int64_t config)
{
    int number = 0;
    for (int64_t i = 0; i < config; i++)
        number += d->config[i].variant_no == d->config[config].variant_no;
    return number;
}

/* Whether the lines of all SAEs can be told apart in one figure. */
static int few(const sae_report_data *d)
{
    for (int64_t i = 0; i < d->configs; i++)
        if (number_of(d, i) >= SAE_DASHES)
            return 0;
    return d->variants > 1 && d->variants <= SAE_COLORS && d->configs <= FEW;
}

static void title_of(const sae_report_data *d, int64_t config, int all, char title[TITLE_MAX])
{
    const sae_config *c = &d->config[config];
    int alone = 1;
    for (int64_t i = 0; all && i < d->configs; i++)
        alone &= i == config || d->config[i].variant_no != c->variant_no;
    size_t used = 0;
    if (all)
        used = (size_t)snprintf(title, TITLE_MAX, alone ? "%.30s" : "%.30s, ", c->variant);
    if (!all || !alone)
        sae_short_label(d, config, title + used, TITLE_MAX - used);
}

/* The lines of a variant, or of all (-1): colours tell variants apart as in the trade-offs, in a
 * variant's own figure its specs. */
static void draw_lines(sae_canvas *c, const series *s, const sae_points *p, int variant)
{
    const sae_section_figure *f = s->f;
    for (int64_t i = 0, next; i < p->count; i = next) {
        int64_t at = p->p[i].config;
        const sae_config *config = &c->d->config[at];
        char title[TITLE_MAX];
        next = end_of_config(p, i);
        if (variant >= 0 && config->variant_no != variant)
            continue;
        int color = variant < 0 ? config->variant_no : config->rank;
        int dash = variant < 0 ? number_of(c->d, at) : config->size_no;
        title_of(c->d, at, variant < 0, title);
        if (!sae_canvas_begin(c, color, dash, title))
            continue;
        draw_points(c, f, p, i, next);
        sae_canvas_end(c);
    }
}

/* A block behind the lines: the names of the places. */
static void draw_labels(sae_canvas *c, const series *s)
{
    for (int64_t i = 0; i < s->labels; i++) {
        const char *name = sae_report_label(c->d, (int64_t)s->label[i]);
        fprintf(c->dat.f, "%lld\t%.9g\t", (long long)i, c->y[0]);
        for (; name && *name; name++)
            fputc((unsigned char)*name < 0x20 || *name == '"' ? ' ' : *name, c->dat.f);
        if (!name)
            fprintf(c->dat.f, "%.0f", s->label[i]);
        fputc('\n', c->dat.f);
    }
    sae_canvas_extend(c->x, -0.5, (double)s->labels - 0.5);
    c->x_tight = 1;
}

static void choose_axes(sae_canvas *c, const sae_section_figure *f)
{
    int over_index = f->kind == SAE_FIGURE_CURVE || f->kind == SAE_FIGURE_QUANTILES;
    int counts = f->kind == SAE_FIGURE_HISTOGRAM;
    if (f->kind == SAE_FIGURE_QUANTILES)
        sae_canvas_extend(c->x, 0, 1);
    for (int i = 0; f->slopes_count && i < 2; i++) /* the first line is seen as a whole */
        sae_canvas_extend(c->y, f->slopes[0] * c->x[i], f->slopes[0] * c->x[i]);
    if (counts && f->log_y)
        c->y[0] = 0.5; /* empty bins lie on the axis */
    if (f->kind == SAE_FIGURE_LABELS)
        c->width = SAE_FIGURE_WIDE;
    if (f->kind == SAE_FIGURE_LABELS || f->kind == SAE_FIGURE_MAP)
        c->height = TALL;
    c->decades = counts && f->log_x;
    c->xlog = f->log_x && !c->decades && c->x[0] > 0 && c->x[1] > 5 * c->x[0] ? 10 : 0;
    c->ylog = f->log_y && c->y[0] > 0 && c->y[1] > 5 * c->y[0] ? 10 : 0;
    c->y_zero = counts && !c->ylog;
    c->x_tight |= over_index && c->x[1] > c->x[0];
}

/* The figure of a variant, or of all (-1). */
static int draw(sae_canvas *c, const series *s, int variant, const char *name, const char *heading)
{
    const sae_section_figure *f = s->f;
    const char *repeats = look[f->kind].repeats[c->d->seeds <= 1];
    int rc = sae_canvas_open(c, &(sae_canvas_name){f, name, heading, repeats});
    if (rc != SAE_OK)
        return rc;
    c->xlabel = f->xlabel ? f->xlabel : "";
    c->ylabel = f->ylabel;
    c->template = look[f->kind].template;
    draw_lines(c, s, &s->p, variant);
    int lines = c->series;
    if (2 * lines <= SAE_SERIES_MAX)
        draw_lines(c, s, &s->reference, variant);
    c->others = c->series - lines;
    if (s->labels && lines)
        draw_labels(c, s);
    choose_axes(c, f);
    return sae_canvas_close(c);
}

static int draw_all(sae_canvas *c, const series *s)
{
    char name[48], heading[96];
    if (s->p.count > 0 && s->f->together && few(c->d))
        return draw(c, s, -1, s->f->name, s->f->heading);
    for (int64_t i = 0; i < c->d->configs; i++) {
        const sae_config *first = &c->d->config[i];
        if (s->p.count == 0 || number_of(c->d, i) > 0)
            continue;
        sae_canvas_call(s->f, first, 0, name, heading);
        SAE_TRY(draw(c, s, first->variant_no, name, heading));
    }
    return SAE_OK;
}

int sae_series_draw(sae_canvas *c, const sae_section_figure *f)
{
    series s = {.f = f};
    int rc = read_series(&s, c->d, c->err);
    if (rc >= 0 && f->blank)
        drop_blank(&s, c);
    if (rc >= 0)
        rc = draw_all(c, &s);
    sae_free(s.p.p);
    sae_free(s.reference.p);
    sae_free(s.label);
    return rc;
}

int sae_loss_draw(sae_canvas *c)
{
    return draw_all(c, &(series){.f = &loss, .p = c->d->curve});
}
