/* tests/eval/published.c - results of others read, our own written in SAEBench's layout and read
 * back, both drawn together.
 */
#include "core/csv_table.h"
#include "core/file.h"
#include "core/memory.h"
#include "report/data.h"
#include "report/published.h"
#include "report/report.h"
#include "report/saebench.h"
#include "support/support.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct seen {
    int count;
    struct {
        char sae[128], variant[48], n[24], model[48], hook[64], metric[96], unit[16];
        double value;
    } v[64];
} seen;

static seen got;

static int take(void *arg, const sae_published *v, sae_err *err)
{
    seen *s = arg;
    (void)err;
    ck_assert_int_lt(s->count, 64);
    snprintf(s->v[s->count].sae, sizeof s->v[0].sae, "%s", v->sae);
    snprintf(s->v[s->count].variant, sizeof s->v[0].variant, "%s", v->variant);
    snprintf(s->v[s->count].n, sizeof s->v[0].n, "%s", v->n);
    snprintf(s->v[s->count].model, sizeof s->v[0].model, "%s", v->model);
    snprintf(s->v[s->count].hook, sizeof s->v[0].hook, "%s", v->hook);
    snprintf(s->v[s->count].metric, sizeof s->v[0].metric, "%s", v->metric);
    snprintf(s->v[s->count].unit, sizeof s->v[0].unit, "%s", v->unit);
    s->v[s->count++].value = v->value;
    return SAE_OK;
}

static int read_json(const char *text, sae_err *err)
{
    memset(&got, 0, sizeof got);
    memset(err, 0, sizeof *err);
    return sae_published_json("x.json", text, strlen(text), take, &got, err);
}

static double value_named(const char *metric)
{
    for (int i = 0; i < got.count; i++)
        if (!strcmp(got.v[i].metric, metric))
            return got.v[i].value;
    ck_abort_msg("no %s", metric);
    return 0;
}

#define CORE(quality)                                                                              \
    "{\"eval_type_id\": \"core\", \"eval_config\": {\"model_name\": \"m\"}, \"sae_lens_id\": "     \
    "\"a/b\", \"sae_lens_release_id\": \"r\", \"eval_result_metrics\": {\"reconstruction_quality"  \
    "\": {" quality "}, \"model_behavior_preservation\": {\"kl_div_score\": -1.0}}}"

START_TEST(json_records)
{
    sae_err err;
    ck_assert_ok(read_json(CORE("\"explained_variance\": 0.5, \"mse\": 2"), &err), err);
    ck_assert_int_eq(got.count, 2); /* -1 is "not computed" */
    ck_assert_str_eq(got.v[0].sae, "r/a/b");
    ck_assert_str_eq(got.v[0].variant, "published");
    ck_assert_str_eq(got.v[0].model, "m");
    ck_assert_str_eq(got.v[1].unit, "x^2/rows");
    ck_assert_double_eq(value_named("saebench06.explained_variance_legacy"), 0.5);
    ck_assert_ok(read_json(CORE("\"explained_variance\": 0.5, \"explained_variance_legacy\": 0.4"),
                           &err), err);
    ck_assert_double_eq(value_named("saebench06.explained_variance"), 0.5);
    ck_assert_double_eq(value_named("saebench06.explained_variance_legacy"), 0.4);
    ck_assert_ok(read_json("{\"name\": {\"eval_type_id\": \"scr\", \"sae_lens_id\": \"x\", "
                           "\"sae_cfg_dict\": {\"d_sae\": 64, \"architecture\": \"a\"}, "
                           "\"eval_result_metrics\": {\"s\": {\"m_2\": null, \"m_10\": 0.25}}}}",
                           &err), err);
    ck_assert_int_eq(got.count, 1);
    ck_assert_double_eq(value_named("saebench06.scr.m_10"), 0.25);
    ck_assert(!strcmp(got.v[0].n, "64") && !strcmp(got.v[0].variant, "a"));
}
END_TEST

START_TEST(json_that_is_none)
{
    static const char *const bad[][2] = {
        {"{", "line 1"},
        {"[1]", "eval_type_id"},
        {"{}", "eval_type_id"},
        {"{\"a\": 3}", "eval_type_id"},
        {CORE("\"mse\": \"2\""), "reconstruction_quality.mse: expected a number"},
        {CORE("\"mse\": {\"a\": 1}"), "reconstruction_quality.mse: expected a number"},
        {"{\"eval_type_id\": \"core\", \"sae_lens_id\": \"x\", \"eval_result_metrics\": "
         "{\"sparsity\": 3}}", "sparsity: expected an object"},
        {"{\"eval_type_id\": \"mdl\", \"sae_lens_id\": \"x\", \"eval_results\": [{}]}",
         "eval_results.0..num_bins"}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        sae_err err;
        ck_assert_int_eq(read_json(bad[i][0], &err), SAE_EFORMAT);
        ck_assert_msg(strstr(err.msg, "x.json") != NULL, "%s", err.msg);
        if (!strchr(bad[i][1], '.') || strstr(bad[i][1], "quality"))
            ck_assert_msg(strstr(err.msg, bad[i][1]) != NULL, "%s", err.msg);
    }
}
END_TEST

