/* suite/track/quality_gate.c - did quality change between two builds? */
#include "track/quality_gate.h"

#include "core/error.h"
#include "core/json.h"
#include "core/memory.h"
#include "track/alert.h"
#include "track/history.h"

#include <math.h>
#include <string.h>

static int64_t find_series(const sae_readings *b, const sae_readings_series *e)
{
    int64_t i = b->series_count - 1;
    while (i >= 0 && (strcmp(b->series[i].metric, e->metric) ||
                      strcmp(b->series[i].bench, e->bench) ||
                      strcmp(b->series[i].params, e->params)))
        i--;
    return i;
}

static const sae_readings_sample *find_seed(const sae_readings *b, int64_t series, int64_t seed)
{
    for (int64_t i = 0; i < b->sample_count; i++)
        if (b->sample[i].series == series && b->sample[i].process == seed)
            return &b->sample[i];
    return NULL;
}

/* Sums over the common seeds; a seed that the candidate lacks, or whose value is no number, makes
 * the row MISSING. */
static void compare_seeds(const sae_quality_result *r, int64_t series, int64_t other,
                          sae_quality_row *row, int absolute)
{
    int lost = 0, differ = 0;
    for (int64_t i = 0; i < r->side[0].sample_count; i++) {
        const sae_readings_sample *a = &r->side[0].sample[i], *b;
        if (a->series != series || a->status != SAE_SAMPLE_OK)
            continue;
        b = other < 0 ? NULL : find_seed(&r->side[1], other, a->process);
        if (!b || b->status != SAE_SAMPLE_OK) {
            lost = 1;
            continue;
        }
        row->seeds++;
        row->base += a->value;
        row->candidate += b->value;
        row->change += absolute ? b->value - a->value : sae_relative(a->value, b->value);
        differ |= strcmp(a->text, b->text) != 0;
    }
    if (row->seeds) {
        row->base /= (double)row->seeds;
        row->candidate /= (double)row->seeds;
        row->change /= (double)row->seeds;
    }
    double bad = row->worst ? row->worst * row->change : fabs(row->change);
    row->verdict = lost || !row->seeds                    ? SAE_VERDICT_MISSING
                   : differ || bad > row->margin          ? SAE_VERDICT_REGRESSION
                   : row->worst && bad < -row->margin     ? SAE_VERDICT_IMPROVEMENT
                                                          : SAE_VERDICT_EQUIVALENT;
}

static int compare_row(sae_quality_result *r, int64_t series, sae_store *policies, sae_err *err)
{
    const sae_readings_series *e = &r->side[0].series[series];
    sae_quality_row *row = &r->row[r->rows++];
    sae_policy policy;
    char *name = sae_strfmt("%s:%s", e->bench, e->metric);
    int rc = name ? sae_policy_find(policies, name, sae_class_name[e->trait->class], &policy, err)
                  : SAE_SET(err, SAE_ENOMEM, "out of memory for a name");
    sae_free(name);
    SAE_TRY(rc);
    *row = (sae_quality_row){.bench = e->bench, .metric = e->metric, .margin = policy.min_rel,
                             .worst = -e->trait->direction, .gated = policy.gate};
    compare_seeds(r, series, find_series(&r->side[1], e), row, e->trait->absolute);
    if (row->gated && row->verdict == SAE_VERDICT_REGRESSION)
        r->status = sae_gate_worse(r->status, SAE_GATE_QUALITY);
    if (row->gated && row->verdict == SAE_VERDICT_MISSING)
        r->status = sae_gate_worse(r->status, SAE_GATE_MISSING);
    return SAE_OK;
}

static int compare(sae_quality_result *r, const char *const dir[2], int with_hash, int64_t alert,
                   sae_store *policies, sae_err *err)
{
    for (int i = 0; i < 2; i++)
        SAE_TRY(sae_readings_run(&r->side[i], dir[i], err));
    if (strcmp(r->side[0].data, r->side[1].data))
        SAE_FAIL(err, SAE_EINVAL, "%s and %s measured different data: they cannot be compared",
                 dir[0], dir[1]);
    SAE_TRY(sae_new(&r->row, r->side[0].series_count, sizeof *r->row, "track.quality", err));
    for (int64_t i = 0; i < r->side[0].series_count; i++) {
        const sae_readings_series *e = &r->side[0].series[i];
        int asked = with_hash || e->trait->class != SAE_CLASS_HASH;
        if (asked && alert)
            SAE_TRY(sae_alert_has(policies, alert, e->bench, e->metric, &asked, err));
        if (asked)
            SAE_TRY(compare_row(r, i, policies, err));
    }
    if (!r->rows)
        SAE_FAIL(err, SAE_EINVAL, "%s: measured nothing that is compared", dir[0]);
    return SAE_OK;
}

int sae_quality_gate(const char *base, const char *candidate, int with_hash, int64_t alert,
                     sae_store *policies, sae_quality_result *out, sae_err *err)
{
    const char *const dir[2] = {base, candidate};
    *out = (sae_quality_result){.rows = 0};
    int rc = compare(out, dir, with_hash, alert, policies, err);
    if (rc < 0)
        sae_quality_close(out);
    return rc;
}

void sae_quality_close(sae_quality_result *r)
{
    sae_free(r->row);
    sae_readings_free(&r->side[0]);
    sae_readings_free(&r->side[1]);
    *r = (sae_quality_result){0};
}

json_t *sae_quality_json(const sae_quality_result *r)
{
    json_t *rows = json_array();
    for (int64_t i = 0; i < r->rows; i++) {
        const sae_quality_row *q = &r->row[i];
        json_t *j = json_pack("{s:s, s:s, s:s, s:I, s:f, s:f, s:o, s:f, s:b}", "name", q->bench,
                              "metric", q->metric, "verdict", sae_verdict_name[q->verdict], "seeds",
                              (json_int_t)q->seeds, "base", q->base, "candidate", q->candidate,
                              "change", sae_json_real(q->change),
                              "margin", q->margin, "gates", q->gated);
        if (json_array_append_new(rows, j)) {
            json_decref(rows);
            return NULL;
        }
    }
    return json_pack("{s:s, s:i, s:o}", "gate", "quality", "status", r->status, "rows", rows);
}
