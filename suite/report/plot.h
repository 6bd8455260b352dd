/* suite/report/plot.h - figures of a run, drawn by gnuplot from templates carried in the binary. */
#ifndef SAE_REPORT_PLOT_H
#define SAE_REPORT_PLOT_H

#include "report/data.h"
#include "report/section.h"

enum { SAE_FIGURES_MAX = 1024, SAE_BLANKS_MAX = 64 };

typedef struct sae_figure {
    char name[48]; /* plots/NAME.svg, plots/NAME.png, plots/data/NAME.dat, NAME.gp */
    char heading[96];
    const char *repeats;          /* for the caption: how seeds or documents are shown */
    const sae_section *section;   /* whose it is; NULL: training */
    const sae_section_figure *of; /* that it shows, perhaps one of several, next to each other */
    int wide;                     /* 1: as two figures beside each other */
    int hidden;                   /* lines beyond what one figure can hold */
    int beside;                   /* SAEs drawn from other folders */
} sae_figure;

typedef struct sae_blank { /* lines left out of figures, since they say nothing */
    const sae_section *section;
    const sae_section_figure *of;
    char variants[200]; /* whose they are */
} sae_blank;

typedef struct sae_figures {
    sae_figure f[SAE_FIGURES_MAX];
    sae_blank blank[SAE_BLANKS_MAX];
    int count, blanks;
    int left_out; /* figures beyond the maximum */
} sae_figures;

/* Write data and script of every figure whose metrics exist to dir/plots/data. */
int sae_figures_write(const sae_report_data *d, const sae_sections *sections, const char *dir,
                      sae_figures *out, sae_err *err);

/* Run gnuplot on all of them. SAE_ENEEDS: there is no such program; SAE_EBACKEND: it failed,
 * with its first message. What it says without failing is logged as a warning. */
int sae_figures_draw(const sae_figures *figs, const char *dir, const char *program, sae_err *err);

#endif
