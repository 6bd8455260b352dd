/* suite/track/gate.c - is one build slower than another?
 *
 * The statistical unit is the pair of processes: repetitions inside a process share its layout and
 * are collapsed to their median first (README.md has the false-alarm rates of doing otherwise).
 */
#include "track/gate.h"

#include "core/error.h"
#include "core/file.h"
#include "core/json.h"
#include "core/log.h"
#include "core/memory.h"
#include "track/alert.h"
#include "track/child.h"
#include "track/history.h"

#include <math.h>
#include <sae/rng.h>
#include <stdlib.h>
#include <string.h>

enum { WORDS = 64, PAD = 4096, STREAM = 2050 };
static const char *const side_name[] = {"base", "candidate"};

/* ---- one process ----------------------------------------------------------------------------- */

static int add_word(char **argv, int *n, char *word, sae_err *err)
{
    if (!word)
        SAE_FAIL(err, SAE_ENOMEM, "out of memory for a command line");
    argv[(*n)++] = word;
    return SAE_OK;
}

static int fill_argv(const sae_gate_plan *p, int side, const char *out, char **argv, int *n,
                     sae_err *err)
{
    const char *rest = p->args ? p->args : "";
    if (p->cpus) {
        SAE_TRY(add_word(argv, n, sae_strdup("taskset"), err));
        SAE_TRY(add_word(argv, n, sae_strdup("-c"), err));
        SAE_TRY(add_word(argv, n, sae_strdup(p->cpus), err));
    }
    SAE_TRY(add_word(argv, n, sae_strdup(p->program[side]), err));
    while (*(rest += strspn(rest, " "))) {
        int len = (int)strcspn(rest, " ");
        if (*n >= WORDS - 4)
            SAE_FAIL(err, SAE_EINVAL, "--args: more than %d words", WORDS - 8);
        SAE_TRY(add_word(argv, n, sae_strfmt("%.*s", len, rest), err));
        rest += len;
    }
    if (p->filter)
        SAE_TRY(add_word(argv, n, sae_strfmt("--benchmark_filter=%s", p->filter), err));
    SAE_TRY(add_word(argv, n, sae_strfmt("--benchmark_out=%s", out), err));
    return add_word(argv, n, sae_strdup("--benchmark_out_format=json"), err);
}

static int spawn(const sae_gate_plan *p, int side, int pair, const char *out, int *status,
                 sae_err *err)
{
    char *argv[WORDS] = {NULL};
    int n = 0;
    uint32_t pad = sae_philox(p->seed, STREAM, (uint64_t)pair, (uint32_t)side + 1).v[0] % PAD;
    char *log = sae_strfmt("%s/%s.log", p->dir, side_name[side]);
    int rc = log ? fill_argv(p, side, out, argv, &n, err)
                 : SAE_SET(err, SAE_ENOMEM, "out of memory for a path");
    if (rc >= 0)
        rc = sae_file_remove(out, err); /* of an earlier gate */
    if (rc >= 0)
        rc = sae_child_run(argv, (int64_t)pad, log, status, err);
    for (int i = 0; i < n; i++)
        sae_free(argv[i]);
    sae_free(log);
    return rc;
}

/* A candidate that fails is a finding: *failed, with a note. A base that fails is an error. */
static int run_side(const sae_gate_plan *p, sae_gate_result *r, int side, int *failed, sae_err *err)
{
    int status = 0;
    sae_err why = {0};
    char *out = sae_strfmt("%s/pair-%02d-%s.json", p->dir, r->pairs, side_name[side]);
    int rc = out ? spawn(p, side, r->pairs, out, &status, err)
                 : SAE_SET(err, SAE_ENOMEM, "out of memory for a path");
    if (rc >= 0) {
        int bad = status ? SAE_SET(&why, SAE_EBACKEND, "%s ended with status %d", p->program[side],
                                   status)
                         : sae_readings_read(&r->side[side], out, r->pairs, &why);
        if (bad == SAE_ENOMEM || bad == SAE_EINTR || (bad < 0 && side == 0)) {
            rc = SAE_SET(err, bad, "%s: %s (see %s/%s.log)", side_name[side], why.msg, p->dir,
                         side_name[side]);
        } else if (bad < 0) {
            snprintf(r->note, sizeof r->note, "candidate: %.160s (see %.60s/candidate.log)",
                     why.msg, p->dir);
            *failed = 1;
        }
    }
    sae_free(out);
    return rc;
}

