/* suite/report/plot.c - data and scripts of the figures.
 *
 * A script is assignments and ranges computed here, reports/style.gp and one template. Names that
 * come from CSV files go into the data files only, never into a script.
 */
#include "report/plot.h"

#include "core/assets.h"
#include "core/error.h"
#include "core/memory.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { COLORS = 6, DASHES = 5, SERIES_MAX = 48, TICS_MAX = 64, LABEL_MAX = 40 };
enum { KEY_MAX = 12, KEY_COLUMNS = 3, WIDTH = 680, WIDE = 900 }; /* wide: names are long */

/* One figure in progress. */
typedef struct canvas {
    const sae_report_data *d;
    const char *dir;
    sae_figures *figs;
    sae_figure *fig;
    const char *xlabel, *ylabel, *template;
    sae_out dat;
    int series;
    int others; /* of them from other folders, the last ones */
    int color[SERIES_MAX], dash[SERIES_MAX];
    double x[2], y[2];   /* extent of what is drawn */
    int xlog, ylog;      /* bases of the axes, 0: linear */
    int x_tight, y_zero; /* no room beside the data; the axis starts at 0 */
    sae_err *err;
} canvas;

/* ---- canvas ---------------------------------------------------------------------------------- */

/* repeats: what the caption says of several seeds, and of one. */
static int canvas_open(canvas *c, const char *name, const char *heading, const char *note,
                       const char *const repeats[2])
{
    if (c->figs->count == SAE_FIGURES_MAX) {
        c->figs->left_out++;
        return SAE_DONE;
    }
    c->fig = &c->figs->f[c->figs->count];
    snprintf(c->fig->name, sizeof c->fig->name, "%s", name);
    snprintf(c->fig->heading, sizeof c->fig->heading, "%s", heading);
    c->fig->note = note;
    c->fig->repeats = repeats[c->d->seeds <= 1];
    c->fig->hidden = c->fig->beside = c->series = c->others = 0;
    c->x[0] = c->y[0] = INFINITY;
    c->x[1] = c->y[1] = -INFINITY;
    char *path = sae_strfmt("%s/plots/data/%s.dat", c->dir, name);
    if (!path)
        SAE_FAIL(c->err, SAE_ENOMEM, "out of memory");
    int rc = sae_out_open(&c->dat, path, c->err);
    sae_free(path);
    return rc;
}

/* Start a line of the figure: color-th colour, dash-th style. 0 when there are too many already.
 * Titles stand in the first line of a data block; a tab or line end would cut them. */
static int begin_series(canvas *c, int color, int dash, const char *title)
{
    if (c->series == SERIES_MAX) {
        c->fig->hidden++;
        return 0;
    }
    dash += c->d->sizes * (color / COLORS);
    c->color[c->series] = color % COLORS + 1;
    c->dash[c->series++] = dash % DASHES + 1;
    fputc('"', c->dat.f);
    for (; *title; title++)
        fputc((unsigned char)*title < 0x20 || *title == '"' ? ' ' : *title, c->dat.f);
    fputs("\"\n", c->dat.f);
    return 1;
}

static void end_series(canvas *c)
{
    fputs("\n\n", c->dat.f);
}

static void extend(double range[2], double low, double high)
{
    range[0] = low < range[0] ? low : range[0];
    range[1] = high > range[1] ? high : range[1];
}

/* Room around the data, so that no point sits on a border. */
static void pad(double r[2], int is_log)
{
    double lo = is_log ? log(r[0]) : r[0], hi = is_log ? log(r[1]) : r[1];
    double room = hi > lo ? 0.05 * (hi - lo) : is_log ? 0.5 : fabs(hi) > 0 ? 0.1 * fabs(hi) : 1;
    r[0] = is_log ? exp(lo - room) : lo - room;
    r[1] = is_log ? exp(hi + room) : hi + room;
}

/* The nearest of 1, 2, 5 times a power of ten at or below v (up = 0), at or above it (up = 1). */
static double tic_beside(double v, int up)
{
    static const double steps[] = {1, 2, 5, 10};
    double decade = pow(10, floor(log10(v))), at = decade;
    for (int i = 0; i < 4; i++) {
        if (up && steps[i] * decade >= v)
            return steps[i] * decade;
        at = steps[i] * decade <= v ? steps[i] * decade : at;
    }
    return at;
}

