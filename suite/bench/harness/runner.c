/* suite/bench/harness/runner.c - how many iterations, how often, in which order. */
#include "harness.h"
#include "report.h"

#include <inttypes.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

struct family_runs { /* of families with a complexity */
    int index, instances, finished;
    struct sbh_rows good;
};

struct runner {
    const struct sbh_instance *of;
    int64_t iterations;
    bool explicit_iterations;
    double min_time, min_warmup_time;
    int repeats, done;
    struct sbh_rows runs;
    struct family_runs *family; /* NULL: no complexity */
};

int64_t sbh_predict(int64_t n, double seconds, double min_time)
{
    double factor = 1.4 * min_time / fmax(seconds, 1e-9);
    if (seconds / min_time <= 0.1) /* too short to extrapolate from */
        factor = 10;
    double next = fmax(factor * (double)n, (double)n + 1);
    return next >= (double)SBH_MAX_ITERATIONS ? SBH_MAX_ITERATIONS : llround(next);
}

static void say(int level, const char *what, const char *name, int64_t n, double seconds)
{
    if (sbh_flags()->verbosity >= level)
        fprintf(stderr, "-- LOG(%d): %s %s: %" PRId64 " iterations, %g s\n", level, what, name, n,
                seconds);
}

static struct runner make_runner(const struct sbh_instance *of)
{
    const struct sbh_flags *f = sbh_flags();
    const sae_bench *b = of->family;
    struct runner r = {
        .of = of,
        .iterations = 1,
        .explicit_iterations = b->iterations || f->min_iterations,
        .min_time = b->min_time > 0 ? b->min_time : f->min_seconds,
        .min_warmup_time = b->min_warmup_time > 0 ? b->min_warmup_time : f->min_warmup_time,
        .repeats = b->repetitions ? b->repetitions : f->repetitions,
    };
    if (r.explicit_iterations)
        r.iterations = b->iterations ? b->iterations : f->min_iterations;
    if (f->dry_run) {
        r.iterations = r.repeats = 1;
        r.min_time = r.min_warmup_time = 0;
        r.explicit_iterations = true;
    }
    return r;
}

/* ---- one repetition -------------------------------------------------------------------------- */

static double deciding_seconds(const sae_bench *b, const struct sbh_trial *t)
{
    return b->manual_time ? t->manual : b->real_time ? t->real : t->cpu;
}

static void try_once(const struct runner *r, struct sbh_trial *t)
{
    say(2, "running", r->of->name, r->iterations, 0);
    sbh_call(r->of->family->setup, r->of);
    sbh_trial_run(r->of, r->iterations, r->of->threads, sbh_perf_count() > 0, t);
    sbh_call(r->of->family->teardown, r->of);
    say(2, "ran", r->of->name, t->iterations, t->real);
}

static bool long_enough(const struct runner *r, const struct sbh_trial *t, double min_time)
{
    const sae_bench *b = r->of->family;
    return t->skipped || t->iterations / r->of->threads >= SBH_MAX_ITERATIONS ||
           deciding_seconds(b, t) >= min_time ||
           (t->real >= 5 * min_time && !b->manual_time); /* it mostly waits */
}

/* Trials of growing length until one counts; the last is left in *t. */
static void try_until(struct runner *r, double min_time, bool once, struct sbh_trial *t)
{
    for (;;) {
        try_once(r, t);
        if (once || long_enough(r, t, min_time))
            return;
        r->iterations = sbh_predict(t->iterations / r->of->threads,
                                    deciding_seconds(r->of->family, t), min_time);
        say(3, "next", r->of->name, r->iterations, 0);
        sbh_trial_free(t);
    }
}

static void warm_up(struct runner *r)
{
    struct sbh_trial t;
    int64_t iterations = r->iterations;
    try_until(r, r->min_warmup_time, false, &t);
    sbh_trial_free(&t);
    r->iterations = iterations; /* what a cold run needed says little */
}

static void measure_memory(const struct runner *r, struct sbh_row *row)
{
    const sae_bench_memory *m = sbh_memory();
    struct sbh_trial t;
    if (!m)
        return;
    row->memory_iterations = r->iterations < 16 ? r->iterations : 16;
    row->memory = (sae_bench_memory_result){0, 0, SAE_BENCH_UNSET, SAE_BENCH_UNSET};
    sbh_call(r->of->family->setup, r->of);
    m->start(m->arg);
    sbh_trial_run(r->of, row->memory_iterations, 1, false, &t);
    m->stop(m->arg, &row->memory);
    sbh_call(r->of->family->teardown, r->of);
    sbh_trial_free(&t);
}

