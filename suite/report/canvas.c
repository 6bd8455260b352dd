/* suite/report/canvas.c - one figure in progress.
 *
 * A script is assignments and ranges computed here, reports/style.gp and one template. Names that
 * come from CSV files go into the data files only, never into a script.
 */
#include "report/canvas.h"

#include "core/assets.h"
#include "core/error.h"
#include "core/memory.h"

#include <ctype.h>
#include <math.h>
#include <string.h>

enum { TICS_MAX = 64 };
enum { KEY_MAX = 12, KEY_LONG = 14, KEY_LINE = 66, STEPS = 7 };

void sae_canvas_call(const sae_section_figure *f, const sae_config *config, int number,
                     char name[48], char heading[96])
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyz0123456789_";
    size_t len = strlen(config->variant);
    char who[40], file[16] = "", head[16] = "";
    if (len > 0 && len < 32 && strspn(config->variant, plain) == len)
        snprintf(who, sizeof who, "%s", config->variant);
    else
        snprintf(who, sizeof who, "%d", config->variant_no);
    if (number > 0) {
        snprintf(file, sizeof file, "_%d", number + 1);
        snprintf(head, sizeof head, " (%d)", number + 1);
    }
    snprintf(name, 48, "%s_%.30s%s", f->name, who, file);
    snprintf(heading, 96, "%s: %s%.30s%s", f->heading,
             isdigit((unsigned char)*who) ? "variant " : "", who, head);
}

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
    c->fig->of = n->of;
    c->fig->repeats = n->repeats;
    c->fig->hidden = c->fig->beside = c->series = c->others = 0;
    c->x_tight = c->y_zero = c->xlog = c->ylog = c->decades = c->longest = 0;
    c->width = SAE_FIGURE_WIDTH;
    c->height = SAE_FIGURE_HEIGHT;
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
    dash += c->d->sizes * (color / SAE_COLORS);
    c->color[c->series] = color % SAE_COLORS + 1;
    int length = (int)strlen(title);
    c->longest = length > c->longest ? length : c->longest;
    c->dash[c->series++] = dash % SAE_DASHES + 1;
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
static void write_tics(FILE *f, char axis, const double r[2])
{
    static const int steps[] = {1, 2, 5};
    if (r[1] / r[0] > 1e3)
        return;
    const char *comma = "";
    if (r[0] < 1e-4 || r[1] > 1e5)
        fprintf(f, "set format %c \"%%.0t·10^{%%T}\"\n", axis);
    fprintf(f, "set %ctics (", axis);
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

static void write_slopes(FILE *f, const sae_section_figure *of)
{
    fprintf(f, "slopes = \"");
    for (unsigned i = 0; i < of->slopes_count; i++)
        fprintf(f, "%s%.6g", i ? " " : "", of->slopes[i]);
    fprintf(f, "\"\n");
}

/* References have no names of their own. */
static int keys_of(const sae_canvas *c)
{
    return c->fig->beside ? c->series : c->series - c->others;
}

/* A key of many lines or, unless the figure is wide, of long names stands below it. */
static int is_key_below(const sae_canvas *c)
{
    return keys_of(c) > KEY_MAX || (c->width < SAE_FIGURE_WIDE && c->longest > KEY_LONG);
}

/* There, as many beside each other as fit. */
static int key_columns(const sae_canvas *c)
{
    int columns = KEY_LINE * c->width / SAE_FIGURE_WIDTH / (c->longest + 6);
    return columns < 1 ? 1 : columns > 4 ? 4 : columns;
}

static int key_rows(const sae_canvas *c)
{
    return (keys_of(c) + key_columns(c) - 1) / key_columns(c);
}

static int figure_height(const sae_canvas *c)
{
    int height = 60 + 22 * keys_of(c);
    if (is_key_below(c))
        return c->height + 22 * key_rows(c);
    return height > c->height ? height : c->height;
}

static void write_key_below(FILE *f, const sae_canvas *c)
{
    fprintf(f,
            "set key at screen 0.5, screen 0.02 center bottom horizontal maxcols %d\n"
            "set bmargin %.2f\n",
            key_columns(c), 4.2 + 1.3 * key_rows(c));
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
    if (c->xlog == 10)
        reach_tics(c->x);
    if (c->y_zero)
        c->y[0] = 0;
    fprintf(f, "# Drawn by saemark; run gnuplot on this file to draw it again.\nreset\n");
    fprintf(f, "name = \"%s\"\nheading = \"%s\"\n", c->fig->name, c->fig->heading);
    fprintf(f, "xlabel = \"%s\"\nylabel = \"%s\"\n", c->xlabel, c->ylabel);
    fprintf(f, "width = %d\nheight = %d\n", c->width, figure_height(c));
    fprintf(f, "series = %d\nlines = %d\ndecades = %d\n", c->series, c->series - c->others,
            c->decades);
    write_array(f, "color", c->color, c->series);
    write_array(f, "dash", c->dash, c->series);
    sae_asset_write("reports/style.gp", f);
    if (is_key_below(c))
        write_key_below(f, c);
    fprintf(f, "floor = %.9g\n", c->y[0]);
    fprintf(f, "set xrange [%.9g:%.9g]\nset yrange [%.9g:%.9g]\nset format \"%%g\"\n", c->x[0],
            c->x[1], c->y[0], c->y[1]);
    if (c->xlog)
        fprintf(f, "set logscale x %d\n", c->xlog);
    if (c->xlog == 2 && c->x[1] / c->x[0] > 256)
        fprintf(f, "set xtics 1, 4\n"); /* tics at every power would run into each other */
    if (!c->xlog && c->x[1] > c->x[0])
        fprintf(f, "set xtics %.9g\n", tic_beside((c->x[1] - c->x[0]) / STEPS, 1));
    if (c->ylog)
        fprintf(f, "set logscale y %d\n", c->ylog);
    if (c->ylog)
        write_tics(f, 'y', c->y);
    if (c->xlog == 10)
        write_tics(f, 'x', c->x);
    write_slopes(f, c->fig->of);
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
    c->fig->wide = c->width == SAE_FIGURE_WIDE;
    SAE_TRY(sae_out_commit(&script, c->err));
    c->figs->count++;
    return SAE_OK;
}