/* Less than a decade on a logarithmic axis may hold two tics only: it ends at tics. */
static void reach_tics(double r[2])
{
    if (r[1] / r[0] > 10)
        return;
    r[0] = tic_beside(r[0], 0);
    r[1] = tic_beside(r[1], 1);
}

/* Decimal logarithmic axes over few decades get tics at 1, 2 and 5; gnuplot's own are sparser. */
static void write_tics(FILE *f, const double r[2])
{
    static const int steps[] = {1, 2, 5};
    if (r[1] / r[0] > 1e3)
        return;
    const char *comma = "";
    fprintf(f, "set ytics (");
    for (int e = (int)floor(log10(r[0])), n = 0; pow(10, e) <= r[1] && n < TICS_MAX; e++)
        for (int i = 0; i < 3; i++) {
            double at = steps[i] * pow(10, e);
            if (at < r[0] || at > r[1])
                continue;
            fprintf(f, "%s%.1g", comma, at);
            comma = ", ";
            n++;
        }
    fprintf(f, ")\n");
}

static void write_array(FILE *f, const char *name, const int *v, int n)
{
    fprintf(f, "array %s[%d] = [", name, n);
    for (int i = 0; i < n; i++)
        fprintf(f, "%s%d", i ? ", " : "", v[i]);
    fprintf(f, "]\n");
}

/* A key of many lines stands below the figure, KEY_COLUMNS beside each other. */
static int figure_height(const canvas *c)
{
    int height = 60 + 22 * c->series;
    if (c->series > KEY_MAX)
        return 400 + 24 * ((c->series + KEY_COLUMNS - 1) / KEY_COLUMNS);
    return height > 400 ? height : 400;
}

static void write_script(canvas *c, FILE *f)
{
    if (c->y_zero)
        c->y[0] = 0;
    if (!c->x_tight)
        pad(c->x, c->xlog);
    pad(c->y, c->ylog);
    if (c->ylog)
        reach_tics(c->y);
    if (c->y_zero)
        c->y[0] = 0;
    fprintf(f, "# Drawn by saemark; run gnuplot on this file to draw it again.\nreset\n");
    fprintf(f, "name = \"%s\"\nheading = \"%s\"\n", c->fig->name, c->fig->heading);
    fprintf(f, "xlabel = \"%s\"\nylabel = \"%s\"\n", c->xlabel, c->ylabel);
    fprintf(f, "width = %d\nheight = %d\n", c->others ? WIDE : WIDTH, figure_height(c));
    fprintf(f, "series = %d\nlines = %d\n", c->series, c->series - c->others);
    write_array(f, "color", c->color, c->series);
    write_array(f, "dash", c->dash, c->series);
    sae_asset_write("reports/style.gp", f);
    if (c->series > KEY_MAX)
        fprintf(f, "set key outside below center horizontal maxcols %d\n", KEY_COLUMNS);
    fprintf(f, "set xrange [%.9g:%.9g]\nset yrange [%.9g:%.9g]\nset format \"%%g\"\n", c->x[0],
            c->x[1], c->y[0], c->y[1]);
    if (c->xlog)
        fprintf(f, "set logscale x %d\n", c->xlog);
    if (c->xlog == 2 && c->x[1] / c->x[0] > 256)
        fprintf(f, "set xtics 1, 4\n"); /* tics at every power would run into each other */
    if (c->ylog)
        fprintf(f, "set logscale y %d\n", c->ylog);
    if (c->ylog)
        write_tics(f, c->y);
    sae_asset_write(c->template, f);
}

/* Finish the figure, or drop it when nothing was drawn. */
static int canvas_close(canvas *c)
{
    if (c->series == 0) {
        sae_out_abandon(&c->dat);
        return SAE_OK;
    }
    SAE_TRY(sae_out_commit(&c->dat, c->err));
    sae_out script;
    char *path = sae_strfmt("%s/plots/data/%s.gp", c->dir, c->fig->name);
    if (!path)
        SAE_FAIL(c->err, SAE_ENOMEM, "out of memory");
    int rc = sae_out_open(&script, path, c->err);
    sae_free(path);
    SAE_TRY(rc);
    write_script(c, script.f);
    SAE_TRY(sae_out_commit(&script, c->err));
    c->figs->count++;
    return SAE_OK;
}

/* ---- a metric against L0 --------------------------------------------------------------------- */

typedef struct tradeoff {
    const char *name, *metric, *heading, *ylabel, *note;
    int may_log; /* a positive quantity of which ratios matter */
    const char *l0;       /* NULL: sparsity.l0 */
    const char *other[2]; /* names of both in published results where they differ */
    int shared;           /* drawn only with results beside the run's */
} tradeoff;

