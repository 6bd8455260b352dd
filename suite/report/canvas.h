/* suite/report/canvas.h - one figure in progress: its data file, its axes, its script. */
#ifndef SAE_REPORT_CANVAS_H
#define SAE_REPORT_CANVAS_H

#include "core/file.h"
#include "report/plot.h"

enum { SAE_SERIES_MAX = 48, SAE_COLORS = 6, SAE_DASHES = 5 };
enum { SAE_FIGURE_WIDTH = 680, SAE_FIGURE_WIDE = 900, SAE_FIGURE_HEIGHT = 400 };

typedef struct sae_canvas {
    const sae_report_data *d;
    const char *dir;
    sae_figures *figs;
    sae_figure *fig;
    const sae_section *section; /* the figure's; NULL: none */
    const char *xlabel, *ylabel, *template;
    sae_out dat;
    int series;
    int others; /* the last of them: of other folders, or references */
    int color[SAE_SERIES_MAX], dash[SAE_SERIES_MAX];
    double x[2], y[2];   /* extent of what is drawn */
    int xlog, ylog;      /* bases of the axes, 0: linear */
    int decades;         /* x is the decimal logarithm of what its tics say */
    int width, height;   /* pixels, before a long key takes its room */
    int longest;         /* title, in characters */
    int x_tight, y_zero; /* no room beside the data; the axis starts at 0 */
    sae_err *err;
} sae_canvas;

/* What a figure is called; `repeats` is of its caption. */
typedef struct sae_canvas_name {
    const sae_section_figure *of;
    const char *name, *heading, *repeats;
} sae_canvas_name;

/* File and heading of a variant's figure, of several of them the one with that number (from 0).
 * Names that are not plain identifiers become numbers. */
void sae_canvas_call(const sae_section_figure *f, const sae_config *config, int number,
                     char name[48], char heading[96]);
/* SAE_DONE when the page has no room for another figure. */
int sae_canvas_open(sae_canvas *c, const sae_canvas_name *n);
/* Start a line: color-th colour, dash-th style. 0 when there are too many already. */
int sae_canvas_begin(sae_canvas *c, int color, int dash, const char *title);
void sae_canvas_end(sae_canvas *c);
void sae_canvas_extend(double range[2], double low, double high);
/* Write the script, or drop the figure when nothing was drawn. */
int sae_canvas_close(sae_canvas *c);

#endif
