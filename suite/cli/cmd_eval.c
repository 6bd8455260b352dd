/* suite/cli/cmd_eval.c - saemark eval: measure trained SAEs from files. */
#include "cli/open.h"
#include "core/csv_table.h"
#include "core/error.h"
#include "core/json.h"
#include "core/log.h"
#include "core/memory.h"
#include "eval/runner.h"
#include "models/lm_file.h"
#include "run/host.h"
#include "train/sae_file.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { BATCH = 2048 };

typedef struct bench { /* everything the command has open */
    sae_registry *reg;
    sae_engine e;
    sae_host host;
    sae_spec dataset, *metric, **metric_at;
    sae_stream stream;
    sae_loaded *sae;
    sae_subject *subject;
    int64_t saes, metrics;
    char *const *path;
    json_t *json; /* NULL: print a table */
    int64_t results;
} bench;

static int on_row(void *arg, const sae_result *r)
{
    bench *b = arg;
    b->results++;
    const char *path = b->path[r->subject - b->subject];
    const char *peer = r->peer ? b->path[r->peer - b->subject] : NULL;
    if (b->json)
        return json_array_append_new(
            b->json,
            json_pack("{s:s, s:s, s:s*, s:s, s:o, s:s*, s:o, s:I, s:s}", "sae", path, "spec",
                      r->subject->spec, "peer", peer, "metric", r->metric, "value",
                      sae_json_real(r->row->value), "reason", r->reason, "se",
                      sae_json_real(r->row->se), "count", (json_int_t)r->row->count, "unit",
                      r->row->unit));
    char se[40] = "";
    if (isfinite(r->row->se))
        snprintf(se, sizeof se, "%.3g", r->row->se);
    printf("%-34s %-16.9g %-10s %10lld  %s", r->metric, r->row->value, se, (long long)r->row->count,
           r->row->unit);
    if (b->saes > 1)
        printf("  %s", path);
    if (peer)
        printf(" with %s", peer);
    printf("\n");
    return SAE_OK;
}

static int open_saes(bench *b, const cli_args *a, sae_err *err)
{
    SAE_TRY(sae_new(&b->sae, a->count, sizeof *b->sae, "eval.saes", err));
    SAE_TRY(sae_new(&b->subject, a->count, sizeof *b->subject, "eval.saes", err));
    b->path = a->word;
    for (; b->saes < a->count; b->saes++) {
        sae_loaded *s = &b->sae[b->saes];
        SAE_TRY(sae_file_import(s, a->word[b->saes], cli_get(a, "as"), b->reg, &b->e, err));
        b->subject[b->saes] = sae_subject_of(s);
    }
    return SAE_OK;
}

static int open_metrics(bench *b, const cli_args *a, sae_err *err)
{
    const char **named = cli_all(a, "metric");
    int rc = named ? SAE_OK : SAE_SET(err, SAE_ENOMEM, "out of memory for the metrics");
    const sae_metric *const *all = sae_all_metrics(b->reg);
    int64_t count = 0;
    while (named && (named[0] ? named[count] != NULL : all[count] != NULL))
        count++;
    if (rc >= 0)
        rc = sae_new(&b->metric, count, sizeof *b->metric, "eval.metrics", err);
    if (rc >= 0)
        rc = sae_new(&b->metric_at, count, sizeof *b->metric_at, "eval.metrics", err);
    for (; rc >= 0 && b->metrics < count; b->metrics++) {
        const char *text = named[0] ? named[b->metrics] : all[b->metrics]->name;
        rc = sae_spec_parse(&b->metric[b->metrics], b->reg, SAE_KIND_METRIC, text, err);
        b->metric_at[b->metrics] = &b->metric[b->metrics];
        if (rc < 0)
            break;
    }
    sae_free(named);
    return rc;
}

static int open_dataset(bench *b, const cli_args *a, sae_err *err)
{
    const char *text = cli_get(a, "dataset");
    if (!text)
        SAE_FAIL(err, SAE_EINVAL, "eval: --dataset SPEC is required (saemark list datasets)");
    b->host = sae_host_make(&b->e, 0);
    SAE_TRY(sae_spec_parse(&b->dataset, b->reg, SAE_KIND_DATASET, text, err));
    SAE_TRY(sae_stream_open(&b->stream, &b->dataset, &b->host, &b->e, SAE_NORM_NONE, BATCH, err));
    for (int64_t i = 0; i < b->saes; i++)
        if (b->sae[i].model.dim.d_in != b->stream.dim.d_in)
            SAE_FAIL(err, SAE_EINVAL, "%s: expects activations of width %lld, the dataset has %lld",
                     b->path[i], (long long)b->sae[i].model.dim.d_in,
                     (long long)b->stream.dim.d_in);
    return SAE_OK;
}

/* ---- whose activations ----------------------------------------------------------------------- */

enum { PLACE_MAX = 240 };

