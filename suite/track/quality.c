/* suite/track/quality.c - reading a run directory: its tracked metrics and the hash of each SAE. */
#include "track/readings.h"

#include "core/checksum.h"
#include "core/csv_table.h"
#include "core/error.h"
#include "core/json.h"
#include "core/memory.h"
#include "core/options.h"

#include <math.h>
#include <string.h>

typedef struct reader {
    sae_readings *b;
    const char *dir;
    json_t *run;
    sae_table metrics, saes;
    sae_err *err;
} reader;

/* What the series is a function of besides spec and data: changed settings start a new one. */
static json_t *params_of(const reader *r, const char *spec, const char *seed, const char *hook)
{
    double lr = (double)NAN;
    for (int64_t i = 0; i < r->saes.rows; i++)
        if (!strcmp(sae_table_cell(&r->saes, i, "spec"), spec) &&
            !strcmp(sae_table_cell(&r->saes, i, "seed"), seed))
            lr = sae_table_real(&r->saes, i, "lr");
    json_t *j = json_pack("{s:s, s:s}", "hook", hook, "norm",
                          sae_json_text(json_object_get(r->run, "norm"), "kind"));
    static const char *const keys[] = {"steps", "batch", "eval_rows"};
    for (int i = 0; j && i < 3; i++)
        json_object_set_new(j, keys[i],
                            json_integer(json_integer_value(json_object_get(r->run, keys[i]))));
    if (j && lr > 0)
        json_object_set_new(j, "lr", json_real(lr));
    return j;
}

static int seed_of(const reader *r, const sae_table *t, int64_t row, int64_t *seed)
{
    const char *text = sae_table_cell(t, row, "seed");
    if (sae_int_parse(text, seed))
        SAE_FAIL(r->err, SAE_EFORMAT, "%s: metrics.csv: row %lld: seed: expected a whole number, "
                 "found \"%.40s\"", r->dir, (long long)row + 1, text);
    return SAE_OK;
}

static int take_metric(const reader *r, int64_t row)
{
    const sae_table *t = &r->metrics;
    const char *metric = sae_table_cell(t, row, "metric"), *spec = sae_table_cell(t, row, "spec");
    const sae_trait *trait = sae_trait_of(metric);
    sae_readings_sample s = {.iterations = 0};
    if (!trait || trait->class != SAE_CLASS_QUALITY)
        return SAE_OK;
    SAE_TRY(seed_of(r, t, row, &s.process));
    json_t *params =
        params_of(r, spec, sae_table_cell(t, row, "seed"), sae_table_cell(t, row, "hook"));
    int rc = params ? sae_readings_find(r->b, spec, params, metric, sae_table_cell(t, row, "unit"),
                                     trait, &s.series, r->err)
                    : SAE_SET(r->err, SAE_ENOMEM, "%s: out of memory", r->dir);
    json_decref(params);
    SAE_TRY(rc);
    double count = sae_table_real(t, row, "count");
    s.iterations = count > 0 && count < 9e15 ? (int64_t)count : 0;
    return sae_readings_value(r->b, s, sae_table_real(t, row, "value"), r->err);
}

/* The trained tensors, to the bit. */
static int take_weights(const reader *r, int64_t row)
{
    static const char metric[] = "weights.sha256";
    const sae_table *t = &r->saes;
    const char *spec = sae_table_cell(t, row, "spec");
    sae_readings_sample s = {.iterations = 1};
    char *path = sae_strfmt("%s/saes/%s/saemark.safetensors", r->dir, sae_table_cell(t, row, "id"));
    if (!path)
        SAE_FAIL(r->err, SAE_ENOMEM, "%s: out of memory", r->dir);
    int there = sae_file_exists(path), rc = SAE_OK;
    if (there)
        rc = sae_sha256_file(path, s.text, r->err);
    sae_free(path);
    if (rc < 0 || !there)
        return rc;
    SAE_TRY(seed_of(r, t, row, &s.process));
    json_t *params = params_of(r, spec, sae_table_cell(t, row, "seed"), "");
    rc = params ? sae_readings_find(r->b, spec, params, metric, "sha256", sae_trait_of(metric),
                                 &s.series, r->err)
                : SAE_SET(r->err, SAE_ENOMEM, "%s: out of memory", r->dir);
    json_decref(params);
    return rc < 0 ? rc : sae_readings_add(r->b, &s, r->err);
}