/* ---- rows ------------------------------------------------------------------------------------ */

static int by_name(const void *a, const void *b)
{
    const sae_gate_row *x = a, *y = b;
    int order = strcmp(x->bench, y->bench);
    return order ? order : strcmp(x->metric, y->metric);
}

static int measured(const sae_readings *b, int64_t series)
{
    int64_t i = b->sample_count - 1;
    while (i >= 0 && (b->sample[i].series != series || b->sample[i].status != SAE_SAMPLE_OK))
        i--;
    return i >= 0;
}

/* Rows for what the first process of the base measured and its policy gates. */
static int make_rows(const sae_gate_plan *p, sae_store *policies, sae_gate_result *r, sae_err *err)
{
    const sae_readings *b = &r->side[0];
    SAE_TRY(sae_new(&r->row, b->series_count, sizeof *r->row, "track.gate", err));
    for (int64_t i = 0; i < b->series_count; i++) {
        const sae_readings_series *e = &b->series[i];
        sae_policy policy;
        int time = e->trait->class == SAE_CLASS_TIME;
        if ((time && strcmp(e->metric, p->clock)) || !measured(b, i))
            continue;
        /* The policy of a benchmark's time is that of its real time. */
        char *name = sae_strfmt("%s:%s", e->bench, time ? "real_time" : e->metric);
        int rc = name ? sae_policy_find(policies, name, sae_class_name[e->trait->class], &policy,
                                        err)
                      : SAE_SET(err, SAE_ENOMEM, "out of memory for a name");
        sae_free(name);
        SAE_TRY(rc);
        int asked = policy.gate;
        if (asked && p->alert)
            SAE_TRY(sae_alert_has(policies, p->alert, e->bench, e->metric, &asked, err));
        if (!asked)
            continue;
        sae_gate_row *row = &r->row[r->rows++];
        row->bench = e->bench;
        row->metric = e->metric;
        row->unit = e->unit;
        row->margin = p->margin >= 0 && time ? p->margin : policy.min_rel;
        row->paired = row->margin > 0;
    }
    if (!r->rows)
        SAE_FAIL(err, SAE_EINVAL, "base measured nothing that is compared%s%s",
                 p->filter ? ": --filter " : "", p->filter ? p->filter : "");
    qsort(r->row, (size_t)r->rows, sizeof *r->row, by_name);
    return SAE_OK;
}

static int64_t find_series(const sae_readings *b, const sae_gate_row *row)
{
    int64_t i = b->series_count - 1;
    while (i >= 0 &&
           (strcmp(b->series[i].metric, row->metric) || strcmp(b->series[i].bench, row->bench)))
        i--;
    return i;
}

/* Median of the repetitions of one process; NaN when there is none, or one failed. */
static double process_median(const sae_readings *b, int64_t series, int64_t process, double *room)
{
    int64_t n = 0;
    for (int64_t i = 0; i < b->sample_count; i++) {
        const sae_readings_sample *s = &b->sample[i];
        if (s->process != process || s->series != series)
            continue;
        if (s->status != SAE_SAMPLE_OK)
            return (double)NAN;
        room[n++] = s->value;
    }
    return sae_median(room, n);
}

