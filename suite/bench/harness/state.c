/* suite/bench/harness/state.c - what benchmarks call: the loop, clocks, results. */
#include "harness.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct sae_bench_thread thread;

/* ---- clocks ---------------------------------------------------------------------------------- */

static double seconds_of(clockid_t id)
{
    struct timespec t;
    clock_gettime(id, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double real_now(void)
{
    return seconds_of(CLOCK_MONOTONIC);
}

static double thread_cpu_now(void)
{
    return seconds_of(CLOCK_THREAD_CPUTIME_ID);
}

static double process_cpu_now(void)
{
    return seconds_of(CLOCK_PROCESS_CPUTIME_ID);
}

static const sae_bench_clock system_clock = {real_now, thread_cpu_now, process_cpu_now};
static sae_bench_clock chosen_clock;
static bool clock_chosen;

void sae_bench_set_clock(const sae_bench_clock *c)
{
    clock_chosen = c != NULL;
    if (c)
        chosen_clock = *c;
}

const sae_bench_clock *sbh_clock(void)
{
    return clock_chosen ? &chosen_clock : &system_clock;
}

static double cpu_now(const thread *t)
{
    return t->of->family->process_cpu ? sbh_clock()->process_cpu() : sbh_clock()->thread_cpu();
}

static void start_clocks(thread *t)
{
    t->running = true;
    t->real_start = sbh_clock()->real();
    t->cpu_start = cpu_now(t);
}

static void stop_clocks(thread *t)
{
    double real = sbh_clock()->real(), cpu = cpu_now(t) - t->cpu_start;
    t->running = false;
    t->real += real - t->real_start;
    t->cpu += cpu > 0 ? cpu : 0; /* clocks of threads may step back a little */
}

/* ---- hardware counters: of the whole process, read by its first thread ----------------------- */

static bool reads_perf(const thread *t)
{
    return t->trial->perf && t->index == 0;
}

static void start_perf(thread *t)
{
    if (reads_perf(t))
        sbh_perf_read(t->perf_start);
}

static void stop_perf(thread *t)
{
    double now[SBH_MAX_PERF];
    if (!reads_perf(t) || !sbh_perf_read(now))
        return;
    for (int i = 0; i < sbh_perf_count(); i++) {
        struct sbh_counter *c =
            sbh_counter_at(&t->counters, sbh_perf_name(i), SAE_BENCH_AVG_ITERATIONS);
        if (c)
            c->value += now[i] - t->perf_start[i];
    }
}

/* ---- the loop -------------------------------------------------------------------------------- */

static void start(sae_bench_state *st)
{
    thread *t = st->thread;
    if (t->started)
        sae_bench_skip_error(st, "A benchmark has one timed loop");
    t->started = true;
    st->left = t->skipped ? 0 : t->max;
    sbh_barrier(t->trial);
    if (!t->skipped) {
        start_clocks(t);
        start_perf(t);
    }
}

static void finish(sae_bench_state *st)
{
    thread *t = st->thread;
    if (t->finished)
        return;
    if (t->running) {
        stop_clocks(t);
        stop_perf(t);
    }
    st->left = 0;
    t->finished = true;
    sbh_barrier(t->trial);
}

int64_t sae_bench_begin(sae_bench_state *st)
{
    start(st);
    return st->left;
}

int sae_bench_end(sae_bench_state *st, int64_t left)
{
    if (left == 0) /* else the body broke out */
        finish(st);
    return 0;
}

int sae_bench_next(sae_bench_state *st, int64_t n, int batch)
{
    thread *t = st->thread;
    if (!t->started) {
        start(st);
        if (st->left >= n) {
            st->left -= n;
            return 1;
        }
    }
    if (batch && st->left > 0) { /* the last batch goes beyond */
        t->leftover = n - st->left;
        st->left = 0;
        return 1;
    }
    finish(st);
    return 0;
}

void sae_bench_pause(sae_bench_state *st)
{
    thread *t = st->thread;
    if (t->running) {
        stop_clocks(t);
        stop_perf(t);
    } else if (!t->skipped) {
        sae_bench_skip_error(st, "sae_bench_pause: the clocks are not running");
    }
}

void sae_bench_resume(sae_bench_state *st)
{
    thread *t = st->thread;
    if (t->started && !t->finished && !t->running && !t->skipped) {
        start_clocks(t);
        start_perf(t);
    } else if (!t->skipped) {
        sae_bench_skip_error(st, "sae_bench_resume: the clocks were not paused in the loop");
    }
}

void sae_bench_set_iteration_time(sae_bench_state *st, double seconds)
{
    st->thread->manual += seconds;
}

/* ---- the end before its time ----------------------------------------------------------------- */

/* The text replaces *to, under the lock of the trial. */
static void keep_text(char **to, const char *text)
{
    free(*to);
    *to = strdup(text);
}

static void skip(sae_bench_state *st, enum sbh_skip how, const char *message)
{
    thread *t = st->thread;
    t->skipped = how;
    pthread_mutex_lock(&t->trial->lock);
    if (!t->trial->skipped) {
        t->trial->skipped = how;
        keep_text(&t->trial->message, message);
    }
    pthread_mutex_unlock(&t->trial->lock);
    st->left = 0;
    if (t->running)
        stop_clocks(t);
}

void sae_bench_skip_error(sae_bench_state *st, const char *message)
{
    skip(st, SBH_ERROR, message);
}

void sae_bench_skip_message(sae_bench_state *st, const char *message)
{
    skip(st, SBH_SKIPPED, message);
}

int sae_bench_skipped(const sae_bench_state *st)
{
    return st->thread->skipped != SBH_NOT_SKIPPED;
}

int sae_bench_error_occurred(const sae_bench_state *st)
{
    return st->thread->skipped == SBH_ERROR;
}

/* ---- what a benchmark may know --------------------------------------------------------------- */

int64_t sae_bench_range_of(const sae_bench_state *st, int i)
{
    const struct sbh_instance *of = st->thread->of;
    return i >= 0 && i < of->family->arity ? of->args[i] : 0;
}

int64_t sae_bench_iterations(const sae_bench_state *st)
{
    const thread *t = st->thread;
    return t->started ? t->max - st->left + t->leftover : 0;
}

int64_t sae_bench_max_iterations(const sae_bench_state *st)
{
    return st->thread->max;
}

int sae_bench_thread_count(const sae_bench_state *st)
{
    return st->thread->of->threads;
}

int sae_bench_thread_index(const sae_bench_state *st)
{
    return st->thread->index;
}

const char *sae_bench_name(const sae_bench_state *st)
{
    return st->thread->of->name;
}

void *sae_bench_user(const sae_bench_state *st)
{
    return st->thread->of->family->user;
}

/* ---- results --------------------------------------------------------------------------------- */

void sae_bench_counter(sae_bench_state *st, const char *name, double value, int flags)
{
    static const char *const fields[] = {
        "name", "family_index", "per_family_instance_index", "run_name", "run_type", "repetitions",
        "repetition_index", "threads", "aggregate_name", "aggregate_unit", "error_occurred",
        "error_message", "skipped", "skip_message", "iterations", "real_time", "cpu_time",
        "time_unit", "cpu_coefficient", "real_coefficient", "big_o", "rms", "label",
        "allocs_per_iter", "max_bytes_used", "total_allocated_bytes", "net_heap_growth",
    };
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++)
        if (!strcmp(name, fields[i])) {
            sae_bench_skip_error(st, "A counter has the name of a field of every report");
            return;
        }
    struct sbh_counter *c = sbh_counter_at(&st->thread->counters, name, flags);
    if (!c) {
        sae_bench_skip_error(st, "The name of a counter has more than 63 characters");
        return;
    }
    c->value = value;
    c->flags = flags;
}

void sae_bench_set_bytes(sae_bench_state *st, int64_t bytes)
{
    sae_bench_counter(st, "bytes_per_second", (double)bytes, SAE_BENCH_RATE | SAE_BENCH_BASE_1024);
}

void sae_bench_set_items(sae_bench_state *st, int64_t items)
{
    sae_bench_counter(st, "items_per_second", (double)items, SAE_BENCH_RATE);
}

void sae_bench_set_label(sae_bench_state *st, const char *label)
{
    struct sbh_trial *trial = st->thread->trial;
    pthread_mutex_lock(&trial->lock);
    keep_text(&trial->label, label);
    pthread_mutex_unlock(&trial->lock);
}

void sae_bench_set_complexity_n(sae_bench_state *st, int64_t n)
{
    st->thread->complexity_n = n;
}
