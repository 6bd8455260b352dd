/* suite/cli/track_gate.c - saemark track gate, quality: two builds against each other. */
#include "cli/open.h"
#include "cli/track.h"
#include "core/error.h"
#include "core/file.h"
#include "core/memory.h"
#include "track/alert.h"
#include "track/gate.h"
#include "track/import.h"
#include "track/quality_gate.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const char *const meaning[] = {
    [SAE_GATE_OK] = "no confirmed regression",
    [SAE_GATE_FAILED] = "failed",
    [SAE_GATE_SLOWER] = "slower",
    [SAE_GATE_UNSURE] = "cannot tell: more pairs, or a quieter machine",
    [SAE_GATE_QUARANTINE] = "the machine was not quiet: nothing is concluded",
    [SAE_GATE_QUALITY] = "quality or output changed",
    [SAE_GATE_MISSING] = "a benchmark is missing or failed",
};

/* Margins: of the store that is named, else the defaults. */
static int open_policies(const cli_args *a, sae_store **s, sae_err *err)
{
    return cli_has(a, "db") ? cli_open_store(a, 0, s, err)
                            : sae_store_open(s, ":memory:", 1, err);
}

/* The verdict for machines: into --verdict, and with --json on standard output. */
static int give_verdict(const cli_args *a, json_t *j, sae_err *err)
{
    const char *path = cli_get(a, "verdict");
    char *text = j ? json_dumps(j, JSON_INDENT(2) | JSON_REAL_PRECISION(17)) : NULL;
    int rc = text ? SAE_OK : SAE_SET(err, SAE_ENOMEM, "out of memory for the verdict");
    if (rc >= 0)
        rc = sae_file_write(path ? path : "saemark-gate.json", text, strlen(text), err);
    if (rc >= 0 && cli_has(a, "json"))
        puts(text);
    free(text);
    json_decref(j);
    return rc;
}

/* A verdict there is in any case: an older one must not be taken for it. */
static void give_failure(const cli_args *a, const char *gate, const sae_err *err)
{
    (void)give_verdict(a, json_pack("{s:s, s:i, s:s}", "gate", gate, "status", SAE_GATE_FAILED,
                                    "note", err->msg), NULL);
}

static int alert_of(const cli_args *a, int64_t *alert, sae_err *err)
{
    SAE_TRY(cli_int(a, "alert", 0, 1, INT64_MAX, alert, err));
    if (*alert && !cli_has(a, "db"))
        SAE_FAIL(err, SAE_EINVAL, "--alert needs --db");
    return SAE_OK;
}

static int conclude(const cli_args *a, int status)
{
    if (!cli_has(a, "json"))
        printf("%s (status %d)\n", meaning[status], status);
    return CLI_EXIT + status;
}

/* ---- speed ----------------------------------------------------------------------------------- */

static int read_plan(const cli_args *a, sae_gate_plan *p, sae_err *err)
{
    int64_t pairs, seed;
    *p = (sae_gate_plan){.program = {a->word[0], a->word[1]},
                         .args = cli_get(a, "args"),
                         .filter = cli_get(a, "filter"),
                         .cpus = cli_get(a, "cpus"),
                         .clock = "real_time",
                         .margin = -1};
    static const char *const clocks[] = {"real_time", "cpu_time", NULL};
    SAE_TRY(cli_choice(a, "clock", clocks, &p->clock, err));
    SAE_TRY(cli_int(a, "pairs", 0, 1, SAE_PAIRS_MAX, &pairs, err));
    SAE_TRY(cli_int(a, "seed", (int64_t)time(NULL), 0, INT64_MAX, &seed, err));
    SAE_TRY(cli_real(a, "alpha", 0.01, 1e-9, 0.5, &p->alpha, err));
    SAE_TRY(cli_real(a, "max-load", 0.5, 0, 1e6, &p->quiet.max_load, err));
    SAE_TRY(cli_real(a, "drift", 0.02, 0, 10, &p->quiet.drift, err));
    if (cli_has(a, "alpha") && !pairs)
        SAE_FAIL(err, SAE_EINVAL, "--alpha needs --pairs: three looks have levels of their own");
    if (cli_has(a, "margin"))
        SAE_TRY(cli_real(a, "margin", 0.02, 1e-6, 10, &p->margin, err));
    p->pairs = (int)pairs;
    p->seed = (uint64_t)seed;
    return SAE_OK;
}

