/* suite/report/data.c - the CSV files of a run, gathered by SAE and averaged over seeds. */
#include "report/data.h"

#include "core/error.h"
#include "core/memory.h"

#include <math.h>
#include <sae/groups.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* An absent file leaves an empty table; `needed` columns must exist in one that is there. */
static int open_table(sae_table *t, const char *dir, const char *name, int required,
                      const char *const *needed, sae_err *err)
{
    char *path = sae_path_join(dir, name);
    if (!path)
        SAE_FAIL(err, SAE_ENOMEM, "out of memory");
    int rc = SAE_OK;
    if (sae_file_exists(path))
        rc = sae_table_open(t, path, err);
    else if (required)
        rc = SAE_SET(err, SAE_EIO, "%s: not a run, nor results converted for one: it has no %s",
                     dir, name);
    for (; rc >= 0 && t->head && *needed; needed++)
        if (sae_table_col(t, *needed) < 0)
            rc = SAE_SET(err, SAE_EFORMAT, "%s: no column '%s'", path, *needed);
    sae_free(path);
    return rc;
}

static int64_t find_config(const sae_report_data *d, const char *spec, int64_t guess)
{
    if (guess >= 0 && strcmp(d->config[guess].spec, spec) == 0)
        return guess;
    for (int64_t i = 0; i < d->configs; i++)
        if (strcmp(d->config[i].spec, spec) == 0)
            return i;
    return -1;
}

/* The value of n in a spec: ",n=512" or ":n=512". */
static void size_from_spec(const char *spec, char *out, size_t room)
{
    for (const char *p = spec; (p = strstr(p, "n=")) != NULL; p += 2)
        if (p > spec && (p[-1] == ',' || p[-1] == ':')) {
            size_t len = strcspn(p + 2, ",");
            snprintf(out, room, "%.*s", (int)(len < room ? len : room - 1), p + 2);
            return;
        }
}

/* n is what was asked for: dictionaries that grow end at sizes of their own, but are one kind. */
static void describe_config(sae_report_data *d, sae_config *c)
{
    size_from_spec(c->spec, c->n, sizeof c->n);
    for (int64_t i = 0; i < d->saes.rows; i++)
        if (strcmp(sae_table_cell(&d->saes, i, "spec"), c->spec) == 0) {
            c->label = sae_table_cell(&d->saes, i, "label");
            if (!c->n[0])
                snprintf(c->n, sizeof c->n, "%s", sae_table_cell(&d->saes, i, "n"));
            return;
        }
}

/* Number c among what came before it. */
static void place_config(sae_report_data *d, sae_config *c)
{
    int sizes = 0, same_size = -1;
    c->variant_no = d->variants;
    for (const sae_config *o = d->config; o < c; o++) {
        if (strcmp(o->variant, c->variant) != 0)
            continue;
        c->variant_no = o->variant_no;
        sizes = o->size_no >= sizes ? o->size_no + 1 : sizes;
        if (strcmp(o->n, c->n) == 0) {
            same_size = o->size_no;
            c->rank++;
        }
    }
    c->size_no = same_size >= 0 ? same_size : sizes;
    d->variants += c->variant_no == d->variants;
    d->sizes = c->size_no >= d->sizes ? c->size_no + 1 : d->sizes;
}

static int gather_configs(sae_report_data *d, sae_err *err)
{
    const sae_table *t = &d->metrics;
    SAE_TRY(sae_new(&d->config, t->rows, sizeof *d->config, "report.saes", err));
    for (int64_t i = 0, last = -1; i < t->rows; i++) {
        const char *spec = sae_table_cell(t, i, "spec");
        last = find_config(d, spec, last);
        if (last >= 0)
            continue;
        last = d->configs++;
        sae_config *c = &d->config[last];
        c->spec = c->label = spec;
        c->variant = sae_table_cell(t, i, "variant");
        describe_config(d, c);
        place_config(d, c);
    }
    return SAE_OK;
}

int64_t sae_report_metric(const sae_report_data *d, const char *name)
{
    for (int64_t i = 0; i < d->metric_count; i++)
        if (strcmp(d->metric[i], name) == 0)
            return i;
    return -1;
}

static int gather_metrics(sae_report_data *d, int mixed, sae_err *err)
{
    const sae_table *t = &d->metrics;
    SAE_TRY(sae_new(&d->metric, t->rows, sizeof *d->metric, "report.metrics", err));
    for (int64_t i = 0; i < t->rows; i++) {
        const char *name = sae_table_cell(t, i, "metric");
        if (sae_report_metric(d, name) < 0)
            d->metric[d->metric_count++] = name;
        const char *dataset = sae_table_cell(t, i, "dataset"), *hook = sae_table_cell(t, i, "hook");
        if (i == 0) {
            d->dataset = dataset;
            d->hook = hook;
        }
        if (mixed)
            continue;
        if (strcmp(dataset, d->dataset) != 0 || strcmp(hook, d->hook) != 0)
            SAE_FAIL(err, SAE_EFORMAT,
                     "metrics.csv: row %lld: one dataset and hook expected, found %s %s besides "
                     "%s %s",
                     (long long)i + 1, dataset, hook, d->dataset, d->hook);
    }
    return SAE_OK;
}