static const char *const bars[] = {
    "Bars: the range over seeds, or 1.96 standard errors over documents where there is one seed.",
    "Bars: 1.96 standard errors over documents."};

static const tradeoff tradeoffs[] = {
    {"frontier", "reconstruction.fvu", "Reconstruction error against sparsity",
     "FVU (fraction of variance unexplained)", "Lower left is better.", .may_log = 1},
    {"recovered_zero", "downstream.loss_recovered_zero",
     "Language-model loss recovered, against zero ablation",
     "CE recovered (1 is perfect)", "Upper left is better.", .may_log = 0},
    {"recovered_mean", "downstream.loss_recovered_mean",
     "Language-model loss recovered, against mean ablation",
     "CE recovered (1 is perfect)", "Upper left is better.", .may_log = 0},
    {"truth_atoms", "recovery.matched_cosine", "True dictionary recovered",
     "cosine of matched atoms (1 is perfect)", "Upper is better.", .may_log = 0},
    {"truth_support", "recovery.support_f1", "True supports recovered",
     "F1 of active atoms (1 is perfect)", "Upper is better.", .may_log = 0},
    {"saebench_variance", "saebench06.explained_variance_legacy",
     "Explained variance, as SAEBench computes it", "explained variance (legacy formula)",
     "Upper left is better. Other models, hooks and texts have other values.", .may_log = 0,
     .l0 = "saebench06.l0", .shared = 1},
    {"saebench_ce", "saebench06.ce_loss_score", "Loss recovered, as SAEBench computes it",
     "CE loss score (1 is perfect)",
     "Upper left is better. Other models, hooks and texts have other values.", .may_log = 0,
     .l0 = "saebench06.l0", .shared = 1},
    {"saebench_kl", "saebench06.kl_div_score", "Divergence undone, as SAEBench computes it",
     "KL divergence score (1 is perfect)",
     "Upper left is better. Other models, hooks and texts have other values.", .may_log = 0,
     .l0 = "saebench06.l0", .shared = 1},
    {"published_nmse", "reconstruction.nmse", "Normalised squared error beside published SAEs",
     "normalised squared error",
     "Lower left is better. Mean of squared error over squared norm; published ones: mean squared "
     "error on rows brought to mean 0 and variance 1.", .may_log = 1,
     .other = {"published.normalised_mse", "published.l0"}, .shared = 1},
};

typedef struct spot { /* where a spec lies */
    int64_t config;
    double x[3], y[3]; /* value, low, high */
} spot;

static void bounds(const sae_cell *c, double out[3])
{
    double half = c->seeds == 1 && isfinite(c->se) ? 1.96 * c->se : 0;
    out[0] = c->mean;
    out[1] = c->seeds > 1 ? c->low : c->mean - half;
    out[2] = c->seeds > 1 ? c->high : c->mean + half;
}

static int64_t find_spots(const sae_report_data *d, const char *metric, const char *l0, spot *out)
{
    int64_t count = 0;
    for (int64_t i = 0; i < d->configs; i++) {
        const sae_cell *x = sae_report_cell(d, i, l0), *y = sae_report_cell(d, i, metric);
        if (!x || !y)
            continue;
        spot *s = &out[count++];
        s->config = i;
        bounds(x, s->x);
        bounds(y, s->y);
    }
    return count;
}

static int by_l0(const void *a, const void *b)
{
    const spot *p = a, *q = b;
    return (p->x[0] > q->x[0]) - (p->x[0] < q->x[0]);
}

static void draw_spot(canvas *c, const spot *s)
{
    double x[2] = {s->x[1], s->x[2]}, y[2] = {s->y[1], s->y[2]};
    if (c->xlog && x[0] <= 0) /* a bar to minus infinity is not drawn */
        x[0] = s->x[0];
    if (c->ylog && y[0] <= 0)
        y[0] = s->y[0];
    extend(c->x, x[0], x[1]);
    extend(c->y, y[0], y[1]);
    fprintf(c->dat.f, "%.9g\t%.9g\t%.9g\t%.9g\t%.9g\t%.9g\n", s->x[0], x[0], x[1], s->y[0], y[0],
            y[1]);
}