/* ---- files that exist ------------------------------------------------------------------------ */

static sae_table t;

static char *in_test_dir(const char *name)
{
    char *path = sae_path_join(test_dir(), name);
    ck_assert_ptr_nonnull(path);
    return path;
}

/* Convert into the test's folder NAME and open its metrics.csv. */
static int convert(const char *data, const char *name)
{
    const char *path = test_data(data);
    sae_err err = {0};
    int64_t values;
    if (!path)
        return 0;
    char *dir = in_test_dir(name), *csv = sae_path_join(dir, "metrics.csv");
    ck_assert_ok(sae_published_write(&path, 1, dir, &values, &err), err);
    ck_assert_ok(sae_table_open(&t, csv, &err), err);
    ck_assert_int_eq(t.rows, values);
    sae_free(csv);
    sae_free(dir);
    return 1;
}

static double cell(const char *sae, const char *metric)
{
    for (int64_t i = 0; i < t.rows; i++)
        if (!strcmp(sae_table_cell(&t, i, "spec"), sae) &&
            !strcmp(sae_table_cell(&t, i, "metric"), metric))
            return sae_table_real(&t, i, "value");
    ck_abort_msg("no %s of %s", metric, sae);
    return 0;
}

START_TEST(published_table)
{
    static const char sae[] =
        "gemma-2-2b/12-sae_bench_0125-matryoshka_batch_topk-res-4k__trainer_0";
    sae_report_data d;
    sae_err err = {0};
    if (!convert("saebench-results/saebench_0125.csv", "SAEBench"))
        return;
    /* 312 SAEs, 12 untrained; 22 values each, but no KL of 126 and no unlearning of 126 */
    ck_assert_int_eq(t.rows, 300 * 22 - 126 - 126);
    ck_assert(cell(sae, "saebench06.l0") > 0);
    for (int64_t i = 0; i < t.rows; i++)
        ck_assert(isfinite(sae_table_real(&t, i, "value")));
    sae_table_close(&t);
    char *dir = in_test_dir("SAEBench");
    ck_assert_ok(sae_report_data_open(&d, dir, 1, &err), err); /* two models, one folder */
    ck_assert_int_eq(d.configs, 300);
    ck_assert_int_eq(d.variants, 7);
    sae_report_data_close(&d);
    ck_assert_int_eq(sae_report_data_open(&d, dir, 0, &err), SAE_EFORMAT);
    sae_free(dir);
}
END_TEST

START_TEST(published_sweep)
{
    static const char sae[] = "blocks.6.hook_resid_pre_12288_topk_64_0.0";
    if (!convert("topafa-gpt2/topafa_layer6.csv", "sweep"))
        return;
    ck_assert_double_eq(cell(sae, "published.l0"), 63.918701171875);
    ck_assert_double_eq(cell(sae, "published.normalised_mse"), 0.05126868188381195);
    ck_assert_str_eq(sae_table_cell(&t, 0, "hook"), "blocks.6.hook_resid_pre");
    ck_assert_str_eq(sae_table_cell(&t, 0, "variant"), "topk");
    sae_table_close(&t);
}
END_TEST

/* Every evaluation of SAEBench has its record; those of its own tests, as a folder. */
START_TEST(published_records)
{
    static const char sae[] =
        "sae_bench_pythia70m_sweep_gated_ctx128_0730/blocks.3.hook_resid_post__trainer_5";
    if (!convert("saebench-results", "records"))
        return;
    ck_assert_double_eq(cell(sae, "saebench06.ce_loss_score"), 0.9975534586157891);
    ck_assert_double_eq(cell(sae, "saebench06.explained_variance_legacy"), 0.9858025908470154);
    sae_table_close(&t);
}
END_TEST