static int compare_row(const sae_gate_result *r, sae_gate_row *row, double alpha, sae_err *err)
{
    double *room, side[2][SAE_PAIRS_MAX];
    const int64_t series[2] = {find_series(&r->side[0], row), find_series(&r->side[1], row)};
    int missing[2] = {0, 0};
    int64_t most = r->side[0].sample_count > r->side[1].sample_count ? r->side[0].sample_count
                                                                     : r->side[1].sample_count;
    SAE_TRY(sae_new(&room, most, sizeof *room, "track.medians", err));
    for (int i = 0; i < r->pairs; i++)
        for (int k = 0; k < 2; k++) {
            side[k][i] = process_median(&r->side[k], series[k], i, room);
            missing[k] |= isnan(side[k][i]);
        }
    sae_free(room);
    int positive = 1;
    for (int i = 0; i < r->pairs; i++)
        positive &= side[0][i] > 0 && side[1][i] > 0;
    for (int i = 0; i < r->pairs; i++)
        row->d[i] = positive ? log(side[1][i] / side[0][i]) : (double)NAN;
    if (missing[0] || missing[1]) { /* a base that fails now and then proves nothing */
        enum sae_verdict v = missing[1] ? SAE_VERDICT_MISSING : SAE_VERDICT_INSUFFICIENT;
        row->c = (sae_compared){v, {(double)NAN, -INFINITY, INFINITY}, 1};
        return SAE_OK;
    }
    if (positive && row->paired)
        row->c = sae_compare_pairs(row->d, r->pairs, row->margin, alpha);
    row->base = sae_median(side[0], r->pairs);
    row->candidate = sae_median(side[1], r->pairs);
    if (!positive || !row->paired) {
        double gap = row->candidate - row->base, log_ratio = log(row->candidate / row->base);
        row->c = (sae_compared){SAE_VERDICT_EQUIVALENT, {log_ratio, log_ratio, log_ratio}, 0};
        if (gap > row->margin * fabs(row->base))
            row->c.verdict = SAE_VERDICT_REGRESSION;
        else if (gap < -row->margin * fabs(row->base))
            row->c.verdict = SAE_VERDICT_IMPROVEMENT;
    }
    return SAE_OK;
}

/* Judge what is not decided yet. *open: rows that more pairs could still decide. */
static int look(sae_gate_result *r, double alpha, int64_t *open, sae_err *err)
{
    sae_compared *c;
    int rc = SAE_OK;
    r->alpha = alpha;
    *open = 0;
    for (int64_t i = 0; i < r->rows; i++)
        if (!r->row[i].decided)
            SAE_TRY(compare_row(r, &r->row[i], alpha, err));
    SAE_TRY(sae_new(&c, r->rows, sizeof *c, "track.gate", err));
    for (int64_t i = 0; i < r->rows; i++)
        c[i] = r->row[i].c;
    rc = sae_holm(c, r->rows, alpha, err);
    for (int64_t i = 0; rc >= 0 && i < r->rows; i++) {
        sae_gate_row *row = &r->row[i];
        if (row->decided)
            continue;
        row->c.verdict = row->paired ? c[i].verdict : row->c.verdict;
        row->decided = row->c.verdict != SAE_VERDICT_INCONCLUSIVE &&
                       row->c.verdict != SAE_VERDICT_INSUFFICIENT;
        *open += !row->decided;
    }
    sae_free(c);
    return rc;
}

/* ---- pairs ----------------------------------------------------------------------------------- */

/* Pairs 2i and 2i + 1 have opposite orders, by a coin: balanced after every even number. */
static int candidate_first(uint64_t seed, int pair)
{
    int coin = (int)(sae_philox(seed, STREAM, (uint64_t)(pair / 2), 0).v[0] & 1);
    return pair % 2 ? !coin : coin;
}

/* *stop: the machine was not quiet, or the candidate failed. */
static int run_pair(const sae_gate_plan *p, sae_quiet *quiet, sae_gate_result *r, int *stop,
                    sae_err *err)
{
    int failed = 0, first = candidate_first(p->seed, r->pairs);
    char why[160];
    SAE_TRY(sae_quiet_begin(quiet, err));
    for (int i = 0; i < 2; i++) /* both, whatever the coin: what fails in both is no finding */
        SAE_TRY(run_side(p, r, i ? !first : first, &failed, err));
    SAE_TRY(sae_quiet_check(quiet, why, sizeof why, err));
    if (failed) {
        r->status = SAE_GATE_MISSING;
    } else if (*why) {
        r->status = SAE_GATE_QUARANTINE;
        snprintf(r->note, sizeof r->note, "pair %d: %s", r->pairs + 1, why);
    }
    *stop = r->status != SAE_GATE_OK;
    r->pairs++;
    return SAE_OK;
}