/* 1 if all values are positive and span more than `ratio`. */
static int spans(const spot *s, int64_t count, int axis, double ratio)
{
    double lo = INFINITY, hi = 0;
    for (int64_t i = 0; i < count; i++) {
        double v = axis ? s[i].y[0] : s[i].x[0];
        lo = v < lo ? v : lo;
        hi = v > hi ? v : hi;
    }
    return lo > 0 && hi > ratio * lo;
}

/* The spots of the line of a variant and dictionary size, of which `first` is one spec. */
static void draw_line(canvas *c, const spot *s, int64_t count, const sae_config *first)
{
    char title[LABEL_MAX];
    int begun = 0;
    snprintf(title, sizeof title, c->d->sizes > 1 ? "%s, n = %s" : "%s", first->variant, first->n);
    for (int64_t i = 0; i < count; i++) {
        const sae_config *config = &c->d->config[s[i].config];
        if (config->variant_no != first->variant_no || config->size_no != first->size_no)
            continue;
        if (!begun++ && !begin_series(c, first->variant_no, first->size_no, title))
            return;
        draw_spot(c, &s[i]);
    }
    if (begun)
        end_series(c);
}

/* The spots of other folders, in that order. */
static int64_t find_beside(const canvas *c, const tradeoff *t, spot *out, int64_t *counts)
{
    int64_t count = 0;
    for (int64_t i = 0; i < c->d->besides; i++) {
        const sae_report_data *b = &c->d->beside[i];
        const char *l0 = t->l0 ? t->l0 : "sparsity.l0";
        int other = t->other[0] && sae_report_metric(b, t->other[0]) >= 0;
        counts[i] = find_spots(b, other ? t->other[0] : t->metric, other ? t->other[1] : l0,
                               out + count);
        count += counts[i];
    }
    return count;
}

/* One series of points for each variant of another folder. */
static void draw_beside(canvas *c, const sae_report_data *b, const spot *s, int64_t count)
{
    char title[LABEL_MAX];
    for (int64_t k = 0; k < b->configs; k++) {
        const sae_config *first = &b->config[k];
        int begun = 0;
        snprintf(title, sizeof title, "%.22s, %.14s", first->variant, b->name);
        for (int64_t i = 0; first->size_no == 0 && first->rank == 0 && i < count; i++) {
            if (b->config[s[i].config].variant_no != first->variant_no)
                continue;
            if (!begun && !begin_series(c, c->others, 0, title))
                break;
            begun = 1;
            draw_spot(c, &s[i]);
            c->fig->beside++;
        }
        if (begun)
            end_series(c);
        c->others += begun;
    }
}

static int64_t most_spots(const sae_report_data *d)
{
    int64_t count = d->configs;
    for (int64_t i = 0; i < d->besides; i++)
        count += d->beside[i].configs;
    return count;
}

static int draw_tradeoff(canvas *c, const tradeoff *t)
{
    spot *s = NULL;
    int64_t *counts = NULL, own, beside;
    int rc;
    SAE_GOTO(sae_new(&s, most_spots(c->d), sizeof *s, "report.spots", c->err));
    SAE_GOTO(sae_new(&counts, c->d->besides, sizeof *counts, "report.spots", c->err));
    own = find_spots(c->d, t->metric, t->l0 ? t->l0 : "sparsity.l0", s);
    beside = find_beside(c, t, s + own, counts);
    int64_t count = own + beside;
    rc = own > 0 && (beside > 0 || !t->shared)
             ? canvas_open(c, t->name, t->heading, t->note, bars) : SAE_DONE;
    if (rc == SAE_OK) {
        qsort(s, (size_t)own, sizeof *s, by_l0);
        c->xlabel = "L0 (active features per row)";
        c->ylabel = t->ylabel;
        c->template = "reports/tradeoff.gp";
        c->xlog = spans(s, count, 0, 3) ? 2 : 0;
        c->ylog = t->may_log && spans(s, count, 1, 5) ? 10 : 0;
        c->x_tight = c->y_zero = 0;
        for (int64_t i = 0; i < c->d->configs; i++)
            if (c->d->config[i].rank == 0)
                draw_line(c, s, own, &c->d->config[i]);
        for (int64_t i = 0, at = own; i < c->d->besides; at += counts[i++])
            draw_beside(c, &c->d->beside[i], s + at, counts[i]);
        rc = canvas_close(c);
    }
fail:
    sae_free(s);
    sae_free(counts);
    return rc;
}

/* ---- one figure per variant: curves and histograms ------------------------------------------- */