START_TEST(tables_that_are_none)
{
    sae_err err = {0};
    char *path = in_test_dir("x.csv"), *dir = in_test_dir("out");
    int64_t values;
    static const char *const text[] = {"a,b\n1,2\n", "Name,l2_loss,l0_norm\nblocks_1,1,2\n", "",
                                       "sae_id,sae_class\n"};
    for (size_t i = 0; i < sizeof text / sizeof text[0]; i++) {
        err = (sae_err){0};
        ck_assert_ok(sae_file_write(path, text[i], strlen(text[i]), &err), err);
        const char *one = path;
        ck_assert_int_eq(sae_published_write(&one, 1, dir, &values, &err), SAE_EFORMAT);
        char *left = sae_path_join(dir, "metrics.csv");
        ck_assert(!sae_file_exists(left));
        sae_free(left);
    }
    sae_free(path);
    sae_free(dir);
}
END_TEST

/* ---- there and back -------------------------------------------------------------------------- */

static void put_value(sae_csv *c, const char *metric, double value, double se)
{
    sae_csv_text(c, "v:k=2");
    sae_csv_text(c, "v");
    sae_csv_int(c, 1);
    sae_csv_text(c, "lm:model=\"some,model\",hook=resid_post.1");
    sae_csv_text(c, "resid_post.1");
    sae_csv_text(c, metric);
    sae_csv_real(c, value);
    sae_csv_real(c, se);
    sae_csv_int(c, 4096);
    sae_csv_text(c, "1");
    sae_csv_text(c, "0");
    sae_csv_end_row(c);
}

/* A run of one SAE whose fields are 0.01, 0.02, ..., the KL not among them. */
static void make_run(const char *dir)
{
    sae_err err = {0};
    sae_csv *c;
    ck_assert_ok(sae_dir_make(dir, &err), err);
    char *path = sae_path_join(dir, "metrics.csv");
    ck_assert_ok(sae_csv_open(&c, path, SAE_METRICS_COLUMNS, &err), err);
    put_value(c, "sparsity.l0", 2, NAN);
    for (int i = 3; sae_saebench_fields[i].name; i++) {
        char metric[64];
        snprintf(metric, sizeof metric, "saebench06.%s", sae_saebench_fields[i].name);
        put_value(c, metric, sae_saebench_fields[i].whole ? 4096 : 0.01 * i, 0.001);
    }
    ck_assert_ok(sae_csv_close(&c, &err), err);
    sae_free(path);
    static const char *const files[][2] = {
        {"saes.csv", "spec,label,id,seed,n\n\"v:k=2\",\"v\",\"0/f\",1,3\n"},
        {"features.csv", "spec,variant,seed,metric,series,index,value\n"
                         "\"v:k=2\",\"v\",1,\"saebench06\",\"feature_density\",1,0.123456789012\n"
                         "\"v:k=2\",\"v\",1,\"saebench06\",\"feature_density\",3,0.5\n"
                         "\"v:k=2\",\"v\",0,\"saebench06\",\"feature_density\",0,0.5\n"},
        {"run.json", "{\"finished\": \"2024-02-29T12:00:01Z\", \"build\": {\"version\": \"9\"}, "
                     "\"metrics\": [\"saebench06:batch_rows=1024,details=1\"]}"}};
    for (int i = 0; i < 3; i++) {
        path = sae_path_join(dir, files[i][0]);
        ck_assert_ok(sae_file_write(path, files[i][1], strlen(files[i][1]), &err), err);
        sae_free(path);
    }
}

static const json_t *at(const json_t *o, const char *a, const char *b)
{
    return json_object_get(json_object_get(o, a), b);
}

