/* suite/report/saebench.c - results of metrics/saebench06.md in SAEBench's own JSON layout. */
#include "report/saebench.h"

#include "core/csv_table.h"
#include "core/error.h"
#include "core/hash.h"
#include "core/json.h"
#include "core/memory.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const sae_saebench_field sae_saebench_fields[] = {
    {"model_behavior_preservation", "kl_div_score", "1", 0},
    {"model_behavior_preservation", "kl_div_with_ablation", "nats", 0},
    {"model_behavior_preservation", "kl_div_with_sae", "nats", 0},
    {"model_performance_preservation", "ce_loss_score", "1", 0},
    {"model_performance_preservation", "ce_loss_with_ablation", "nats", 0},
    {"model_performance_preservation", "ce_loss_with_sae", "nats", 0},
    {"model_performance_preservation", "ce_loss_without_sae", "nats", 0},
    {"reconstruction_quality", "explained_variance", "1", 0},
    {"reconstruction_quality", "explained_variance_legacy", "1", 0},
    {"reconstruction_quality", "mse", "x^2/rows", 0},
    {"reconstruction_quality", "cossim", "1", 0},
    {"shrinkage", "l2_norm_in", "x", 0},
    {"shrinkage", "l2_norm_out", "x", 0},
    {"shrinkage", "l2_ratio", "1", 0},
    {"shrinkage", "relative_reconstruction_bias", "1", 0},
    {"sparsity", "l0", "features", 0},
    {"sparsity", "l1", "z", 0},
    {"token_stats", "total_tokens_eval_reconstruction", "tokens", 1},
    {"token_stats", "total_tokens_eval_sparsity_variance", "tokens", 1},
    {"misc_metrics", "freq_over_1_percent", "1", 0},
    {"misc_metrics", "freq_over_10_percent", "1", 0},
    {"misc_metrics", "normalized_freq_over_1_percent", "1", 0},
    {"misc_metrics", "normalized_freq_over_10_percent", "1", 0},
    {"misc_metrics", "average_max_encoder_cosine_sim", "1", 0},
    {"misc_metrics", "average_max_decoder_cosine_sim", "1", 0},
    {"misc_metrics", "frac_alive", "1", 0},
    {NULL, NULL, NULL, 0}};

static const char *const details[] = {"feature_density",
                                      "consistent_activation_heuristic",
                                      "encoder_bias",
                                      "encoder_norm",
                                      "encoder_decoder_cosine_sim",
                                      "max_decoder_cosine_sim",
                                      "max_encoder_cosine_sim",
                                      NULL};

enum { CONTEXT = 128 }; /* tokens of a prompt in its standard run */
static const char family[] = "saebench06.";

typedef struct writer {
    const char *run, *release, *dir;
    sae_table metrics, saes, features;
    json_t *facts; /* run.json; NULL when absent */
    char eval_id[40];
    int64_t batch_rows;
} writer;

/* A row of saes.csv or metrics.csv belongs to the same SAE. */
static int same_sae(const sae_table *a, int64_t i, const sae_table *b, int64_t j)
{
    return strcmp(sae_table_cell(a, i, "spec"), sae_table_cell(b, j, "spec")) == 0 &&
           strcmp(sae_table_cell(a, i, "seed"), sae_table_cell(b, j, "seed")) == 0;
}

static double or_missing(double v)
{
    return isfinite(v) ? v : -1.0;
}

/* ---- parts of a record ----------------------------------------------------------------------- */

/* Columns `value` and `se` of the SAE's fields by name. */
static json_t *values_of(const writer *w, int64_t sae, const char *column)
{
    json_t *out = json_object();
    for (int64_t i = 0; i < w->metrics.rows; i++) {
        const char *metric = sae_table_cell(&w->metrics, i, "metric");
        if (strncmp(metric, family, strlen(family)) == 0 && same_sae(&w->saes, sae, &w->metrics, i))
            json_object_set_new(out, metric + strlen(family),
                                json_real(or_missing(sae_table_real(&w->metrics, i, column))));
    }
    return out;
}

static json_t *by_category(const json_t *values)
{
    json_t *out = json_object();
    for (const sae_saebench_field *f = sae_saebench_fields; f->name; f++) {
        const json_t *v = json_object_get(values, f->name);
        double value = v ? json_number_value(v) : -1.0;
        if (!json_object_get(out, f->category))
            json_object_set_new(out, f->category, json_object());
        json_object_set_new(json_object_get(out, f->category), f->name,
                            f->whole ? json_integer((json_int_t)value) : json_real(value));
    }
    return out;
}

static json_t *no_feature(int64_t index)
{
    json_t *o = json_object();
    json_object_set_new(o, "index", json_integer(index));
    for (int k = 0; details[k]; k++)
        json_object_set_new(o, details[k], json_real(-1.0));
    return o;
}

