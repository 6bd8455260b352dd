/* suite/report/canvas.c - one figure in progress.
 *
 * A script is assignments and ranges computed here, reports/style.gp and one template. Names that
 * come from CSV files go into the data files only, never into a script.
 */
#include "report/canvas.h"

#include "core/assets.h"
#include "core/error.h"
#include "core/memory.h"

#include <math.h>
#include <string.h>

enum { COLORS = 6, DASHES = 5, TICS_MAX = 64 };
enum { KEY_MAX = 12, KEY_COLUMNS = 3, WIDTH = 680, WIDE = 900 }; /* wide: names are long */

int sae_canvas_open(sae_canvas *c, const sae_canvas_name *n)
{
    if (c->figs->count == SAE_FIGURES_MAX) {
        c->figs->left_out++;
        return SAE_DONE;
    }
    c->fig = &c->figs->f[c->figs->count];
    snprintf(c->fig->name, sizeof c->fig->name, "%s", n->name);
    snprintf(c->fig->heading, sizeof c->fig->heading, "%s", n->heading);
    c->fig->section = c->section;
    c->fig->note = n->note;
    c->fig->repeats = n->repeats;
    c->fig->hidden = c->fig->beside = c->series = c->others = 0;
    c->x[0] = c->y[0] = INFINITY;
    c->x[1] = c->y[1] = -INFINITY;
    char *path = sae_strfmt("%s/plots/data/%s.dat", c->dir, n->name);
    if (!path)
        SAE_FAIL(c->err, SAE_ENOMEM, "out of memory");
    int rc = sae_out_open(&c->dat, path, c->err);
    sae_free(path);
    return rc;
}

/* Titles stand in the first line of a data block; a tab or line end would cut them. */
int sae_canvas_begin(sae_canvas *c, int color, int dash, const char *title)
{
    if (c->series == SAE_SERIES_MAX) {
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

void sae_canvas_end(sae_canvas *c)
{
    fputs("\n\n", c->dat.f);
}

void sae_canvas_extend(double range[2], double low, double high)
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
static int figure_height(const sae_canvas *c)
{
    int height = 60 + 22 * c->series;
    if (c->series > KEY_MAX)
        return 400 + 24 * ((c->series + KEY_COLUMNS - 1) / KEY_COLUMNS);
    return height > 400 ? height : 400;
}

static void write_script(sae_canvas *c, FILE *f)
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

int sae_canvas_close(sae_canvas *c)
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
