/* tests/bench/twin/twin.c - registrations that use every feature; twin.cc makes the same with
 * the C++ library, and tests/bench compares what the two print. */
#include "work.h"

#include <sae/bench.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static void empty(sae_bench_state *st)
{
    SAE_BENCH_LOOP(st) {
        sae_bench_clobber();
    }
}

static void plain(sae_bench_state *st)
{
    SAE_BENCH_LOOP(st) {
        double x = work(2000);
        SAE_BENCH_KEEP_REAL(x);
    }
}

static void copy(sae_bench_state *st)
{
    size_t n = (size_t)sae_bench_range_of(st, 0);
    char *a = calloc(2, n);
    SAE_BENCH_LOOP(st) {
        memcpy(a, a + n, n);
        sae_bench_use(a);
        sae_bench_clobber();
    }
    sae_bench_set_bytes(st, sae_bench_iterations(st) * (int64_t)n);
    sae_bench_set_items(st, sae_bench_iterations(st));
    sae_bench_set_complexity_n(st, (int64_t)n);
    sae_bench_set_label(st, "lab\"el");
    free(a);
}

static void counters(sae_bench_state *st)
{
    while (sae_bench_keep_running(st)) {
        double x = work(50);
        SAE_BENCH_KEEP_REAL(x);
    }
    sae_bench_counter(st, "value", 42, SAE_BENCH_VALUE);
    sae_bench_counter(st, "rate", 1e6, SAE_BENCH_RATE);
    sae_bench_counter(st, "threads_avg", 8, SAE_BENCH_AVG_THREADS);
    sae_bench_counter(st, "threads_rate", 8, SAE_BENCH_AVG_THREADS | SAE_BENCH_RATE);
    sae_bench_counter(st, "invariant", 2, SAE_BENCH_PER_ITERATION_IN);
    sae_bench_counter(st, "invariant_rate", 2, SAE_BENCH_PER_ITERATION_IN | SAE_BENCH_RATE);
    sae_bench_counter(st, "iterations_avg", 1000, SAE_BENCH_AVG_ITERATIONS);
    sae_bench_counter(st, "inverted", 4, SAE_BENCH_INVERT);
    sae_bench_counter(st, "seconds", 1e6, SAE_BENCH_RATE | SAE_BENCH_INVERT);
    sae_bench_counter(st, "kibi", 16384, SAE_BENCH_BASE_1024);
}

static void batch(sae_bench_state *st)
{
    while (sae_bench_keep_running_batch(st, 7)) {
        double x = work(70);
        SAE_BENCH_KEEP_REAL(x);
    }
}

static void paused(sae_bench_state *st)
{
    SAE_BENCH_LOOP(st) {
        sae_bench_pause(st);
        double x = work(10);
        SAE_BENCH_KEEP_REAL(x);
        sae_bench_resume(st);
        x = work(10);
        SAE_BENCH_KEEP_REAL(x);
    }
}

static void manual(sae_bench_state *st)
{
    SAE_BENCH_LOOP(st) {
        double x = work(10);
        SAE_BENCH_KEEP_REAL(x);
        sae_bench_set_iteration_time(st, 1e-4);
    }
}

static void wait_10_ms(sae_bench_state *st)
{
    SAE_BENCH_LOOP(st)
        nanosleep(&(struct timespec){0, 10000000}, NULL);
    sae_bench_counter(st, "rate", (double)sae_bench_iterations(st), SAE_BENCH_RATE);
}

static void broken(sae_bench_state *st)
{
    SAE_BENCH_LOOP(st) {
        sae_bench_skip_error(st, "bad \"thing\"");
        break;
    }
}

static double half(int64_t n)
{
    return (double)n / 2;
}

static double largest(const double *x, int64_t n)
{
    double best = x[0];
    for (int64_t i = 1; i < n; i++)
        best = x[i] > best ? x[i] : best;
    return best;
}

static double spread(const double *x, int64_t n)
{
    double least = x[0];
    for (int64_t i = 1; i < n; i++)
        least = x[i] < least ? x[i] : least;
    return (largest(x, n) - least) / least;
}

static void nothing(sae_bench_state *st)
{
    (void)st;
}

SAE_BENCH(empty);
SAE_BENCH(plain);
SAE_BENCH_WITH(copy, sae_bench_arg_name(b, "n"), sae_bench_range(b, 8, 4096),
               sae_bench_complexity(b, SAE_BENCH_O_AUTO));
SAE_BENCH_CAPTURE(copy, custom, NULL, sae_bench_dense_range(b, 64, 192, 64),
                  sae_bench_complexity_fn(b, half), sae_bench_time_unit(b, SAE_BENCH_US));
SAE_BENCH(counters);
SAE_BENCH_CAPTURE(counters, two, NULL, sae_bench_threads(b, 2));
SAE_BENCH_WITH(batch, SAE_BENCH_ARGS(b, 1, -2), SAE_BENCH_ARGS(b, 3, 4),
               SAE_BENCH_ARG_NAMES(b, "a", ""), sae_bench_set_iterations(b, 100));
SAE_BENCH_WITH(paused, sae_bench_set_iterations(b, 50), sae_bench_repetitions(b, 2),
               sae_bench_measure_process_cpu_time(b));
SAE_BENCH_WITH(manual, sae_bench_min_time(b, 0.25), sae_bench_repetitions(b, 3),
               sae_bench_use_manual_time(b),
               sae_bench_statistic(b, "max", largest, SAE_BENCH_TIME),
               sae_bench_statistic(b, "spread", spread, SAE_BENCH_PERCENTAGE));
SAE_BENCH_WITH(wait_10_ms, sae_bench_use_real_time(b), sae_bench_threads(b, 4),
               sae_bench_time_unit(b, SAE_BENCH_MS), sae_bench_set_iterations(b, 5));
SAE_BENCH(broken);
SAE_BENCH_CAPTURE(broken, twice, NULL, sae_bench_threads(b, 2), sae_bench_repetitions(b, 2));
SAE_BENCH_AS(threads, plain, "threads", NULL, sae_bench_thread_range(b, 1, 3),
             sae_bench_setup(b, nothing), sae_bench_teardown(b, nothing));
SAE_BENCH_AS(product, plain, "product", NULL,
               sae_bench_ranges(b, 2, (const int64_t[2][2]){{1, 8}, {-2, 2}}),
               sae_bench_report_aggregates_only(b, 1), sae_bench_repetitions(b, 2));
SAE_BENCH_AS(both, plain, "both", NULL, sae_bench_measure_process_cpu_time(b),
             sae_bench_use_real_time(b), sae_bench_dense_thread_range(b, 1, 4, 2),
             sae_bench_display_aggregates_only(b, 1));
SAE_BENCH_AS(disabled, plain, "DISABLED_plain", NULL, (void)0);

SAE_BENCH_MAIN()