static void fill_row(struct sbh_pool *p, const struct runner *r, struct sbh_trial *t,
                     struct sbh_row *row)
{
    const struct sbh_instance *of = r->of;
    *row = (struct sbh_row){
        .kind = SBH_RUN, .of = of, .name = of->name, .run_name = of->name, .skipped = t->skipped,
        .iterations = t->iterations, .repetitions = r->repeats, .repetition = r->done,
    };
    if (t->label && *t->label)
        row->label = sbh_print(p, "%s", t->label);
    if (t->skipped) {
        row->message = sbh_print(p, "%s", t->message ? t->message : "");
        return;
    }
    double n = t->iterations ? (double)t->iterations : 1;
    row->real = (of->family->manual_time ? t->manual : t->real) / n;
    row->cpu = t->cpu / n;
    row->complexity_n = t->complexity_n;
    sbh_counters_finish(&t->counters, t->iterations,
                        deciding_seconds(of->family, t) / of->threads, of->threads);
    row->counters = sbh_counters_copy(p, &t->counters);
    measure_memory(r, row);
}

static void repeat(struct sbh_pool *p, struct runner *r)
{
    struct sbh_trial t;
    if (r->done == 0 && r->min_warmup_time > 0)
        warm_up(r);
    try_until(r, r->min_time, r->done > 0 || r->explicit_iterations, &t);
    struct sbh_row *row = sbh_rows_add(p, &r->runs);
    fill_row(p, r, &t, row);
    sbh_trial_free(&t);
    if (r->family && !row->skipped)
        *sbh_rows_add(p, &r->family->good) = *row;
    r->done++;
}

/* ---- all of them ----------------------------------------------------------------------------- */

static uint64_t next_random(uint64_t *state) /* SplitMix64 */
{
    uint64_t z = (*state += UINT64_C(0x9E3779B97F4A7C15));
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

/* One entry per repetition: which runner. */
static int64_t *order_of(struct sbh_pool *p, const struct runner *r, int64_t count, int64_t *slots)
{
    int64_t *order = NULL;
    uint64_t state = sbh_flags()->seed;
    *slots = 0;
    for (int64_t i = 0; i < count; i++)
        for (int k = 0; k < r[i].repeats; k++) {
            order = sbh_grow(p, order, *slots, sizeof *order);
            order[(*slots)++] = i;
        }
    for (int64_t i = *slots - 1; sbh_flags()->interleave && i > 0; i--) {
        int64_t j = (int64_t)(next_random(&state) % (uint64_t)(i + 1)), x = order[i];
        order[i] = order[j];
        order[j] = x;
    }
    return order;
}

static struct runner *make_runners(struct sbh_pool *p, const struct sbh_instances *all)
{
    struct runner *r = sbh_alloc(p, (size_t)all->count * sizeof *r);
    struct family_runs *family = NULL;
    int with_threads = 0;
    for (int64_t i = 0; i < all->count; i++) {
        const struct sbh_instance *of = &all->item[i];
        r[i] = make_runner(of);
        with_threads += of->threads > 1;
        if (of->family->curve == SAE_BENCH_O_NONE)
            continue;
        if (!family || family->index != of->family_index) {
            family = sbh_alloc(p, sizeof *family);
            family->index = of->family_index;
        }
        family->instances++;
        r[i].family = family;
    }
    if (with_threads && sbh_perf_count())
        fprintf(stderr, "***WARNING*** There are %d benchmarks with threads and %d performance "
                        "counters were requested. Beware counters will reflect the combined usage "
                        "across all threads.\n", with_threads, sbh_perf_count());
    return r;
}

static int64_t finish_instance(struct sbh_pool *p, struct runner *r, struct sbh_report *report)
{
    const struct sbh_flags *f = sbh_flags();
    struct sbh_rows aggregates = {NULL, 0};
    int mode = r->of->family->report_mode;
    int64_t errors = 0;
    if (!mode)
        mode = (f->report_aggregates_only ? SBH_DISPLAY_AGGREGATES | SBH_FILE_AGGREGATES : 0) |
               (f->display_aggregates_only ? SBH_DISPLAY_AGGREGATES : 0);
    sbh_aggregate(p, &r->runs, &aggregates);
    if (r->family && ++r->family->finished == r->family->instances)
        sbh_complexity(p, &r->family->good, &aggregates);
    sbh_report_rows(report, &r->runs, &aggregates, mode);
    for (int64_t i = 0; i < r->runs.count; i++)
        errors += r->runs.item[i].skipped == SBH_ERROR;
    return errors;
}

static volatile sig_atomic_t stopped;

void sae_bench_stop(void)
{
    stopped = 1;
}

bool sbh_stopped(void)
{
    return stopped;
}

int64_t sbh_run_instances(struct sbh_pool *p, const struct sbh_instances *all,
                          struct sbh_report *report)
{
    struct runner *r = make_runners(p, all);
    int64_t slots, errors = 0, *order = order_of(p, r, all->count, &slots);
    sbh_turns_open();
    for (int64_t i = 0; i < slots && !stopped; i++) {
        struct runner *now = &r[order[i]];
        sbh_turn_begin();
        if (stopped)
            break;
        repeat(p, now);
        if (now->done == now->repeats)
            errors += finish_instance(p, now, report);
        sbh_turn_end();
    }
    for (int64_t i = 0; i < all->count && stopped; i++) /* what there is of the others */
        if (r[i].done > 0 && r[i].done < r[i].repeats)
            errors += finish_instance(p, &r[i], report);
    return errors;
}