static void print_rows(const sae_gate_plan *p, const sae_gate_result *r)
{
    if (r->note[0])
        printf("%s\n", r->note);
    if (!r->rows || r->status == SAE_GATE_QUARANTINE)
        return;
    printf("%-48s %12s %12s %8s  %-18s %s\n", "benchmark", "base", "candidate", "change",
           "interval", "verdict");
    for (int64_t i = 0; i < r->rows; i++) {
        const sae_gate_row *row = &r->row[i];
        const sae_interval *v = &row->c.log;
        char range[48] = "exact", name[160];
        snprintf(name, sizeof name, "%s:%s", row->bench, row->metric);
        if (isinf(v->lo))
            snprintf(range, sizeof range, "unbounded");
        else if (row->paired)
            snprintf(range, sizeof range, "%+.2f .. %+.2f %%", 100 * expm1(v->lo),
                     100 * expm1(v->hi));
        printf("%-48s %12.5g %12.5g %+7.2f%%  %-18s %s\n", name, row->base, row->candidate,
               100 * expm1(v->centre), range, sae_verdict_name[row->c.verdict]);
    }
    printf("%d pairs of processes, level %.4g, margins by policy", r->pairs, r->alpha);
    if (p->margin >= 0)
        printf(", of times %.4g", p->margin);
    printf("\n");
}

/* Before hours are spent: the alert's benchmarks, and whether it waits for an answer. */
static int read_alert(const cli_args *a, sae_store *s, sae_gate_plan *p, char **filter,
                      sae_err *err)
{
    char state[16];
    SAE_TRY(alert_of(a, &p->alert, err));
    if (!p->alert)
        return SAE_OK;
    SAE_TRY(sae_alert_filter(s, p->alert, filter, err));
    SAE_TRY(sae_alert_state(s, p->alert, state, err));
    if (strcmp(state, "detected") && !cli_has(a, "bisect"))
        SAE_FAIL(err, SAE_EINVAL, "alert %lld is %s: only a detected one waits for an answer",
                 (long long)p->alert, state);
    p->filter = p->filter ? p->filter : *filter;
    return SAE_OK;
}

static int note_answers(sae_store *s, int64_t alert, const sae_gate_result *r, sae_err *err)
{
    static const int confirmed[] = {
        [SAE_VERDICT_EQUIVALENT] = 0,    [SAE_VERDICT_IMPROVEMENT] = 1,
        [SAE_VERDICT_INCONCLUSIVE] = -1, [SAE_VERDICT_REGRESSION] = 1,
        [SAE_VERDICT_INSUFFICIENT] = -1, [SAE_VERDICT_MISSING] = -1};
    for (int64_t i = 0; i < r->rows; i++) {
        const sae_gate_row *row = &r->row[i];
        const sae_interval *v = &row->c.log;
        const sae_alert_answer answer = {row->bench,  row->metric, exp(v->centre),
                                         exp(v->lo),  exp(v->hi),  confirmed[row->c.verdict]};
        SAE_TRY(sae_alert_measured(s, alert, &answer, err));
    }
    return sae_alert_judge(s, alert, (int64_t)time(NULL), err);
}

/* Both sides as runs of the store, and the answers into the alert that asked. */
static int store_result(const cli_args *a, sae_store *s, int64_t alert, const sae_gate_result *r,
                        sae_err *err)
{
    static const char *const names[] = {"base-git", "candidate-git"};
    int quarantined = r->status == SAE_GATE_QUARANTINE, bisect = cli_has(a, "bisect");
    int64_t run = 0;
    sae_import how = {.branch = cli_branch(a), .kind = bisect ? "bisect" : "ab",
                      .status = quarantined ? "quarantined" : "ok"};
    for (int i = 0; i < 2 && r->side[i].sample_count; i++) {
        how.git = cli_get(a, names[i]);
        how.peer = run;
        SAE_TRY(sae_import_readings(s, &r->side[i], &how, &run, err));
    }
    if (!alert || quarantined || bisect)
        return SAE_OK;
    SAE_TRY(sae_store_begin(s, err));
    return sae_store_end(s, note_answers(s, alert, r, err), err);
}

static int run_gate(const cli_args *a, sae_err *err)
{
    sae_gate_plan plan;
    sae_gate_result r = {.rows = 0};
    sae_store *s = NULL;
    const char *keep = cli_get(a, "keep");
    char *dir = NULL, *filter = NULL;
    int rc;
    SAE_GOTO(read_plan(a, &plan, err));
    SAE_GOTO(open_policies(a, &s, err));
    SAE_GOTO(read_alert(a, s, &plan, &filter, err));
    dir = keep ? sae_strdup(keep) : sae_strfmt("saemark-gate.%lld", (long long)plan.seed);
    if (!dir)
        SAE_GOTO(SAE_SET(err, SAE_ENOMEM, "out of memory for a path"));
    SAE_GOTO(sae_dir_make(dir, err));
    plan.dir = dir;
    SAE_GOTO(sae_gate(&plan, s, &r, err));
    if (!cli_has(a, "json"))
        print_rows(&plan, &r);
    SAE_GOTO(give_verdict(a, sae_gate_json(&plan, &r), err));
    if (cli_has(a, "db"))
        SAE_GOTO(store_result(a, s, plan.alert, &r, err));
    if (!keep && !(r.status == SAE_GATE_MISSING && r.note[0])) /* the note names a log */
        SAE_GOTO(sae_dir_remove(dir, err));
    rc = conclude(a, r.status);
fail:
    if (rc < 0)
        give_failure(a, "speed", err);
    sae_free(dir);
    sae_free(filter);
    sae_gate_close(&r);
    sae_store_close(&s);
    return rc;
}