static void draw_points(canvas *c, const sae_points *p, int64_t from, int64_t to, double scale,
                        double shift)
{
    for (int64_t i = from, next; i < to; i = next) {
        double sum = 0, range[2] = {INFINITY, -INFINITY}, x = (p->p[i].x + shift) * scale;
        for (next = i; next < to && p->p[next].x == p->p[i].x; next++) {
            sum += p->p[next].y;
            extend(range, p->p[next].y, p->p[next].y);
        }
        extend(c->x, x, x);
        extend(c->y, range[0], range[1]);
        fprintf(c->dat.f, "%.9g\t%.9g\t%.9g\t%.9g\n", x, sum / (double)(next - i), range[0],
                range[1]);
    }
}

typedef struct family {
    const char *name, *heading, *xlabel, *ylabel, *note, *repeats[2], *template;
    double scale, shift; /* x as drawn = (x + shift) * scale */
    int histogram;
} family;

static const family families[] = {
    {"loss", "Training loss", "optimiser step", "total loss (the variant's own objective)",
     "Totals of different variants are not comparable.",
     {"Mean over seeds; the band spans the seeds.", ""}, "reports/curve.gp", 1, 0, 0},
    {"density", "Feature density", "density (share of rows on which a feature is active)",
     "features per quarter decade", "Features that never fire are in no bin.",
     {"Mean over seeds.", ""}, "reports/histogram.gp", 0.25, 0.5, 1},
};

/* File and heading of a variant's figure: names that are not plain identifiers become numbers. */
static void name_figure(const family *f, const char *variant, int number, char name[48],
                        char heading[96])
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyz0123456789_";
    size_t len = strlen(variant);
    if (len > 0 && len < 32 && strspn(variant, plain) == len) {
        snprintf(name, 48, "%s_%s", f->name, variant);
        snprintf(heading, 96, "%s: %s", f->heading, variant);
    } else {
        snprintf(name, 48, "%s_%d", f->name, number);
        snprintf(heading, 96, "%s: variant %d", f->heading, number);
    }
}

static int draw_variant(canvas *c, const family *f, const sae_points *p, const sae_config *first)
{
    char name[48], heading[96], label[LABEL_MAX];
    name_figure(f, first->variant, first->variant_no, name, heading);
    int rc = canvas_open(c, name, heading, f->note, f->repeats);
    if (rc != SAE_OK)
        return rc;
    c->xlabel = f->xlabel;
    c->ylabel = f->ylabel;
    c->template = f->template;
    for (int64_t i = 0, next; i < p->count; i = next) {
        const sae_config *config = &c->d->config[p->p[i].config];
        for (next = i; next < p->count && p->p[next].config == p->p[i].config;)
            next++;
        sae_short_label(c->d, p->p[i].config, label, sizeof label);
        if (config->variant_no != first->variant_no ||
            !begin_series(c, config->rank, config->size_no, label))
            continue;
        draw_points(c, p, i, next, f->scale, f->shift);
        end_series(c);
    }
    c->xlog = 0;
    c->ylog = !f->histogram && c->y[0] > 0 && c->y[1] > 5 * c->y[0] ? 10 : 0;
    c->y_zero = f->histogram;
    c->x_tight = !f->histogram && c->x[1] > c->x[0];
    return canvas_close(c);
}

static int draw_family(canvas *c, const family *f, const sae_points *p)
{
    for (int64_t i = 0; i < c->d->configs; i++) {
        const sae_config *config = &c->d->config[i];
        if (p->count > 0 && config->size_no == 0 && config->rank == 0)
            SAE_TRY(draw_variant(c, f, p, config));
    }
    return SAE_OK;
}

int sae_figures_write(const sae_report_data *d, const char *dir, sae_figures *out, sae_err *err)
{
    canvas c = {.d = d, .dir = dir, .figs = out, .err = err};
    *out = (sae_figures){.count = 0};
    char *data = sae_strfmt("%s/plots/data", dir);
    if (!data)
        SAE_FAIL(err, SAE_ENOMEM, "out of memory");
    int rc = sae_dir_make(data, err);
    sae_free(data);
    SAE_TRY(rc);
    for (size_t i = 0; i < sizeof tradeoffs / sizeof tradeoffs[0]; i++)
        SAE_TRY(draw_tradeoff(&c, &tradeoffs[i]));
    SAE_TRY(draw_family(&c, &families[0], &d->curve));
    return draw_family(&c, &families[1], &d->density);
}
