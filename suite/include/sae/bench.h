/* sae/bench.h - micro-benchmarks in C whose names, flags and output are Google Benchmark's.
 *
 * One header, one library (libsaebench.a: libc, libm, threads, and libpfm where it was built in).
 *
 *     static void copy(sae_bench_state *st)
 *     {
 *         char *a = malloc((size_t)sae_bench_range_of(st, 0)), *b = ...;
 *         SAE_BENCH_LOOP(st) {
 *             memcpy(a, b, (size_t)sae_bench_range_of(st, 0));
 *             sae_bench_clobber();
 *         }
 *         sae_bench_set_bytes(st, sae_bench_iterations(st) * sae_bench_range_of(st, 0));
 *         ...
 *     }
 *     SAE_BENCH_WITH(copy, sae_bench_arg_name(b, "n"), sae_bench_range(b, 8, 8192));
 *     SAE_BENCH_MAIN()
 *
 * Output follows version 1.9.5 (times of threaded benchmarks are not divided by their number).
 * Misuse, such as tuples of different lengths or both a time and a number of iterations, is kept
 * and stops sae_bench_run with a message that names the benchmark. A process that is out of memory
 * for the harness itself ends with a message.
 */
#ifndef SAE_BENCH_H
#define SAE_BENCH_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define SAE_BENCH_VERSION "v1.9.5-c.1" /* version followed, and ours */

typedef struct sae_bench sae_bench; /* a registered family; valid until sae_bench_clear */

/* What a running benchmark sees; one per thread, valid during the call. */
typedef struct sae_bench_state {
    int64_t left;                    /* iterations not yet handed out by sae_bench_keep_running */
    struct sae_bench_thread *thread; /* private */
} sae_bench_state;

typedef void sae_bench_fn(sae_bench_state *st);

enum sae_bench_unit { SAE_BENCH_NS, SAE_BENCH_US, SAE_BENCH_MS, SAE_BENCH_S };

enum sae_bench_curve { /* of cost against N */
    SAE_BENCH_O_NONE,
    SAE_BENCH_O_1,
    SAE_BENCH_O_N,
    SAE_BENCH_O_N2,
    SAE_BENCH_O_N3,
    SAE_BENCH_O_LOG_N,
    SAE_BENCH_O_N_LOG_N,
    SAE_BENCH_O_AUTO,  /* the best of the above */
    SAE_BENCH_O_CUSTOM /* a function */
};

enum sae_bench_stat_unit { SAE_BENCH_TIME, SAE_BENCH_PERCENTAGE };

enum { /* counter flags, applied in this order when a run ends */
    SAE_BENCH_VALUE = 0,
    SAE_BENCH_RATE = 1,              /* per second */
    SAE_BENCH_AVG_THREADS = 2,       /* divided by the number of threads */
    SAE_BENCH_PER_ITERATION_IN = 4,  /* the value is of one iteration: times iterations */
    SAE_BENCH_AVG_ITERATIONS = 8,    /* divided by iterations */
    SAE_BENCH_BASE_1024 = 16,        /* printed with Ki, Mi, ... */
    SAE_BENCH_INVERT = 1 << 30       /* 1 / value, last */
};

/* ---- registration: every function returns its first argument --------------------------------- */

/* Functions run in the order of registration. `name` is copied: no blanks, quotes, commas. */
sae_bench *sae_bench_add(const char *name, sae_bench_fn *fn, void *user);
void sae_bench_clear(void);

sae_bench *sae_bench_arg(sae_bench *b, int64_t x);
sae_bench *sae_bench_args(sae_bench *b, int n, const int64_t *x); /* one tuple */
/* lo, the powers of the multiplier (8) between, hi; negative ranges are mirrored. */
sae_bench *sae_bench_range(sae_bench *b, int64_t lo, int64_t hi);
sae_bench *sae_bench_range_multiplier(sae_bench *b, int multiplier); /* for ranges that follow */
sae_bench *sae_bench_dense_range(sae_bench *b, int64_t lo, int64_t hi, int64_t step);
/* Every combination, the first argument varying fastest: n ranges {lo, hi}, or n lists. */
sae_bench *sae_bench_ranges(sae_bench *b, int n, const int64_t (*lo_hi)[2]);
sae_bench *sae_bench_product(sae_bench *b, int n, const int64_t *const *list, const int *count);
sae_bench *sae_bench_arg_name(sae_bench *b, const char *name);
sae_bench *sae_bench_arg_names(sae_bench *b, int n, const char *const *name); /* "": none */

