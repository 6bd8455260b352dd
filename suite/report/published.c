/* suite/report/published.c - results that others published, as a folder that reports read. */
#include "report/published.h"

#include "core/csv_table.h"
#include "core/error.h"
#include "core/hash.h"
#include "core/json.h"
#include "core/log.h"
#include "core/memory.h"
#include "report/data.h"
#include "report/saebench.h"

#include <jansson.h>
#include <math.h>
#include <string.h>

enum { NAME = 512, METRIC = 160 };

/* Values that all sources write for "not computed". */
static int computed(double v)
{
    return isfinite(v) && v != -1.0;
}

static const char *unit_of(const char *field)
{
    for (const sae_saebench_field *f = sae_saebench_fields; f->name; f++)
        if (strcmp(f->name, field) == 0)
            return f->unit;
    return "1";
}

/* ---- SAEBench's result files ----------------------------------------------------------------- */

typedef struct record {
    const char *file;
    sae_published_put *put;
    void *arg;
    sae_published v; /* what all values share */
    const char *eval;
    int legacy; /* explained_variance is what later versions call explained_variance_legacy */
} record;

static int put_field(record *r, const char *field, double value, sae_err *err)
{
    char metric[METRIC];
    int core = strcmp(r->eval, "core") == 0;
    if (core && r->legacy && strcmp(field, "explained_variance") == 0)
        field = "explained_variance_legacy";
    int len = core ? snprintf(metric, sizeof metric, "saebench06.%s", field)
                   : snprintf(metric, sizeof metric, "saebench06.%s.%s", r->eval, field);
    if (len >= (int)sizeof metric)
        SAE_FAIL(err, SAE_EFORMAT, "%s: the name of a metric is longer than %d bytes", r->file,
                 METRIC - 1);
    if (!computed(value))
        return SAE_OK;
    r->v.metric = metric;
    r->v.unit = core ? unit_of(field) : "1";
    r->v.value = value;
    return r->put(r->arg, &r->v, err);
}

/* Metrics by category; a value is a number, or null where it was not computed. */
static int read_metrics(record *r, const json_t *metrics, sae_err *err)
{
    const char *category, *field;
    json_t *fields, *value;
    const json_t *quality = json_object_get(metrics, "reconstruction_quality");
    r->legacy = !json_object_get(quality, "explained_variance_legacy");
    json_object_foreach((json_t *)metrics, category, fields)
    {
        if (!json_is_object(fields))
            SAE_FAIL(err, SAE_EFORMAT, "%s: eval_result_metrics.%.80s: expected an object", r->file,
                     category);
        json_object_foreach(fields, field, value)
        {
            if (!json_is_number(value) && !json_is_null(value))
                SAE_FAIL(err, SAE_EFORMAT, "%s: eval_result_metrics.%.80s.%.80s: expected a number",
                         r->file, category, field);
            if (json_is_number(value))
                SAE_TRY(put_field(r, field, json_number_value(value), err));
        }
    }
    return SAE_OK;
}

/* The description-length evaluation has a list of results, one per number of bins. */
static int read_bins(record *r, const json_t *list, sae_err *err)
{
    static const char *const fields[] = {"description_length", "mse_loss"};
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *o = json_array_get(list, i), *bins = json_object_get(o, "num_bins");
        if (!json_is_integer(bins))
            SAE_FAIL(err, SAE_EFORMAT, "%s: eval_results[%zu].num_bins: expected a whole number",
                     r->file, i);
        for (int k = 0; k < 2; k++) {
            char name[64];
            const json_t *value = json_object_get(o, fields[k]);
            snprintf(name, sizeof name, "%s_%lld_bins", fields[k],
                     (long long)json_integer_value(bins));
            if (json_is_number(value))
                SAE_TRY(put_field(r, name, json_number_value(value), err));
        }
    }
    return SAE_OK;
}