/* What SAEBench's schema requires: every category, every field a number, the rest of its type. */
static void check_record(const json_t *o)
{
    static const char *const texts[] = {"eval_type_id", "eval_id", "sae_bench_commit_hash",
                                        "sae_lens_id", "sae_lens_release_id", "sae_lens_version"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        ck_assert_msg(json_is_string(json_object_get(o, texts[i])), "%s", texts[i]);
    for (const sae_saebench_field *f = sae_saebench_fields; f->name; f++) {
        const json_t *v = at(json_object_get(o, "eval_result_metrics"), f->category, f->name);
        ck_assert_msg(f->whole ? json_is_integer(v) : json_is_real(v), "%s", f->name);
    }
    const json_t *metrics = json_object_get(o, "eval_result_metrics");
    ck_assert_double_eq(json_real_value(at(metrics, "model_behavior_preservation",
                                           "kl_div_score")), -1);
    ck_assert_double_eq(json_real_value(at(metrics, "sparsity", "l0")), 0.15);
    ck_assert_int_eq(json_integer_value(json_object_get(o, "datetime_epoch_millis")),
                     1709208001000);
    ck_assert_int_eq(json_integer_value(at(o, "eval_config", "batch_size_prompts")), 8);
    const json_t *batches = at(o, "eval_config", "n_eval_sparsity_variance_batches");
    ck_assert_int_eq(json_integer_value(batches), 4);
    ck_assert_str_eq(json_string_value(at(o, "eval_config", "model_name")), "some,model");
    ck_assert(json_is_true(at(o, "eval_config", "compute_kl")));
    const json_t *features = json_object_get(o, "eval_result_details");
    ck_assert_int_eq((int)json_array_size(features), 2); /* index 3 is none of n = 3 */
    ck_assert_double_eq(
        json_real_value(json_object_get(json_array_get(features, 1), "feature_density")),
        0.1234567890);
    ck_assert_double_eq(
        json_real_value(json_object_get(json_array_get(features, 0), "encoder_norm")), -1);
    ck_assert_int_eq((int)strlen(json_string_value(json_object_get(o, "eval_id"))), 36);
    ck_assert(json_is_null(json_object_get(o, "sae_cfg_dict")));
}

START_TEST(there_and_back)
{
    sae_err err = {0};
    int64_t files, values;
    char *run = in_test_dir("run"), *json = in_test_dir("json"), *back = in_test_dir("back");
    make_run(run);
    ck_assert_ok(sae_saebench_write(run, "my/release", json, &files, &err), err);
    ck_assert_int_eq(files, 1);
    char *file = sae_path_join(json, "my_release_0_f_eval_results.json");
    json_t *o = json_load_file(file, 0, NULL);
    ck_assert_ptr_nonnull(o);
    check_record(o);
    json_decref(o);
    const char *one = json;
    ck_assert_ok(sae_published_write(&one, 1, back, &values, &err), err);
    char *csv = sae_path_join(back, "metrics.csv");
    ck_assert_ok(sae_table_open(&t, csv, &err), err);
    for (int i = 3; sae_saebench_fields[i].name; i++) {
        char metric[64];
        snprintf(metric, sizeof metric, "saebench06.%s", sae_saebench_fields[i].name);
        ck_assert_double_eq(cell("my/release/0/f", metric),
                            sae_saebench_fields[i].whole ? 4096 : 0.01 * i);
    }
    ck_assert_int_eq(t.rows, 23);
    sae_table_close(&t);
    char *saes = sae_path_join(run, "saes.csv");
    ck_assert_ok(sae_file_write(saes, "spec,label,id,seed,n\n", 21, &err), err);
    ck_assert_int_eq(sae_saebench_write(run, NULL, json, &files, &err), SAE_EINVAL);
    sae_free(saes);
    sae_free(csv);
    sae_free(file);
    sae_free(run);
    sae_free(json);
    sae_free(back);
}
END_TEST

static void expect_in(const char *dir, const char *name, const char *text)
{
    sae_map m;
    sae_err err = {0};
    char *path = sae_path_join(dir, name);
    ck_assert_ok(sae_map_open(&m, path, &err), err);
    char *all = sae_strfmt("%.*s", (int)m.bytes, (const char *)m.p);
    ck_assert_msg(strstr(all, text) != NULL, "%s: no %s in %s", name, text, all);
    sae_map_close(&m);
    sae_free(all);
    sae_free(path);
}

/* Results of another folder are drawn, behind the run's own, where both have the metric. */
START_TEST(drawn_beside)
{
    sae_err err = {0};
    int64_t files, values;
    char *run = in_test_dir("run"), *json = in_test_dir("json"), *other = in_test_dir("other");
    make_run(run);
    ck_assert_ok(sae_saebench_write(run, "r", json, &files, &err), err);
    const char *one = json;
    ck_assert_ok(sae_published_write(&one, 1, other, &values, &err), err);
    const char *const beside[] = {other, NULL};
    const sae_report_options o = {.gnuplot = "no-such-gnuplot", .beside = beside};
    ck_assert_ok(sae_report_write(run, &o, &err), err);
    expect_in(run, "plots/data/saebench_ce.dat", "\"v\"\n0.15\t");
    expect_in(run, "plots/data/saebench_ce.dat", "\n\n\"published, other\"\n0.15\t");
    expect_in(run, "plots/data/saebench_ce.gp", "series = 2\nlines = 1\n");
    sae_free(run);
    sae_free(json);
    sae_free(other);
}
END_TEST

Suite *suite_published(void)
{
    Suite *s = suite_create("published");
    TCase *c = tcase_create("published");
    tcase_add_test(c, json_records);
    tcase_add_test(c, json_that_is_none);
    tcase_add_test(c, published_table);
    tcase_add_test(c, published_sweep);
    tcase_add_test(c, published_records);
    tcase_add_test(c, tables_that_are_none);
    tcase_add_test(c, there_and_back);
    tcase_add_test(c, drawn_beside);
    suite_add_tcase(s, c);
    return s;
}
