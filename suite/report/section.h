/* suite/report/section.h - what the page says of a metric family: reports/sections/NAME.yaml.
 *
 * A section names its family's values for tables and its figures; what a run did not measure is
 * left out. A new family needs such a file and no change here.
 */
#ifndef SAE_REPORT_SECTION_H
#define SAE_REPORT_SECTION_H

#include <sae/base.h>

enum sae_section_better {
    SAE_SECTION_NEITHER,
    SAE_SECTION_HIGHER,
    SAE_SECTION_LOWER,
    SAE_SECTION_ZERO, /* the nearer to it */
    SAE_SECTION_ONE
};

typedef struct sae_section_row { /* a column of the section's table */
    char *metric;                /* "reconstruction.fvu" */
    char *head, *unit, *meaning; /* unit may be NULL */
    enum sae_section_better better;
    int summary; /* 1: also in the table at the top of the page */
} sae_section_row;

enum sae_section_kind {
    SAE_FIGURE_TRADEOFF,  /* metric `value` against `across`: a line per variant and size */
    SAE_FIGURE_CURVE,     /* series `value` over its index */
    SAE_FIGURE_HISTOGRAM, /* the same, counts of bins */
    SAE_FIGURE_QUANTILES, /* the values of series `value` in ascending order */
    SAE_FIGURE_MAP,       /* series `value` against series `across`: points, equal axes */
    SAE_FIGURE_PATH,      /* the same, joined in the order of the index; axes of their own */
    SAE_FIGURE_LABELS,    /* series `value` by number of a label of the dataset */
    SAE_FIGURE_BREAKDOWN  /* areas of what metric `value` is made of, over widths (breakdown.h) */
};

typedef struct sae_section_figure {
    char *name; /* of its files; figures per variant add "_VARIANT" */
    enum sae_section_kind kind;
    char *value, *across;               /* across NULL: sparsity.l0 */
    char *published, *published_across; /* their names in published results, where they differ */
    int beside;                         /* 1: drawn only with results beside the run's */
    int together;    /* 1: series of all SAEs in one figure if they are few, else one per variant */
    char *reference; /* a second series, drawn thin beside `value`; or NULL */
    double *blank;   /* of series: a line all of whose values are this says nothing */
    double *slopes;  /* lines through the origin of a map */
    unsigned slopes_count;
    char *heading, *xlabel, *ylabel, *note;
    int log_x, log_y;    /* 1: positive, ratios matter; log_x of a histogram: bins are of log10 */
    double scale, shift; /* x as drawn = (index + shift) * scale; scale 0: 1 */
} sae_section_figure;

typedef struct sae_section {
    char *family; /* what stands before the dot */
    char *title, *about, *source;
    int order; /* ascending on the page */
    int pairs; /* 1: the table is of pairs.csv */
    sae_section_row *rows;
    unsigned rows_count;
    sae_section_figure *figures;
    unsigned figures_count;
} sae_section;

typedef struct sae_sections {
    sae_section **s; /* by order, then title */
    int64_t count;
} sae_sections;

int sae_sections_open(sae_sections *out, sae_err *err);
void sae_sections_close(sae_sections *s);
/* The column of that metric, NULL when no section has it. */
const sae_section_row *sae_section_find(const sae_sections *s, const char *metric);

#endif