static int take_facts(reader *r)
{
    sae_readings *b = r->b;
    const char *train = sae_json_text(json_object_get(r->run, "dataset"), "hash");
    const char *eval = sae_json_text(json_object_get(r->run, "eval_dataset"), "hash");
    const json_t *machine = json_object_get(r->run, "machine");
    char hash[65];
    char *both = sae_strfmt("%s\n%s", train, eval);
    int rc = both ? sae_sha256(both, strlen(both), hash, r->err) : SAE_ENOMEM;
    sae_free(both);
    if (rc >= 0)
        b->data = sae_strdup(hash);
    b->host = json_pack("{s:s, s:s}", "host_name", sae_json_text(machine, "host"), "processor",
                        sae_json_text(machine, "processor"));
    b->build = json_deep_copy(json_object_get(r->run, "build"));
    if (b->build) { /* as saemark bench names them */
        json_object_set(b->build, "saemark", json_object_get(b->build, "version"));
        json_object_set(b->build, "library", json_object_get(machine, "library"));
    }
    b->env =
        json_pack("{s:s, s:s, s:O?}", "plan", sae_json_text(r->run, "plan"), "command",
                  sae_json_text(r->run, "command"), "threads", json_object_get(machine, "threads"));
    b->when = sae_moment(sae_json_text(r->run, "finished"));
    if (!b->data || !b->host || !b->build || !b->env)
        SAE_FAIL(r->err, rc < 0 ? rc : SAE_EFORMAT,
                 "%s: run.json: expected the objects build, machine and dataset", r->dir);
    return SAE_OK;
}

static int open_table(const reader *r, sae_table *t, const char *name, const char *const *needed)
{
    char *path = sae_path_join(r->dir, name);
    int rc = path ? sae_table_open(t, path, r->err)
                  : SAE_SET(r->err, SAE_ENOMEM, "%s: out of memory", r->dir);
    sae_free(path);
    for (; rc >= 0 && *needed; needed++)
        if (sae_table_col(t, *needed) < 0)
            rc = SAE_SET(r->err, SAE_EFORMAT, "%s/%s: no column '%s'", r->dir, name, *needed);
    return rc;
}

static int open_run(reader *r)
{
    json_error_t e;
    sae_map m;
    char *path = sae_path_join(r->dir, "run.json");
    int rc = path ? sae_map_open(&m, path, r->err)
                  : SAE_SET(r->err, SAE_ENOMEM, "%s: out of memory", r->dir);
    if (rc >= 0) {
        r->run = json_loadb((const char *)m.p, m.bytes, 0, &e);
        if (!r->run)
            rc = SAE_SET(r->err, SAE_EFORMAT, "%s: line %d: %s", path, e.line, e.text);
        sae_map_close(&m);
    }
    sae_free(path);
    return rc;
}

int sae_readings_run(sae_readings *b, const char *dir, sae_err *err)
{
    static const char *const metrics[] = {"spec", "seed", "hook", "metric", "value", "count",
                                          "unit", NULL};
    static const char *const saes[] = {"spec", "seed", "id", "lr", NULL};
    reader r = {.b = b, .dir = dir, .err = err};
    int rc;
    if (b->host)
        SAE_FAIL(err, SAE_EINVAL, "%s: a run directory is imported by itself", dir);
    SAE_GOTO(open_run(&r));
    SAE_GOTO(open_table(&r, &r.metrics, "metrics.csv", metrics));
    SAE_GOTO(open_table(&r, &r.saes, "saes.csv", saes));
    SAE_GOTO(take_facts(&r));
    for (int64_t i = 0; i < r.metrics.rows; i++)
        SAE_GOTO(take_metric(&r, i));
    for (int64_t i = 0; i < r.saes.rows; i++)
        SAE_GOTO(take_weights(&r, i));
fail:
    sae_table_close(&r.metrics);
    sae_table_close(&r.saes);
    json_decref(r.run);
    return rc;
}