sae_bench *sae_bench_time_unit(sae_bench *b, enum sae_bench_unit unit);
sae_bench *sae_bench_min_time(sae_bench *b, double seconds);
sae_bench *sae_bench_min_warmup_time(sae_bench *b, double seconds);
sae_bench *sae_bench_set_iterations(sae_bench *b, int64_t n); /* exactly so many */
sae_bench *sae_bench_repetitions(sae_bench *b, int n);
sae_bench *sae_bench_report_aggregates_only(sae_bench *b, int on);
sae_bench *sae_bench_display_aggregates_only(sae_bench *b, int on);
sae_bench *sae_bench_use_real_time(sae_bench *b);
sae_bench *sae_bench_use_manual_time(sae_bench *b); /* sae_bench_set_iteration_time */
sae_bench *sae_bench_measure_process_cpu_time(sae_bench *b);

sae_bench *sae_bench_threads(sae_bench *b, int n);
sae_bench *sae_bench_thread_range(sae_bench *b, int lo, int hi); /* powers of two, both ends */
sae_bench *sae_bench_dense_thread_range(sae_bench *b, int lo, int hi, int stride);
sae_bench *sae_bench_thread_per_cpu(sae_bench *b);

sae_bench *sae_bench_complexity(sae_bench *b, enum sae_bench_curve curve);
sae_bench *sae_bench_complexity_fn(sae_bench *b, double (*curve)(int64_t n));
/* One more aggregate of the repetitions, after mean, median, stddev, cv. */
sae_bench *sae_bench_statistic(sae_bench *b, const char *name,
                               double (*fn)(const double *x, int64_t n),
                               enum sae_bench_stat_unit unit);
/* Called by the main thread around every trial, outside the timed region. */
sae_bench *sae_bench_setup(sae_bench *b, sae_bench_fn *fn);
sae_bench *sae_bench_teardown(sae_bench *b, sae_bench_fn *fn);

/* The last two in C only: C++ has no such literals. */
#define SAE_BENCH_ARGS(b, ...)                                                                     \
    sae_bench_args(b, (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)),                   \
                   (int64_t[]){__VA_ARGS__})
#define SAE_BENCH_ARG_NAMES(b, ...)                                                                \
    sae_bench_arg_names(b, (int)(sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *)),          \
                        (const char *[]){__VA_ARGS__})

/* ---- inside a benchmark ---------------------------------------------------------------------- */

/* The timed loop. The body may `break` after sae_bench_skip_*, not otherwise. (Two loops, so that
 * the inner one has one condition: compilers make it a decrement and a branch.) */
#define SAE_BENCH_LOOP(st)                                                                         \
    for (int64_t sae_bench_left_ = sae_bench_begin(st), sae_bench_more_ = 1; sae_bench_more_;      \
         sae_bench_more_ = sae_bench_end(st, sae_bench_left_))                                     \
        for (; sae_bench_left_ != 0; sae_bench_left_--)
int64_t sae_bench_begin(sae_bench_state *st); /* iterations to do; of SAE_BENCH_LOOP */
int sae_bench_end(sae_bench_state *st, int64_t left); /* always 0; of SAE_BENCH_LOOP */
int sae_bench_next(sae_bench_state *st, int64_t n, int batch); /* of sae_bench_keep_running */

/* The same as `while (sae_bench_keep_running(st))`; and in batches of n iterations, of which the
 * last may go beyond the number planned. */
static inline int sae_bench_keep_running(sae_bench_state *st)
{
    if (__builtin_expect(st->left > 0, 1)) {
        st->left--;
        return 1;
    }
    return sae_bench_next(st, 1, 0);
}

static inline int sae_bench_keep_running_batch(sae_bench_state *st, int64_t n)
{
    if (__builtin_expect(st->left >= n, 1)) {
        st->left -= n;
        return 1;
    }
    return sae_bench_next(st, n, 1);
}

/* Exclude what lies between; each pair costs several clock reads. Inside the loop only. */
void sae_bench_pause(sae_bench_state *st);
void sae_bench_resume(sae_bench_state *st);
void sae_bench_set_iteration_time(sae_bench_state *st, double seconds); /* adds to manual time */

/* End this repetition with an error, or leave it out; the first message of all threads wins. */
void sae_bench_skip_error(sae_bench_state *st, const char *message);
void sae_bench_skip_message(sae_bench_state *st, const char *message);
int sae_bench_skipped(const sae_bench_state *st);
int sae_bench_error_occurred(const sae_bench_state *st);

int64_t sae_bench_range_of(const sae_bench_state *st, int i); /* argument i; 0 beyond the last */
int64_t sae_bench_iterations(const sae_bench_state *st);      /* done; after the loop: of the run */
int64_t sae_bench_max_iterations(const sae_bench_state *st);
int sae_bench_thread_count(const sae_bench_state *st);
int sae_bench_thread_index(const sae_bench_state *st);
const char *sae_bench_name(const sae_bench_state *st);
void *sae_bench_user(const sae_bench_state *st);

