/* suite/bench/harness/harness.h - the parts of the harness among themselves. */
#ifndef SBH_HARNESS_H
#define SBH_HARNESS_H

#include <sae/bench.h>

#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>

#define SBH_MAX_ITERATIONS INT64_C(1000000000000)
#define SBH_DEFAULT_MIN_TIME 0.5
enum { SBH_COUNTER_NAME = 64, SBH_MAX_PERF = 32, SBH_BIG_FAMILY = 100, SBH_MAX_NAME = 1024 };

/* ---- memory: everything of one owner is released at once (pool.c) ---------------------------- */

struct sbh_pool {
    struct sbh_block *first;
};

void *sbh_alloc(struct sbh_pool *p, size_t bytes); /* zeroed; out of memory ends the process */
char *sbh_print(struct sbh_pool *p, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Room for one more element behind `count`: the array may move. */
void *sbh_grow(struct sbh_pool *p, void *array, int64_t count, size_t size);
void sbh_release(struct sbh_pool *p);

/* ---- counters (counters.c) ------------------------------------------------------------------- */

struct sbh_counter {
    char name[SBH_COUNTER_NAME];
    double value;
    int flags;
};

struct sbh_counters { /* in byte order of names; heap memory, copied by sbh_counters_copy */
    struct sbh_counter *item;
    int count;
};

/* The entry of that name, made when there is none. NULL: the name does not fit. */
struct sbh_counter *sbh_counter_at(struct sbh_counters *c, const char *name, int flags);
const struct sbh_counter *sbh_counter_find(const struct sbh_counters *c, const char *name);
void sbh_counters_add(struct sbh_counters *sum, const struct sbh_counters *c);
void sbh_counters_finish(struct sbh_counters *c, int64_t iterations, double thread_seconds,
                         int threads);
bool sbh_counters_same_names(const struct sbh_counters *a, const struct sbh_counters *b);
struct sbh_counters sbh_counters_copy(struct sbh_pool *p, const struct sbh_counters *c);
void sbh_counters_free(struct sbh_counters *c);

/* ---- registration (register.c) --------------------------------------------------------------- */

struct sbh_statistic {
    const char *name;
    double (*fn)(const double *x, int64_t n);
    enum sae_bench_stat_unit unit;
};

enum { SBH_DISPLAY_AGGREGATES = 1, SBH_FILE_AGGREGATES = 2, SBH_MODE_SET = 4 };

struct sae_bench {
    const char *name;
    sae_bench_fn *fn, *setup, *teardown;
    void *user;
    int64_t *args; /* [tuples x arity] */
    int arity, tuples; /* arity -1: no tuple yet */
    const char **arg_names;
    int arg_names_count;
    int *threads;
    int threads_count;
    enum sae_bench_unit unit;
    bool unit_set, process_cpu, real_time, manual_time;
    int multiplier, repetitions, report_mode;
    double min_time, min_warmup_time;
    int64_t iterations;
    enum sae_bench_curve curve;
    double (*curve_fn)(int64_t n);
    struct sbh_statistic *statistic;
    int statistics;
};

struct sbh_registry {
    struct sbh_pool pool;
    sae_bench **family;
    int count;
    const char *misuse; /* first one, NULL: none */
};
struct sbh_registry *sbh_registered(void);

/* ---- flags (flags.c) ------------------------------------------------------------------------- */

enum sbh_format { SBH_CONSOLE, SBH_JSON, SBH_CSV };

struct sbh_flags {
    bool list_tests, dry_run, interleave, report_aggregates_only, display_aggregates_only;
    bool counters_tabular, fail_on_error, fail_on_empty;
    const char *filter, *min_time, *format_name, *out_format_name, *out, *ci_out, *color;
    const char *perf_counters, *context, *time_unit, *seed_text;
    double min_warmup_time;
    int repetitions, verbosity;
    /* from the texts above */
    double min_seconds;
    int64_t min_iterations; /* 0: none given */
    enum sbh_format format, out_format;
    enum sae_bench_unit unit;
    uint64_t seed;
};
struct sbh_flags *sbh_flags(void); /* the environment's when sae_bench_init was not called */
bool sbh_truthy(const char *value);

struct sbh_pair {
    const char *key, *value;
};
const struct sbh_pair *sbh_custom_context(int *count); /* in order of keys */
const char *sbh_executable(void);                      /* argv[0]; NULL before sae_bench_init */

/* ---- instances (instances.c) ----------------------------------------------------------------- */

struct sbh_instance {
    const sae_bench *family;
    const char *name, *name_without_args;
    const int64_t *args;
    int threads, family_index, index_in_family;
    enum sae_bench_unit unit;
};

struct sbh_instances {
    struct sbh_instance *item;
    int64_t count;
};

/* Those whose names pass the filter. false: the filter is no regular expression (said). */
bool sbh_find(struct sbh_pool *p, const char *filter, struct sbh_instances *out, FILE *err);
/* lo, powers between, hi, put behind the `count` values of *list. */
int sbh_range(struct sbh_pool *p, int64_t **list, int count, int64_t lo, int64_t hi,
              int multiplier);

/* ---- one trial: so many iterations on every thread (state.c, trial.c) ------------------------ */

enum sbh_skip { SBH_NOT_SKIPPED, SBH_SKIPPED, SBH_ERROR };

struct sbh_trial { /* shared by the threads of a trial, under `lock` */
    pthread_mutex_t lock;
    pthread_cond_t turn;
    int alive, waiting;
    unsigned phase;
    bool perf; /* read the hardware counters */
    enum sbh_skip skipped;
    char *message, *label; /* heap */
    int64_t iterations, complexity_n;
    double real, cpu, manual; /* seconds, sums over threads */
    struct sbh_counters counters;
};

struct sae_bench_thread {
    const struct sbh_instance *of;
    struct sbh_trial *trial;
    int index;
    int64_t max, leftover, complexity_n;
    bool started, finished, running;
    enum sbh_skip skipped;
    double real, cpu, manual, real_start, cpu_start;
    struct sbh_counters counters;
    double perf_start[SBH_MAX_PERF];
};

/* Run it and add its sums to *t (zeroed by the caller, released with sbh_trial_free). */
void sbh_trial_run(const struct sbh_instance *of, int64_t iterations, int threads, bool perf,
                   struct sbh_trial *t);
void sbh_trial_free(struct sbh_trial *t);
void sbh_call(sae_bench_fn *fn, const struct sbh_instance *of); /* setup, teardown; NULL: none */
void sbh_barrier(struct sbh_trial *t);
void sbh_leave(struct sbh_trial *t); /* one thread less at barriers */
const sae_bench_clock *sbh_clock(void);
const sae_bench_memory *sbh_memory(void);

/* Hardware counters of this process and the threads it starts (perf.c). */
void sbh_perf_open(const char *names, FILE *err); /* comma-separated */
int sbh_perf_count(void);
const char *sbh_perf_name(int i);
bool sbh_perf_read(double *values);
void sbh_perf_close(void);

/* ---- rows of reports (aggregate.c, complexity.c) --------------------------------------------- */

enum sbh_kind { SBH_RUN, SBH_AGGREGATE, SBH_BIG_O, SBH_RMS };

struct sbh_row {
    enum sbh_kind kind;
    const struct sbh_instance *of;
    const char *name, *run_name;
    const char *aggregate; /* name, NULL for a run */
    enum sae_bench_stat_unit aggregate_unit;
    enum sbh_skip skipped;
    const char *message, *label; /* NULL: none */
    int64_t iterations, complexity_n;
    int repetitions, repetition;
    double real, cpu; /* seconds per iteration; ratios for percentages; coefficients, errors */
    enum sae_bench_curve curve;
    struct sbh_counters counters;
    int64_t memory_iterations; /* 0: not measured */
    sae_bench_memory_result memory;
};

struct sbh_rows {
    struct sbh_row *item;
    int64_t count;
};

struct sbh_row *sbh_rows_add(struct sbh_pool *p, struct sbh_rows *rows);
enum sae_bench_unit sbh_unit_of(const struct sbh_row *row); /* in which its times are printed */
double sbh_in_unit(double seconds, enum sae_bench_unit unit);
const char *sbh_unit_name(enum sae_bench_unit unit);
const char *sbh_curve_name(enum sae_bench_curve curve);

double sbh_mean(const double *x, int64_t n);
double sbh_median(const double *x, int64_t n);
double sbh_stddev(const double *x, int64_t n);
double sbh_cv(const double *x, int64_t n);
/* One row per statistic over the runs that were not skipped; none when there are fewer than two. */
void sbh_aggregate(struct sbh_pool *p, const struct sbh_rows *runs, struct sbh_rows *out);
/* The BigO and RMS rows of the runs of a family; none when there are fewer than two. */
void sbh_complexity(struct sbh_pool *p, const struct sbh_rows *runs, struct sbh_rows *out);

struct sbh_fit {
    enum sae_bench_curve curve;
    double coefficient, rms;
};
struct sbh_fit sbh_least_squares(const int64_t *n, const double *time, int64_t count,
                                 enum sae_bench_curve curve, double (*fn)(int64_t n));

struct sbh_report;

/* ---- running (runner.c) ---------------------------------------------------------------------- */

/* Iterations to try next after n of them took `seconds`. */
int64_t sbh_predict(int64_t n, double seconds, double min_time);
/* Rows go to `report` as instances finish. The number of rows with errors. */
int64_t sbh_run_instances(struct sbh_pool *p, const struct sbh_instances *all,
                          struct sbh_report *report);
bool sbh_stopped(void); /* by sae_bench_stop */
/* Turns with another program (turns.c); without one they do nothing. */
void sbh_turns_open(void);
void sbh_turn_begin(void);
void sbh_turn_end(void);

#endif