static void add_value(sae_cell *c, double value)
{
    double delta = value - c->mean;
    c->low = c->seeds == 0 || value < c->low ? value : c->low;
    c->high = c->seeds == 0 || value > c->high ? value : c->high;
    c->seeds++;
    c->mean += delta / (double)c->seeds;
    c->square += delta * (value - c->mean);
}

static int gather_cells(sae_report_data *d, sae_err *err)
{
    const sae_table *t = &d->metrics;
    size_t cells;
    SAE_TRY(sae_size_mul(&cells, d->configs, d->metric_count, err));
    SAE_TRY(sae_new(&d->cell, (int64_t)cells, sizeof *d->cell, "report.cells", err));
    SAE_TRY(sae_new(&d->next, t->rows, sizeof *d->next, "report.rows", err));
    for (int64_t i = 0, config = -1; i < t->rows; i++) {
        double value = sae_table_real(t, i, "value"), se = sae_table_real(t, i, "se");
        config = find_config(d, sae_table_cell(t, i, "spec"), config);
        if (!isfinite(value))
            continue;
        int64_t metric = sae_report_metric(d, sae_table_cell(t, i, "metric"));
        sae_cell *c = &d->cell[config * d->metric_count + metric];
        double count = sae_table_real(t, i, "count");
        d->next[i] = c->seeds > 0 ? c->row : -1;
        c->row = i;
        add_value(c, value);
        c->se2 += (se * se - c->se2) / (double)c->seeds;
        d->seeds = c->seeds > d->seeds ? c->seeds : d->seeds;
        c->count = count > 0 && count < 9e15 ? (int64_t)count : 0;
        c->unit = sae_table_cell(t, i, "unit");
        c->better = sae_table_col(t, "better") >= 0 ? sae_table_cell(t, i, "better") : "";
    }
    return SAE_OK;
}

/* Rows for those of metrics.csv; absent in runs of older versions. */
static int open_deviations(sae_report_data *d, const char *dir, sae_err *err)
{
    char *path = sae_path_join(dir, "deviations.npy");
    if (!path)
        SAE_FAIL(err, SAE_ENOMEM, "out of memory");
    int rc = sae_file_exists(path) ? sae_npy_open(&d->deviations, path, err) : SAE_OK;
    const sae_npy *a = &d->deviations;
    if (rc >= 0 && a->data &&
        (a->dtype != SAE_ST_F32 || a->rank != 2 || a->shape[0] != d->metrics.rows ||
         a->shape[1] != SAE_GROUPS))
        rc = SAE_SET(err, SAE_EFORMAT,
                     "%s: expected float32 [%lld, %d], a row per row of "
                     "metrics.csv",
                     path, (long long)d->metrics.rows, SAE_GROUPS);
    sae_free(path);
    return rc;
}

static int by_config_and_x(const void *a, const void *b)
{
    const sae_point *p = a, *q = b;
    if (p->config != q->config)
        return p->config < q->config ? -1 : 1;
    return (p->x > q->x) - (p->x < q->x);
}

/* Which rows of a table are points, and from which columns. */
typedef struct choice {
    const sae_table *t;
    const char *x, *y;
    const char *name; /* of a series; NULL: every row */
    int first_seed;   /* 1: rows of the seed that a config shows first */
} choice;

/* Whether a row is of the series "FAMILY.KEY". */
static int is_of(const choice *c, int64_t row)
{
    if (!c->name)
        return 1;
    const char *metric = sae_table_cell(c->t, row, "metric");
    size_t len = strlen(metric);
    return !strncmp(c->name, metric, len) && c->name[len] == '.' &&
           !strcmp(c->name + len + 1, sae_table_cell(c->t, row, "series"));
}

static int gather_points(const sae_report_data *d, const choice *c, sae_points *out, sae_err *err)
{
    const char **seed = NULL; /* [configs] the first of each */
    SAE_TRY(sae_new(&seed, d->configs, sizeof *seed, "report.seeds", err));
    int rc = sae_new(&out->p, c->t->rows, sizeof *out->p, "report.points", err);
    for (int64_t i = 0, config = -1; rc >= 0 && i < c->t->rows; i++) {
        if (!is_of(c, i))
            continue;
        config = find_config(d, sae_table_cell(c->t, i, "spec"), config);
        sae_point p = {config, sae_table_real(c->t, i, c->x), sae_table_real(c->t, i, c->y)};
        if (config < 0 || !isfinite(p.x) || !isfinite(p.y))
            continue;
        const char *own = sae_table_cell(c->t, i, "seed");
        seed[config] = seed[config] ? seed[config] : own;
        if (!c->first_seed || !strcmp(seed[config], own))
            out->p[out->count++] = p;
    }
    sae_free(seed);
    if (out->count)
        qsort(out->p, (size_t)out->count, sizeof *out->p, by_config_and_x);
    return rc;
}

