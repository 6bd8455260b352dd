/* suite/track/gate.c - is one build slower than another?
 *
 * The statistical unit is the pair of processes: repetitions inside a process share its layout and
 * are collapsed to their median first (README.md has the false-alarm rates of doing otherwise).
 * Where both programs can, their repetitions take turns, and it is the median of the ratios of
 * neighbours: a machine that others use changes its speed by 10 % for seconds at a time.
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

/* What one side of a pair runs, and where it writes. */
typedef struct run {
    char *argv[WORDS], *log, *out;
    int words;
    sae_child child;
} run;

static int prepare(const sae_gate_plan *p, int side, int pair, run *a, sae_err *err)
{
    uint32_t pad = sae_philox(p->seed, STREAM, (uint64_t)pair, (uint32_t)side + 1).v[0] % PAD;
    a->log = sae_strfmt("%s/%s.log", p->dir, side_name[side]);
    a->out = sae_strfmt("%s/pair-%02d-%s.json", p->dir, pair, side_name[side]);
    if (!a->log || !a->out)
        SAE_FAIL(err, SAE_ENOMEM, "out of memory for a path");
    SAE_TRY(fill_argv(p, side, a->out, a->argv, &a->words, err));
    uint32_t order = sae_philox(p->seed, STREAM, (uint64_t)pair, 3).v[0];
    a->child = (sae_child){.argv = a->argv, .pad = (int64_t)pad, .seed = order, .log = a->log};
    return sae_file_remove(a->out, err); /* of an earlier gate */
}

static void forget(run *a)
{
    for (int i = 0; i < a->words; i++)
        sae_free(a->argv[i]);
    sae_free(a->log);
    sae_free(a->out);
}

/* A candidate that fails is a finding: *failed, with a note. A base that fails is an error. */
static int read_side(const sae_gate_plan *p, sae_gate_result *r, int side, const run *a,
                     int *failed, sae_err *err)
{
    sae_err why = {0};
    int bad = a->child.status ? SAE_SET(&why, SAE_EBACKEND, "%s ended with status %d",
                                        p->program[side], a->child.status)
                              : sae_readings_read(&r->side[side], a->out, r->pairs, &why);
    if (bad == SAE_ENOMEM || bad == SAE_EINTR || (bad < 0 && side == 0))
        SAE_FAIL(err, bad, "%s: %s (see %s)", side_name[side], why.msg, a->log);
    if (bad < 0) {
        snprintf(r->note, sizeof r->note, "candidate: %.160s (see %.60s)", why.msg, a->log);
        *failed = 1;
    }
    return SAE_OK;
}

/* Both sides are always run: what fails in both is no finding. */
static int run_sides(const sae_gate_plan *p, sae_gate_result *r, int first, int *failed,
                     sae_err *err)
{
    int rc = SAE_OK;
    run side[2] = {{.words = 0}, {.words = 0}};
    for (int k = 0; k < 2; k++)
        SAE_GOTO(prepare(p, k, r->pairs, &side[k], err));
    SAE_GOTO(sae_children_run(&side[first].child, &side[!first].child, &r->turns[r->pairs], err));
    for (int k = 0; k < 2; k++)
        SAE_GOTO(read_side(p, r, k, &side[k], failed, err));
fail:
    forget(&side[0]);
    forget(&side[1]);
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

/* The repetitions of one process; -1: one of them failed. */
static int64_t repetitions(const sae_readings *b, int64_t series, int64_t process, double *out)
{
    int64_t n = 0;
    for (int64_t i = 0; i < b->sample_count; i++) {
        const sae_readings_sample *s = &b->sample[i];
        if (s->process != process || s->series != series)
            continue;
        if (s->status != SAE_SAMPLE_OK)
            return -1;
        out[n++] = s->value;
    }
    return n;
}

typedef struct pair_values {
    double median[2]; /* NaN: nothing, or a repetition failed */
    double ratio;     /* log, candidate to base; NaN where values are not positive */
} pair_values;

/* Repetitions that took turns are compared one by one: each met the machine of its neighbour. */
static pair_values pair_of(const sae_gate_result *r, const int64_t series[2], int pair,
                           double *const room[3])
{
    int64_t n[2];
    pair_values v;
    for (int k = 0; k < 2; k++)
        n[k] = repetitions(&r->side[k], series[k], pair, room[k]);
    int positive = n[0] > 0 && n[1] > 0, together = r->turns[pair] && n[0] == n[1];
    for (int k = 0; k < 2; k++)
        for (int64_t i = 0; i < n[k]; i++)
            positive &= room[k][i] > 0;
    double *ratios = room[2];
    for (int64_t i = 0; positive && together && i < n[0]; i++)
        ratios[i] = log(room[1][i] / room[0][i]);
    for (int k = 0; k < 2; k++)
        v.median[k] = n[k] > 0 ? sae_median(room[k], n[k]) : (double)NAN;
    v.ratio = !positive ? (double)NAN
              : together ? sae_median(ratios, n[0])
                         : log(v.median[1] / v.median[0]);
    return v;
}

static int compare_row(const sae_gate_result *r, sae_gate_row *row, double alpha, sae_err *err)
{
    double *all, side[2][SAE_PAIRS_MAX];
    const int64_t series[2] = {find_series(&r->side[0], row), find_series(&r->side[1], row)};
    int missing[2] = {0, 0}, positive = 1;
    int64_t most = r->side[0].sample_count > r->side[1].sample_count ? r->side[0].sample_count
                                                                     : r->side[1].sample_count;
    SAE_TRY(sae_new(&all, 3 * most, sizeof *all, "track.medians", err));
    double *room[] = {all, all + most, all + 2 * most};
    for (int i = 0; i < r->pairs; i++) {
        pair_values v = pair_of(r, series, i, room);
        for (int k = 0; k < 2; k++) {
            side[k][i] = v.median[k];
            missing[k] |= isnan(v.median[k]);
        }
        row->d[i] = v.ratio;
        positive &= !isnan(v.ratio);
    }
    sae_free(all);
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
    SAE_TRY(run_sides(p, r, first, &failed, err));
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
    int turns = 0;
    for (int i = 0; i < r->pairs; i++)
        turns += r->turns[i];
    return json_pack("{s:s, s:i, s:s, s:s, s:s, s:s, s:i, s:i, s:f, s:I, s:o}", "gate", "speed",
                     "status", r->status, "base", plan->program[0], "candidate", plan->program[1],
                     "args", plan->args ? plan->args : "", "note", r->note, "pairs", r->pairs,
                     "in_turns", turns, "alpha", r->alpha, "seed", (json_int_t)plan->seed,
                     "benchmarks", rows);
}