static void conclude(sae_gate_result *r)
{
    static const int status[] = {
        [SAE_VERDICT_EQUIVALENT] = SAE_GATE_OK,    [SAE_VERDICT_IMPROVEMENT] = SAE_GATE_OK,
        [SAE_VERDICT_INCONCLUSIVE] = SAE_GATE_UNSURE, [SAE_VERDICT_REGRESSION] = SAE_GATE_SLOWER,
        [SAE_VERDICT_INSUFFICIENT] = SAE_GATE_UNSURE, [SAE_VERDICT_MISSING] = SAE_GATE_MISSING};
    for (int64_t i = 0; i < r->rows; i++)
        r->status = sae_gate_worse(r->status, status[r->row[i].c.verdict]);
}

static int gate(const sae_gate_plan *plan, sae_store *policies, sae_gate_result *r, sae_err *err)
{
    const sae_look single = {plan->pairs, plan->alpha}, *looks = plan->pairs ? &single : sae_looks;
    int count = plan->pairs ? 1 : 3, stop = 0;
    int64_t open = 1;
    sae_quiet quiet = plan->quiet;
    sae_progress progress;
    sae_progress_open(&progress, "pairs", "pairs", looks[count - 1].pairs);
    int rc = SAE_OK;
    for (int k = 0; rc >= 0 && k < count && open && !stop; k++) {
        while (rc >= 0 && r->pairs < looks[k].pairs && !stop) {
            rc = run_pair(plan, &quiet, r, &stop, err);
            if (rc >= 0 && !r->row && !stop)
                rc = make_rows(plan, policies, r, err);
            sae_progress_at(&progress, r->pairs);
        }
        if (rc >= 0 && !stop)
            rc = look(r, looks[k].alpha, &open, err);
    }
    sae_progress_close(&progress);
    if (rc >= 0 && !stop)
        conclude(r);
    return rc;
}

int sae_gate(const sae_gate_plan *plan, sae_store *policies, sae_gate_result *out, sae_err *err)
{
    *out = (sae_gate_result){.rows = 0};
    SAE_ASSERT(plan->pairs >= 0 && plan->pairs <= SAE_PAIRS_MAX);
    int rc = gate(plan, policies, out, err);
    if (rc < 0)
        sae_gate_close(out);
    return rc;
}

void sae_gate_close(sae_gate_result *r)
{
    sae_free(r->row);
    sae_readings_free(&r->side[0]);
    sae_readings_free(&r->side[1]);
    *r = (sae_gate_result){0};
}

/* ---- verdict --------------------------------------------------------------------------------- */

static json_t *row_json(const sae_gate_row *row)
{
    const sae_compared *c = &row->c;
    return json_pack("{s:s, s:s, s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:f, s:f, s:b}", "name",
                     row->bench, "metric", row->metric, "unit", row->unit, "verdict",
                     sae_verdict_name[c->verdict], "base", sae_json_real(row->base), "candidate",
                     sae_json_real(row->candidate), "ratio", sae_json_real(exp(c->log.centre)),
                     "ratio_lo", isinf(c->log.lo) ? json_null() : sae_json_real(exp(c->log.lo)),
                     "ratio_hi", sae_json_real(exp(c->log.hi)), "margin", row->margin, "p", c->p,
                     "exact",
                     !row->paired);
}

json_t *sae_gate_json(const sae_gate_plan *plan, const sae_gate_result *r)
{
    json_t *rows = json_array();
    for (int64_t i = 0; i < r->rows; i++)
        if (json_array_append_new(rows, row_json(&r->row[i]))) {
            json_decref(rows);
            return NULL;
        }
    return json_pack("{s:s, s:i, s:s, s:s, s:s, s:s, s:i, s:f, s:I, s:o}", "gate", "speed",
                     "status", r->status, "base", plan->program[0], "candidate", plan->program[1],
                     "args", plan->args ? plan->args : "", "note", r->note, "pairs", r->pairs,
                     "alpha", r->alpha, "seed", (json_int_t)plan->seed, "benchmarks", rows);
}