static int read_record(record *r, const json_t *o, sae_err *err)
{
    char sae[NAME], size[24] = "";
    const json_t *cfg = json_object_get(o, "sae_cfg_dict"), *n = json_object_get(cfg, "d_sae");
    const json_t *about = json_object_get(cfg, "metadata");
    const json_t *metrics = json_object_get(o, "eval_result_metrics");
    const json_t *bins = json_object_get(o, "eval_results");
    const char *release = sae_json_text(o, "sae_lens_release_id"),
               *id = sae_json_text(o, "sae_lens_id");
    release = *release ? release : sae_json_text(o, "sae_lens_release");
    r->eval = sae_json_text(o, "eval_type_id");
    if (!*r->eval || !*id || (!json_is_object(metrics) && !json_is_array(bins)))
        SAE_FAIL(err, SAE_EFORMAT,
                 "%s: expected a result of SAEBench, an object with eval_type_id, sae_lens_id and "
                 "eval_result_metrics (a run of saemark: --to saebench)",
                 r->file);
    if (snprintf(sae, sizeof sae, "%s/%s", release, id) >= NAME)
        SAE_FAIL(err, SAE_EFORMAT, "%s: the name of a SAE is longer than %d bytes", r->file,
                 NAME - 1);
    if (json_is_integer(n))
        snprintf(size, sizeof size, "%lld", (long long)json_integer_value(n));
    const char *variant = sae_json_text(cfg, "architecture");
    r->v = (sae_published){.sae = sae,
                           .variant = *variant ? variant : "published",
                           .n = size,
                           .model = sae_json_text(json_object_get(o, "eval_config"), "model_name"),
                           .hook = sae_json_text(about, "hook_name")};
    return json_is_object(metrics) ? read_metrics(r, metrics, err) : read_bins(r, bins, err);
}

int sae_published_json(const char *name, const char *text, size_t bytes, sae_published_put *put,
                       void *arg, sae_err *err)
{
    json_error_t at;
    record r = {.file = name, .put = put, .arg = arg};
    int rc = SAE_OK;
    const char *key;
    json_t *inner, *o = json_loadb(text, bytes, JSON_REJECT_DUPLICATES, &at);
    if (!o)
        SAE_FAIL(err, SAE_EFORMAT, "%s: line %d: %s", name, at.line, at.text);
    if (json_object_get(o, "eval_type_id") || json_object_size(o) == 0)
        rc = read_record(&r, o, err);
    else
        json_object_foreach(o, key, inner) SAE_GOTO(read_record(&r, inner, err));
fail:
    json_decref(o);
    return rc;
}

/* ---- tables ---------------------------------------------------------------------------------- */

typedef struct column {
    const char *name, *metric;
} column;

/* The table of January 2025: its explained variance is what 0.6.0 calls the legacy one. */
static const column saebench_columns[] = {
    {"l0", "l0"},
    {"l2_ratio", "l2_ratio"},
    {"explained_variance", "explained_variance_legacy"},
    {"kl_div_score", "kl_div_score"},
    {"ce_loss_score", "ce_loss_score"},
    {"absorption_mean_num_split_features", "absorption_first_letter.mean_num_split_features"},
    {"absorption_mean_full_absorption_score", "absorption_first_letter.mean_full_absorption_score"},
    {"absorption_mean_absorption_fraction_score",
     "absorption_first_letter.mean_absorption_fraction_score"},
    {"autointerp_score", "autointerp.autointerp_score"},
    {"sparse_probing_llm_test_accuracy", "sparse_probing.llm_test_accuracy"},
    {"sparse_probing_llm_top_1", "sparse_probing.llm_top_1_test_accuracy"},
    {"sparse_probing_llm_top_2", "sparse_probing.llm_top_2_test_accuracy"},
    {"sparse_probing_llm_top_5", "sparse_probing.llm_top_5_test_accuracy"},
    {"sparse_probing_sae_test_accuracy", "sparse_probing.sae_test_accuracy"},
    {"sparse_probing_sae_top_1", "sparse_probing.sae_top_1_test_accuracy"},
    {"sparse_probing_sae_top_2", "sparse_probing.sae_top_2_test_accuracy"},
    {"sparse_probing_sae_top_5", "sparse_probing.sae_top_5_test_accuracy"},
    {"unlearning_score", "unlearning.unlearning_score"},
    {"scr_threshold_10", "scr.scr_metric_threshold_10"},
    {"scr_threshold_20", "scr.scr_metric_threshold_20"},
    {"tpp_threshold_10", "tpp.tpp_threshold_10_total_metric"},
    {"tpp_threshold_20", "tpp.tpp_threshold_20_total_metric"},
    {NULL, NULL}};