/* One object per feature, or none when the run has no such series. Ten decimals, as there. */
static json_t *features_of(const writer *w, int64_t sae)
{
    json_t *out = json_array();
    double n = sae_table_real(&w->saes, sae, "n");
    for (int64_t i = 0; i < w->features.rows; i++) {
        double index = sae_table_real(&w->features, i, "index");
        double value = sae_table_real(&w->features, i, "value");
        const char *series = sae_table_cell(&w->features, i, "series");
        if (strcmp(sae_table_cell(&w->features, i, "metric"), "saebench06") != 0 ||
            !same_sae(&w->saes, sae, &w->features, i) || !(index >= 0 && index < n))
            continue;
        for (int64_t j = (int64_t)json_array_size(out); j <= (int64_t)index; j++)
            json_array_append_new(out, no_feature(j));
        json_t *o = json_array_get(out, (size_t)index);
        if (json_object_get(o, series) && isfinite(value))
            json_object_set_new(o, series, json_real(nearbyint(value * 1e10) / 1e10));
    }
    return out;
}

/* Option `model` of a dataset's spec, else its name. */
static json_t *model_of(const char *dataset)
{
    const char *p = strstr(dataset, "model=");
    if (!p || (p[-1] != ',' && p[-1] != ':'))
        return json_stringn(dataset, strcspn(dataset, ":"));
    p += strlen("model=");
    int quoted = *p == '"';
    return json_stringn(p + quoted, strcspn(p + quoted, quoted ? "\"" : ","));
}

static json_t *config_of(const writer *w, int64_t sae, const json_t *values)
{
    static const char *const flags[] = {"compute_kl",
                                        "compute_ce_loss",
                                        "compute_l2_norms",
                                        "compute_sparsity_metrics",
                                        "compute_variance_metrics",
                                        "compute_featurewise_density_statistics",
                                        "compute_featurewise_weight_based_metrics",
                                        "exclude_special_tokens_from_reconstruction"};
    double tokens =
        json_number_value(json_object_get(values, "total_tokens_eval_sparsity_variance"));
    double prompts = ceil((double)w->batch_rows / CONTEXT);
    json_int_t batches = (json_int_t)ceil(tokens / (prompts * CONTEXT));
    const char *dataset = "";
    for (int64_t i = 0; i < w->metrics.rows && !*dataset; i++)
        if (same_sae(&w->saes, sae, &w->metrics, i))
            dataset = sae_table_cell(&w->metrics, i, "dataset");
    int model = json_object_get(values, "ce_loss_score") != NULL;
    json_t *o = json_object();
    json_object_set_new(o, "model_name", model_of(dataset));
    json_object_set_new(o, "llm_dtype", json_string("float32"));
    json_object_set_new(o, "batch_size_prompts", json_integer((json_int_t)prompts));
    json_object_set_new(o, "n_eval_reconstruction_batches", json_integer(model ? batches : 0));
    json_object_set_new(o, "n_eval_sparsity_variance_batches", json_integer(batches));
    json_object_set_new(o, "dataset", json_string(dataset));
    json_object_set_new(o, "context_size", json_integer(CONTEXT));
    for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++)
        json_object_set_new(o, flags[i], json_boolean(model || i > 1));
    json_object_set_new(o, "verbose", json_false());
    return o;
}

/* What that layout has no place for. */
static json_t *notes_of(const writer *w, int64_t sae)
{
    json_t *notes = json_object(), *o = json_object();
    json_object_set_new(o, "spec", json_string(sae_table_cell(&w->saes, sae, "spec")));
    json_object_set_new(o, "seed", json_string(sae_table_cell(&w->saes, sae, "seed")));
    json_object_set_new(o, "batch_rows", json_integer(w->batch_rows));
    json_object_set_new(o, "standard_errors", values_of(w, sae, "se"));
    json_object_set_new(notes, "saemark", o);
    return notes;
}

static json_t *cfg_of(const writer *w, const char *id)
{
    char *path = sae_strfmt("%s/saes/%s/cfg.json", w->run, id);
    json_t *cfg = path ? json_load_file(path, 0, NULL) : NULL;
    sae_free(path);
    return cfg ? cfg : json_null();
}

/* ---- facts of the run ------------------------------------------------------------------------ */

/* Milliseconds since 1970 of "2026-11-21T09:39:15Z"; 0 when there is no such text. Days by the
 * proleptic Gregorian calendar, years beginning in March. */
static json_int_t millis_of(const char *text)
{
    int64_t v[6] = {0};
    for (int i = 0; text && i < 6; i++) {
        char *stop;
        v[i] = strtol(text, &stop, 10);
        text = *stop ? stop + 1 : stop;
    }
    if (v[0] < 1970 || v[0] > 9999 || v[1] < 1 || v[1] > 12)
        return 0;
    int64_t y = v[0] - (v[1] <= 2), month = (v[1] + 9) % 12;
    int64_t days = 365 * y + y / 4 - y / 100 + y / 400 + (153 * month + 2) / 5 + v[2] - 1 - 719468;
    return (json_int_t)((((days * 24 + v[3]) * 60 + v[4]) * 60 + v[5]) * 1000);
}

/* A UUID of version 4 form that is the same for the same results. */
static int make_eval_id(writer *w, const char *metrics, sae_err *err)
{
    char h[36];
    SAE_TRY(sae_hash_file(metrics, h, err));
    h[12] = '4';
    h[16] = 'a';
    snprintf(w->eval_id, sizeof w->eval_id, "%.8s-%.4s-%.4s-%.4s-%.12s", h, h + 8, h + 12, h + 16,
             h + 20);
    return SAE_OK;
}