/* Sums over threads. Setting a name again replaces the value. */
void sae_bench_counter(sae_bench_state *st, const char *name, double value, int flags);
void sae_bench_set_bytes(sae_bench_state *st, int64_t bytes); /* bytes_per_second */
void sae_bench_set_items(sae_bench_state *st, int64_t items); /* items_per_second */
void sae_bench_set_label(sae_bench_state *st, const char *label);
void sae_bench_set_complexity_n(sae_bench_state *st, int64_t n);

/* Memory may have changed: values are written before and read again after. */
static inline void sae_bench_clobber(void)
{
    __asm__ volatile("" : : : "memory");
}

/* What p points to is used. */
static inline void sae_bench_use(const void *p)
{
    __asm__ volatile("" : : "r"(p) : "memory");
}

/* A variable (not a constant, of which the compiler knows the value) is used and may be changed:
 * any type; the second form keeps float and double in a register. */
#ifdef __clang__
#define SAE_BENCH_KEEP(x) __asm__ volatile("" : "+r,m"(x) : : "memory")
#else
#define SAE_BENCH_KEEP(x) __asm__ volatile("" : "+m,r"(x) : : "memory")
#endif
#if defined(__x86_64__)
#define SAE_BENCH_KEEP_REAL(x) __asm__ volatile("" : "+x"(x) : : "memory")
#elif defined(__aarch64__)
#define SAE_BENCH_KEEP_REAL(x) __asm__ volatile("" : "+w"(x) : : "memory")
#else
#define SAE_BENCH_KEEP_REAL(x) SAE_BENCH_KEEP(x)
#endif

/* ---- running --------------------------------------------------------------------------------- */

/* Take --benchmark_* flags (and BENCHMARK_* variables) out of argv. 0; 1: a value is wrong, said on
 * stderr; 2: --help was printed. */
int sae_bench_init(int *argc, char **argv);
/* 1 and a line on stderr for each argument that is left. */
int sae_bench_unrecognized(int argc, char **argv);
/* One line of the context of every report. Later values of a key are refused. */
void sae_bench_context(const char *key, const char *value);
/* Run what the flags select. Exit status: 0; 1 misuse or a file that cannot be written; 3 an
 * error with --benchmark_fail_on_error, nothing to run with --benchmark_fail_on_empty. */
int sae_bench_run(void);
/* Run nothing after the repetition that runs now; the reports end as they should, and sae_bench_run
 * returns 130. A signal handler may call it. */
void sae_bench_stop(void);
/* All of it: what SAE_BENCH_MAIN calls. */
int sae_bench_main(int argc, char **argv);
void sae_bench_help(void);

/* ---- replacing parts ------------------------------------------------------------------------- */

#define SAE_BENCH_UNSET INT64_MIN
typedef struct sae_bench_memory_result {
    int64_t allocs, max_bytes_used; /* during the run */
    int64_t total_allocated_bytes;  /* SAE_BENCH_UNSET: not known */
    int64_t net_heap_growth;        /* SAE_BENCH_UNSET: not known */
} sae_bench_memory_result;

/* Called around one more run of at most 16 iterations per repetition, never timed. NULL: none. */
typedef struct sae_bench_memory {
    void (*start)(void *arg);
    void (*stop)(void *arg, sae_bench_memory_result *out);
    void *arg;
} sae_bench_memory;
void sae_bench_set_memory(const sae_bench_memory *m);

/* Other clocks, in seconds, such as those of a simulator. NULL: the system's. */
typedef struct sae_bench_clock {
    double (*real)(void), (*thread_cpu)(void), (*process_cpu)(void);
} sae_bench_clock;
void sae_bench_set_clock(const sae_bench_clock *c);

/* ---- macros ---------------------------------------------------------------------------------- */

/* Register fn under its own name before main; what follows are calls on `b`. The order between
 * files is the linker's: explicit calls of sae_bench_add have a defined one. */
#define SAE_BENCH(fn) SAE_BENCH_AS(fn, fn, #fn, NULL, (void)0)
#define SAE_BENCH_WITH(fn, ...) SAE_BENCH_AS(fn, fn, #fn, NULL, __VA_ARGS__)
/* As fn/name, with a user pointer. */
#define SAE_BENCH_CAPTURE(fn, name, user, ...) \
    SAE_BENCH_AS(fn##_##name, fn, #fn "/" #name, user, __VA_ARGS__)
#define SAE_BENCH_AS(id, fn, text, user, ...)                                                      \
    __attribute__((constructor)) static void id##_register(void)                                   \
    {                                                                                              \
        sae_bench *b = sae_bench_add(text, fn, user);                                              \
        (void)b;                                                                                   \
        (void)(__VA_ARGS__);                                                                       \
    }                                                                                              \
    struct sae_bench /* takes the semicolon */
#define SAE_BENCH_MAIN() \
    int main(int argc, char **argv) { return sae_bench_main(argc, argv); }

#ifdef __cplusplus
}
#endif

#endif
