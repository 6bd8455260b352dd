/* suite/report/data.h - the CSV files of a run, gathered by SAE and averaged over seeds. */
#ifndef SAE_REPORT_DATA_H
#define SAE_REPORT_DATA_H

#include "core/csv_table.h"
#include "core/npy.h"

#include <jansson.h>

#define SAE_METRICS_COLUMNS                                                                        \
    "spec,variant,seed,dataset,hook,metric,value,se,count,unit,input_hash" /* of metrics.csv */

typedef struct sae_config { /* one spec; its seeds are repetitions */
    const char *spec, *label, *variant;
    char n[24];              /* dictionary size as text, "" when unknown */
    int variant_no, size_no; /* number of the variant; of the size among those of the variant */
    int rank;                /* among the specs of that variant and size */
} sae_config;

/* One metric of one spec. */
typedef struct sae_cell {
    int64_t seeds;          /* finite values behind it; 0: none */
    double mean, low, high; /* over the seeds */
    double square;          /* sum of squared deviations from the mean (Welford) */
    double se2;             /* mean of the seeds' squared standard errors; NaN: not estimated */
    int64_t row;            /* of metrics.csv, the last seed's; sae_report_data.next the others' */
    int64_t count;          /* rows, tokens or features behind one value */
    const char *unit;
    const char *better;     /* "higher", "lower", "zero", "one" is best; "": none or not stated */
} sae_cell;

/* A point of a curve: loss at a step, features in a bin. */
typedef struct sae_point {
    int64_t config;
    double x, y;
} sae_point;
typedef struct sae_points {
    sae_point *p;
    int64_t count;
} sae_points;

typedef struct sae_report_data { /* strings belong to the tables */
    sae_table metrics, saes, loss, features, pairs;
    sae_config *config;
    int64_t configs;
    int variants, sizes; /* different ones; sizes: the most of any variant */
    const char **metric; /* names in order of appearance */
    int64_t metric_count;
    sae_cell *cell;     /* [configs x metric_count] */
    int64_t *next;      /* [metrics.rows] row of the same cell, another seed; -1: none */
    sae_npy deviations; /* data NULL: the run has none */
    json_t *run;        /* run.json, NULL when absent */
    int64_t seeds;      /* the most behind any cell */
    const char *dataset, *hook;
    sae_points curve;               /* total loss over steps, by config and x */
    struct sae_report_data *beside; /* [besides] results drawn beside these, borrowed */
    int64_t besides;
    const char *name; /* of the folder */
} sae_report_data;

/* mixed: rows may be of several datasets and hooks, as published results are. */
int sae_report_data_open(sae_report_data *d, const char *dir, int mixed, sae_err *err);
void sae_report_data_close(sae_report_data *d);

int64_t sae_report_metric(const sae_report_data *d, const char *name); /* its number, or -1 */
/* NULL when there is no such metric or the SAE has no finite value of it. */
const sae_cell *sae_report_cell_at(const sae_report_data *d, int64_t config, int64_t metric);
const sae_cell *sae_report_cell(const sae_report_data *d, int64_t config, const char *metric);
/* A series of features.csv, "sparsity.density_log10", by config and index (x); free out->p. Empty
 * when there is none. */
int sae_report_series(const sae_report_data *d, const char *name, sae_points *out, sae_err *err);
/* Two series as points (x, y) joined by index, of each config's first seed; free out->p. */
int sae_report_map(const sae_report_data *d, const char *x, const char *y, sae_points *out,
                   sae_err *err);
/* The options in which a spec differs from the others of its variant, its label when in none; cut
 * to room - 1 bytes (room > 4). */
void sae_short_label(const sae_report_data *d, int64_t config, char *out, size_t room);
/* The same without the dictionary size; "" where recipes of the variant differ in nothing else. */
void sae_recipe_label(const sae_report_data *d, int64_t config, char *out, size_t room);
/* Name of a label of the measured dataset; NULL when run.json does not say. */
const char *sae_report_label(const sae_report_data *d, int64_t label);
/* The float32 [SAE_GROUPS] deviations of a row of metrics.csv, unaligned; NULL without. */
const char *sae_report_deviations(const sae_report_data *d, int64_t row);

#endif