int sae_report_series(const sae_report_data *d, const char *name, sae_points *out, sae_err *err)
{
    choice c = {&d->features, "index", "value", name, 0};
    *out = (sae_points){0};
    return gather_points(d, &c, out, err);
}

int sae_report_map(const sae_report_data *d, const char *x, const char *y, sae_points *out,
                   sae_err *err)
{
    sae_points across = {0};
    choice of_x = {&d->features, "index", "value", x, 1};
    choice of_y = {&d->features, "index", "value", y, 1};
    int64_t kept = 0;
    *out = (sae_points){0};
    int rc = gather_points(d, &of_x, &across, err);
    if (rc >= 0)
        rc = gather_points(d, &of_y, out, err);
    for (int64_t i = 0, k = 0; rc >= 0 && i < out->count; i++) {
        sae_point p = out->p[i];
        while (k < across.count && by_config_and_x(&across.p[k], &p) < 0)
            k++;
        if (k < across.count && by_config_and_x(&across.p[k], &p) == 0)
            out->p[kept++] = (sae_point){p.config, across.p[k].y, p.y};
    }
    out->count = kept;
    sae_free(across.p);
    return rc;
}

static int open_run(sae_report_data *d, const char *dir, sae_err *err)
{
    json_error_t e;
    char *path = sae_path_join(dir, "run.json");
    if (!path)
        SAE_FAIL(err, SAE_ENOMEM, "out of memory");
    int rc = SAE_OK;
    if (sae_file_exists(path)) {
        d->run = json_load_file(path, 0, &e);
        if (!d->run)
            rc = SAE_SET(err, SAE_EFORMAT, "%s: line %d: %s", path, e.line, e.text);
    }
    sae_free(path);
    return rc;
}

const char *sae_report_label(const sae_report_data *d, int64_t label)
{
    const json_t *measured = json_object_get(d->run, "eval_dataset");
    measured = measured ? measured : json_object_get(d->run, "dataset");
    return json_string_value(json_array_get(json_object_get(measured, "labels"), (size_t)label));
}

int sae_report_data_open(sae_report_data *d, const char *dir, int mixed, sae_err *err)
{
    static const char *const metrics[] = {"spec",  "variant", "seed",  "dataset", "hook", "metric",
                                          "value", "se",      "count", "unit",    NULL};
    static const char *const saes[] = {"spec", "label", "n", NULL};
    static const char *const loss[] = {"spec", "step", "total", NULL};
    static const char *const features[] = {"spec", "metric", "series", "index", "value", NULL};
    static const char *const pairs[] = {"spec", "peer", "metric", "value", NULL};
    const choice curve = {&d->loss, "step", "total", NULL, 0};
    int rc;
    const char *name = strrchr(dir, '/');
    *d = (sae_report_data){.dataset = "", .hook = "", .name = name && name[1] ? name + 1 : dir};
    SAE_GOTO(open_table(&d->metrics, dir, "metrics.csv", 1, metrics, err));
    SAE_GOTO(open_table(&d->saes, dir, "saes.csv", 0, saes, err));
    SAE_GOTO(open_table(&d->loss, dir, "loss.csv", 0, loss, err));
    SAE_GOTO(open_table(&d->features, dir, "features.csv", 0, features, err));
    SAE_GOTO(open_table(&d->pairs, dir, "pairs.csv", 0, pairs, err));
    SAE_GOTO(gather_configs(d, err));
    SAE_GOTO(gather_metrics(d, mixed, err));
    SAE_GOTO(gather_cells(d, err));
    SAE_GOTO(open_deviations(d, dir, err));
    SAE_GOTO(open_run(d, dir, err));
    SAE_GOTO(gather_points(d, &curve, &d->curve, err));
    return SAE_OK;
fail:
    sae_report_data_close(d);
    return rc;
}

void sae_report_data_close(sae_report_data *d)
{
    sae_table_close(&d->metrics);
    sae_table_close(&d->saes);
    sae_table_close(&d->loss);
    sae_table_close(&d->features);
    sae_table_close(&d->pairs);
    sae_free(d->config);
    sae_free(d->metric);
    sae_free(d->cell);
    sae_free(d->next);
    sae_npy_close(&d->deviations);
    json_decref(d->run);
    sae_free(d->curve.p);
    *d = (sae_report_data){0};
}

const sae_cell *sae_report_cell_at(const sae_report_data *d, int64_t config, int64_t metric)
{
    const sae_cell *c = metric < 0 ? NULL : &d->cell[config * d->metric_count + metric];
    return c && c->seeds > 0 ? c : NULL;
}

const sae_cell *sae_report_cell(const sae_report_data *d, int64_t config, const char *metric)
{
    return sae_report_cell_at(d, config, sae_report_metric(d, metric));
}

const char *sae_report_deviations(const sae_report_data *d, int64_t row)
{
    const char *at = d->deviations.data;
    return at ? at + row * (int64_t)(SAE_GROUPS * sizeof(float)) : NULL;
}