static void add_fact(char out[PLACE_MAX], const char *key, const char *value)
{
    size_t used = strlen(out);
    snprintf(out + used, PLACE_MAX - used, "%s%s=%s", used ? ", " : "", key, value);
}

/* Options by which sources name the place of their rows, where both have one and they differ.
 * trained: of the dataset in the SAE's file, NULL when another tool wrote it. */
static void warn_of_place(const bench *b, int64_t i, const sae_opts *trained)
{
    static const char *const keys[] = {"model", "hook"};
    char then[PLACE_MAX] = "", now[PLACE_MAX] = "";
    for (size_t k = 0; k < sizeof keys / sizeof keys[0]; k++) {
        int hook = strcmp(keys[k], "hook") == 0;
        char *own =
            trained ? sae_opts_get(trained, keys[k]) : sae_strdup(hook ? b->sae[i].hook : "");
        char *here = sae_opts_get(b->dataset.opts, keys[k]);
        if (own && here && *own && strcmp(own, here) && !(hook && sae_lm_same_hook(own, here))) {
            add_fact(then, keys[k], own);
            add_fact(now, keys[k], here);
        }
        sae_free(own);
        sae_free(here);
    }
    if (*then)
        sae_log(SAE_LOG_WARN, "eval", "%s was trained on %s, but is measured on %s", b->path[i],
                then, now);
}

static void check_places(const bench *b)
{
    for (int64_t i = 0; i < b->saes; i++) {
        sae_spec spec = {0};
        const char *text = b->sae[i].dataset;
        if (!strcmp(b->sae[i].dataset_hash, b->stream.hash))
            continue;
        if (!text)
            warn_of_place(b, i, NULL);
        else if (sae_spec_parse(&spec, b->reg, SAE_KIND_DATASET, text, NULL) >= 0)
            warn_of_place(b, i, spec.opts);
        sae_spec_free(&spec);
    }
}

static int measure(bench *b, const cli_args *a, sae_err *err)
{
    int64_t rows;
    SAE_TRY(cli_int(a, "rows", 0, 1, INT64_MAX, &rows, err));
    SAE_TRY(cli_open_registry(a, &b->reg, err));
    SAE_TRY(cli_open_engine(a, b->reg, &b->e, err));
    SAE_TRY(open_saes(b, a, err));
    SAE_TRY(open_metrics(b, a, err));
    SAE_TRY(open_dataset(b, a, err));
    check_places(b);
    sae_evaluation ev = {.stream = &b->stream,
                         .e = &b->e,
                         .reg = b->reg,
                         .subject = b->subject,
                         .count = b->saes,
                         .metric = b->metric_at,
                         .metrics = b->metrics,
                         .rows = rows,
                         .on_row = on_row,
                         .arg = b};
    if (cli_has(a, "json"))
        b->json = json_array();
    else
        printf("%-34s %-16s %-10s %10s  %s\n", "metric", "value", "se", "count", "unit");
    SAE_TRY(sae_evaluate(&ev, err));
    if (b->results == 0)
        SAE_FAIL(err, SAE_ENEEDS, "eval: nothing was measured: no metric applies");
    return b->json ? cli_print_json(json_incref(b->json), err) : SAE_OK;
}

static int run(const cli_args *a, sae_err *err)
{
    bench b = {0};
    int rc = measure(&b, a, err);
    json_decref(b.json);
    sae_stream_close(&b.stream);
    sae_spec_free(&b.dataset);
    for (int64_t i = 0; i < b.metrics; i++)
        sae_spec_free(&b.metric[i]);
    sae_free(b.metric);
    sae_free(b.metric_at);
    for (int64_t i = 0; i < b.saes; i++)
        sae_loaded_close(&b.sae[i], &b.e);
    sae_free(b.sae);
    sae_free(b.subject);
    sae_engine_close(&b.e);
    sae_registry_close(&b.reg);
    return rc;
}

static const cli_option options[] = {
    {"dataset", "SPEC", "what to measure on (its EVAL split); see saemark list datasets"},
    {"as", "SPEC", "variant of bare weight files, e.g. topk:k=32 (saemark list variants)"},
    {"metric", "SPEC", "measure this family only; may be repeated (default: all that apply)"},
    {"rows", "N", "rows to measure (default: all of a bounded split)"},
    CLI_JSON,
    CLI_DEVICE,
    CLI_THREADS,
    CLI_PLUGIN,
    {NULL, NULL, NULL},
};

const cli_command cli_eval = {
    .name = "eval",
    .usage = "SAE... --dataset SPEC [options]",
    .summary = "Measure trained SAEs (directories in SAELens' layout, or bare safetensors)",
    .text =
        "SAE is a directory runs/NAME/saes/ID, one in SAELens' layout (cfg.json beside\n"
        "sae_weights.safetensors), or a safetensors file, which needs --as. Names of tensors may\n"
        "be SAELens' (W_enc, ...), dictionary_learning's or sparsify's (encoder.weight, ...).\n",
    .options = options,
    .min_words = 1,
    .max_words = -1,
    .run = run,
};