/* Option batch_rows of the family as it was run. */
static int64_t batch_rows_of(const json_t *facts)
{
    const json_t *list = json_object_get(facts, "metrics");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *spec = json_string_value(json_array_get(list, i));
        const char *p =
            spec && strncmp(spec, "saebench06:", 11) == 0 ? strstr(spec, "batch_rows=") : NULL;
        if (p)
            return strtoll(p + strlen("batch_rows="), NULL, 10);
    }
    return 16 * CONTEXT;
}

/* ---- files ----------------------------------------------------------------------------------- */

static json_t *record_of(const writer *w, int64_t sae, const json_t *values)
{
    char made_by[96];
    const char *id = sae_table_cell(&w->saes, sae, "id");
    const json_t *build = json_object_get(w->facts, "build");
    json_t *o = json_object();
    snprintf(made_by, sizeof made_by, "saemark %.32s (%.48s)", sae_json_text(build, "version"),
             sae_json_text(build, "git"));
    json_object_set_new(o, "eval_type_id", json_string("core"));
    json_object_set_new(o, "eval_config", config_of(w, sae, values));
    json_object_set_new(o, "eval_id", json_string(w->eval_id));
    json_object_set_new(o, "datetime_epoch_millis",
                        json_integer(millis_of(sae_json_text(w->facts, "finished"))));
    json_object_set_new(o, "eval_result_metrics", by_category(values));
    json_object_set_new(o, "eval_result_details", features_of(w, sae));
    json_object_set_new(o, "sae_bench_commit_hash", json_string(made_by));
    json_object_set_new(o, "sae_lens_id", json_string(id));
    json_object_set_new(o, "sae_lens_release_id", json_string(w->release));
    json_object_set_new(o, "sae_lens_version", json_string(made_by));
    json_object_set_new(o, "sae_cfg_dict", cfg_of(w, id));
    json_object_set_new(o, "eval_result_unstructured", notes_of(w, sae));
    return o;
}

static int write_record(const writer *w, int64_t sae, const json_t *values, sae_err *err)
{
    char *name =
        sae_strfmt("%s_%s_eval_results.json", w->release, sae_table_cell(&w->saes, sae, "id"));
    for (char *p = name; p && *p; p++)
        *p = *p == '/' ? '_' : *p;
    char *path = name ? sae_path_join(w->dir, name) : NULL;
    json_t *o = record_of(w, sae, values);
    char *text = json_dumps(o, JSON_INDENT(2));
    int rc = path && text ? sae_file_write(path, text, strlen(text), err)
                          : SAE_SET(err, SAE_ENOMEM, "out of memory");
    free(text);
    json_decref(o);
    sae_free(path);
    sae_free(name);
    return rc;
}

static int write_records(const writer *w, int64_t *files, sae_err *err)
{
    int rc = SAE_OK;
    *files = 0;
    for (int64_t i = 0; rc >= 0 && i < w->saes.rows; i++) {
        json_t *values = values_of(w, i, "value");
        if (json_object_size(values) > 0) {
            rc = write_record(w, i, values, err);
            ++*files;
        }
        json_decref(values);
    }
    if (rc >= 0 && *files == 0)
        SAE_FAIL(err, SAE_EINVAL, "%s: metrics.csv has no rows of saebench06", w->run);
    return rc;
}

/* Of the run's files only features.csv and run.json may be absent. */
static int open_run(writer *w, sae_err *err)
{
    static const char *const names[] = {"metrics.csv", "saes.csv", "features.csv"};
    sae_table *const table[] = {&w->metrics, &w->saes, &w->features};
    int rc = SAE_OK;
    for (int i = 0; rc >= 0 && i < 3; i++) {
        char *path = sae_path_join(w->run, names[i]);
        if (!path)
            SAE_FAIL(err, SAE_ENOMEM, "out of memory");
        if (i < 2 || sae_file_exists(path))
            rc = sae_table_open(table[i], path, err);
        if (rc >= 0 && i == 0)
            rc = make_eval_id(w, path, err);
        sae_free(path);
    }
    char *path = sae_path_join(w->run, "run.json");
    w->facts = path ? json_load_file(path, 0, NULL) : NULL;
    sae_free(path);
    w->batch_rows = batch_rows_of(w->facts);
    return rc;
}

int sae_saebench_write(const char *run_dir, const char *release, const char *dir, int64_t *files,
                       sae_err *err)
{
    const char *base = strrchr(run_dir, '/');
    writer w = {.run = run_dir,
                .release = release ? release
                           : base  ? base + 1
                                   : run_dir,
                .dir = dir};
    int rc = open_run(&w, err);
    if (rc >= 0)
        rc = sae_dir_make(dir, err);
    if (rc >= 0)
        rc = write_records(&w, files, err);
    sae_table_close(&w.metrics);
    sae_table_close(&w.saes);
    sae_table_close(&w.features);
    json_decref(w.facts);
    return rc;
}