static int put_cells(const sae_table *t, int64_t row, const column *c, const char *family,
                     sae_published *v, sae_published_put *put, void *arg, sae_err *err)
{
    char metric[METRIC];
    for (; c->name; c++) {
        v->value = sae_table_real(t, row, c->name);
        snprintf(metric, sizeof metric, "%s.%s", family, c->metric);
        v->metric = metric;
        v->unit = unit_of(c->metric);
        if (computed(v->value))
            SAE_TRY(put(arg, v, err));
    }
    return SAE_OK;
}

static int read_saebench(const sae_table *t, sae_published_put *put, void *arg, sae_err *err)
{
    char sae[NAME], hook[64];
    int64_t untrained = 0;
    for (int64_t i = 0; i < t->rows; i++) {
        if (strcmp(sae_table_cell(t, i, "training_tokens"), "0") == 0) {
            untrained++;
            continue;
        }
        const char *model = sae_table_cell(t, i, "model"), *layer = sae_table_cell(t, i, "layer");
        snprintf(sae, sizeof sae, "%.200s/%.300s", model, sae_table_cell(t, i, "sae_id"));
        snprintf(hook, sizeof hook, "resid_post.%.20s", layer);
        sae_published v = {.sae = sae,
                           .variant = sae_table_cell(t, i, "sae_class"),
                           .n = sae_table_cell(t, i, "d_sae"),
                           .model = model,
                           .hook = hook};
        SAE_TRY(put_cells(t, i, saebench_columns, "saebench06", &v, put, arg, err));
    }
    if (untrained)
        sae_log(SAE_LOG_INFO, "convert", "%lld SAEs with 0 training tokens left out",
                (long long)untrained);
    return SAE_OK;
}

/* Names are HOOK_SIZE_VARIANT_K_COEFFICIENT; hooks have underscores of their own. */
static int read_sweep(const sae_table *t, sae_published_put *put, void *arg, sae_err *err)
{
    static const column columns[] = {
        {"l0_norm", "l0"}, {"l2_loss", "normalised_mse"}, {NULL, NULL}};
    for (int64_t i = 0; i < t->rows; i++) {
        char part[4][64] = {{0}}, hook[NAME];
        const char *name = sae_table_cell(t, i, "Name");
        snprintf(hook, sizeof hook, "%.400s", name);
        for (int k = 3; k >= 0; k--) {
            char *last = strrchr(hook, '_');
            if (!last)
                SAE_FAIL(err, SAE_EFORMAT,
                         "row %lld: Name: expected HOOK_SIZE_VARIANT_K_AFA, "
                         "found \"%.80s\"",
                         (long long)i + 1, name);
            snprintf(part[k], sizeof part[k], "%.60s", last + 1);
            *last = '\0';
        }
        sae_published v = {
            .sae = name, .variant = part[1], .n = part[0], .model = "gpt2-small", .hook = hook};
        SAE_TRY(put_cells(t, i, columns, "published", &v, put, arg, err));
    }
    return SAE_OK;
}

int sae_published_csv(const char *path, sae_published_put *put, void *arg, sae_err *err)
{
    sae_table t;
    SAE_TRY(sae_table_open(&t, path, err));
    int rc;
    if (sae_table_col(&t, "sae_id") >= 0 && sae_table_col(&t, "sae_class") >= 0)
        rc = read_saebench(&t, put, arg, err);
    else if (sae_table_col(&t, "Name") >= 0 && sae_table_col(&t, "l2_loss") >= 0)
        rc = read_sweep(&t, put, arg, err);
    else
        rc = SAE_SET(err, SAE_EFORMAT,
                     "%s: expected columns sae_id, sae_class, l0, ... (SAEBench) or Name, l0_norm, "
                     "l2_loss (top-AFA)",
                     path);
    sae_table_close(&t);
    return rc;
}