static const cli_option gate_options[] = {
    {"args", "WORDS", "arguments for both programs, such as bench (default: none)"},
    {"filter", "REGEX", "benchmarks to run (default: all, or those of the alert)"},
    {"pairs", "N", "one look at N pairs (default: looks at 10, 14 and 20)"},
    {"alpha", "P", "error rate of that one look, for all benchmarks (default: 0.01)"},
    {"clock", "NAME", "real_time, or cpu_time where others use the machine (default: real_time)"},
    {"margin", "X", "times that differ by less are equal: 0.02 is 2 % (default: by policy)"},
    {"max-load", "N", "processors that other programs may use (default: 0.5)"},
    {"drift", "X", "allowed change of the calibration, 0: none is done (default: 0.02)"},
    {"cpus", "LIST", "pin both programs to these processors (taskset)"},
    {"seed", "S", "of the order of the pairs (default: the time)"},
    {"keep", "DIR", "keep the programs' outputs there"},
    {"verdict", "FILE", "where the verdict goes as JSON (default: saemark-gate.json)"},
    {"db", "FILE", "policies from this store, both sides into it"},
    CLI_BRANCH,
    {"base-git", "SHA", "commit of BASE, if its output does not name it"},
    {"candidate-git", "SHA", "commit of CANDIDATE, likewise"},
    {"alert", "ID", "compare the series of this alert of the store, note the answer in it"},
    {"bisect", NULL, "a step of a bisection: stored as such, no answer for the alert"},
    CLI_JSON,
    {NULL, NULL, NULL},
};

const cli_command cli_track_gate = {
    .name = "track gate",
    .usage = "BASE CANDIDATE [options]",
    .summary = "Is CANDIDATE slower than BASE? Interleaved pairs of processes",
    .text = "BASE and CANDIDATE are programs that take --benchmark_out=FILE: saemark (with --args\n"
            "bench) or any Google Benchmark program. Every pair runs both once, in random order;\n"
            "programs on the harness of saemark take turns with their repetitions.\n"
            "Exit status: 0 not slower, 1 failed, 2 slower, 3 cannot tell, 4 machine not quiet,\n"
            "6 a benchmark of BASE is missing or failed.\n",
    .options = gate_options,
    .min_words = 2,
    .max_words = 2,
    .verdicts = 1,
    .run = run_gate,
};

/* ---- quality --------------------------------------------------------------------------------- */

static void print_quality(const sae_quality_result *r)
{
    int64_t same = 0;
    for (int64_t i = 0; i < r->rows; i++) {
        const sae_quality_row *q = &r->row[i];
        if (q->verdict == SAE_VERDICT_EQUIVALENT && q->change == 0.0) {
            same++;
            continue;
        }
        printf("%-12s %s:%s", sae_verdict_name[q->verdict], q->bench, q->metric);
        if (strcmp(q->metric, "weights.sha256") && q->seeds)
            printf("  %.6g -> %.6g (%+.3g, margin %g, %lld seeds)", q->base, q->candidate,
                   q->change, q->margin, (long long)q->seeds);
        printf("%s\n", q->gated ? "" : "  (not gated)");
    }
    printf("%lld of %lld values are equal to the bit\n", (long long)same, (long long)r->rows);
}

static int run_quality(const cli_args *a, sae_err *err)
{
    sae_quality_result r = {.rows = 0};
    sae_store *s = NULL;
    int64_t alert;
    int rc;
    SAE_GOTO(alert_of(a, &alert, err));
    SAE_GOTO(open_policies(a, &s, err));
    SAE_GOTO(
        sae_quality_gate(a->word[0], a->word[1], !cli_has(a, "no-hash"), alert, s, &r, err));
    if (!cli_has(a, "json"))
        print_quality(&r);
    SAE_GOTO(give_verdict(a, sae_quality_json(&r), err));
    rc = conclude(a, r.status);
fail:
    if (rc < 0)
        give_failure(a, "quality", err);
    sae_quality_close(&r);
    sae_store_close(&s);
    return rc;
}

static const cli_option quality_options[] = {
    {"no-hash", NULL, "trained SAEs may differ in their bits (another compiler, processor, BLAS)"},
    {"verdict", "FILE", "where the verdict goes as JSON (default: saemark-gate.json)"},
    {"db", "FILE", "policies from this store"},
    {"alert", "ID", "compare the series of this alert of the store"},
    CLI_JSON,
    {NULL, NULL, NULL},
};

const cli_command cli_track_quality = {
    .name = "track quality",
    .usage = "BASE CANDIDATE [options]",
    .summary = "Did quality change? Two run directories of the same plan, seed by seed",
    .text = "Exit status: 0 no, 1 failed, 5 quality is worse or an output changed, 6 an SAE or a\n"
            "metric of BASE is missing.\n",
    .options = quality_options,
    .min_words = 2,
    .max_words = 2,
    .verdicts = 1,
    .run = run_quality,
};