/* ---- the folder ------------------------------------------------------------------------------ */

typedef struct folder {
    sae_csv *metrics, *saes;
    char last[NAME]; /* the SAE written last */
    char hash[36];   /* of the file being read */
    int64_t values;
} folder;

static int put_row(void *arg, const sae_published *v, sae_err *err)
{
    folder *f = arg;
    (void)err;
    f->values++;
    sae_csv_text(f->metrics, v->sae);
    sae_csv_text(f->metrics, v->variant);
    sae_csv_int(f->metrics, 0);
    sae_csv_text(f->metrics, v->model);
    sae_csv_text(f->metrics, v->hook);
    sae_csv_text(f->metrics, v->metric);
    sae_csv_real(f->metrics, v->value);
    sae_csv_text(f->metrics, NULL);
    sae_csv_text(f->metrics, NULL);
    sae_csv_text(f->metrics, v->unit);
    sae_csv_text(f->metrics, f->hash);
    sae_csv_end_row(f->metrics);
    if (strcmp(f->last, v->sae) != 0) {
        snprintf(f->last, sizeof f->last, "%s", v->sae);
        sae_csv_text(f->saes, v->sae);
        sae_csv_text(f->saes, v->sae);
        sae_csv_text(f->saes, v->n);
        sae_csv_end_row(f->saes);
    }
    return SAE_OK;
}

static int ends_in(const char *path, const char *tail)
{
    size_t a = strlen(path), b = strlen(tail);
    return a >= b && strcmp(path + a - b, tail) == 0;
}

static int read_file(folder *f, const char *path, sae_err *err)
{
    sae_map m = {0};
    SAE_TRY(sae_hash_file(path, f->hash, err));
    f->hash[16] = '\0';
    if (ends_in(path, ".csv"))
        return sae_published_csv(path, put_row, f, err);
    SAE_TRY(sae_map_open(&m, path, err));
    int rc = sae_published_json(path, (const char *)m.p, m.bytes, put_row, f, err);
    sae_map_close(&m);
    return rc;
}

static int read_path(folder *f, const char *path, sae_err *err)
{
    char **names;
    if (ends_in(path, ".json") || ends_in(path, ".csv"))
        return read_file(f, path, err);
    SAE_TRY(sae_dir_list(path, &names, err));
    int rc = SAE_OK;
    for (char **n = names; rc >= 0 && *n; n++) {
        char *file = ends_in(*n, ".json") ? sae_path_join(path, *n) : NULL;
        if (file)
            rc = read_file(f, file, err);
        sae_free(file);
    }
    sae_names_free(&names);
    return rc;
}

static int open_csv(sae_csv **c, const char *dir, const char *name, const char *header,
                    sae_err *err)
{
    char *path = sae_path_join(dir, name);
    if (!path)
        SAE_FAIL(err, SAE_ENOMEM, "out of memory");
    int rc = sae_csv_open(c, path, header, err);
    sae_free(path);
    return rc;
}

int sae_published_write(const char *const *path, int64_t count, const char *dir, int64_t *values,
                        sae_err *err)
{
    folder f = {0};
    int rc = SAE_OK;
    SAE_GOTO(sae_dir_make(dir, err));
    SAE_GOTO(open_csv(&f.metrics, dir, "metrics.csv", SAE_METRICS_COLUMNS, err));
    SAE_GOTO(open_csv(&f.saes, dir, "saes.csv", "spec,label,n", err));
    for (int64_t i = 0; i < count; i++)
        SAE_GOTO(read_path(&f, path[i], err));
    if (f.values == 0)
        SAE_GOTO(SAE_SET(err, SAE_EFORMAT, "%s: no results found", path[0]));
    SAE_GOTO(sae_csv_close(&f.metrics, err));
    SAE_GOTO(sae_csv_close(&f.saes, err));
    *values = f.values;
fail:
    sae_csv_abandon(&f.metrics);
    sae_csv_abandon(&f.saes);
    return rc;
}
