/* suite/bench/harness/complexity.c - which curve of N the times of a family follow. */
#include "harness.h"

#include <math.h>

static double one(int64_t n)
{
    (void)n;
    return 1;
}

static double linear(int64_t n)
{
    return (double)n;
}

static double square(int64_t n)
{
    return (double)n * (double)n;
}

static double cube(int64_t n)
{
    return (double)n * (double)n * (double)n;
}

static double logarithm(int64_t n)
{
    return log2((double)n);
}

static double linear_logarithm(int64_t n)
{
    return (double)n * log2((double)n);
}

static const struct curve {
    const char *name;
    double (*fn)(int64_t n);
} curves[] = {
    [SAE_BENCH_O_NONE] = {"", one},
    [SAE_BENCH_O_1] = {"(1)", one},
    [SAE_BENCH_O_N] = {"N", linear},
    [SAE_BENCH_O_N2] = {"N^2", square},
    [SAE_BENCH_O_N3] = {"N^3", cube},
    [SAE_BENCH_O_LOG_N] = {"lgN", logarithm},
    [SAE_BENCH_O_N_LOG_N] = {"NlgN", linear_logarithm},
    [SAE_BENCH_O_AUTO] = {"", one},
    [SAE_BENCH_O_CUSTOM] = {"f(N)", one},
};

const char *sbh_curve_name(enum sae_bench_curve curve)
{
    return curves[curve].name;
}

/* time = coefficient fn(n), without intercept; the error relative to the mean time. */
static struct sbh_fit fit(const int64_t *n, const double *time, int64_t count,
                          enum sae_bench_curve curve, double (*fn)(int64_t n))
{
    double squares = 0, products = 0, sum = 0, errors = 0;
    for (int64_t i = 0; i < count; i++) {
        double g = fn(n[i]);
        squares += g * g;
        products += time[i] * g;
        sum += time[i];
    }
    struct sbh_fit f = {curve, products / squares, 0};
    for (int64_t i = 0; i < count; i++) {
        double e = time[i] - f.coefficient * fn(n[i]);
        errors += e * e;
    }
    f.rms = sqrt(errors / (double)count) / (sum / (double)count);
    return f;
}

struct sbh_fit sbh_least_squares(const int64_t *n, const double *time, int64_t count,
                                 enum sae_bench_curve curve, double (*fn)(int64_t n))
{
    static const enum sae_bench_curve candidates[] = {SAE_BENCH_O_LOG_N, SAE_BENCH_O_N,
                                                      SAE_BENCH_O_N_LOG_N, SAE_BENCH_O_N2,
                                                      SAE_BENCH_O_N3};
    if (curve != SAE_BENCH_O_AUTO)
        return fit(n, time, count, curve, fn ? fn : curves[curve].fn);
    struct sbh_fit best = fit(n, time, count, SAE_BENCH_O_1, one);
    for (size_t i = 0; i < sizeof candidates / sizeof candidates[0]; i++) {
        struct sbh_fit f = fit(n, time, count, candidates[i], curves[candidates[i]].fn);
        if (f.rms < best.rms)
            best = f;
    }
    return best;
}

static struct sbh_row *add_row(struct sbh_pool *p, const struct sbh_row *first, enum sbh_kind kind,
                               const char *name, struct sbh_rows *out)
{
    struct sbh_row *row = sbh_rows_add(p, out);
    *row = (struct sbh_row){
        .kind = kind, .of = first->of, .run_name = first->of->name_without_args,
        .name = sbh_print(p, "%s_%s", first->of->name_without_args, name), .aggregate = name,
        .aggregate_unit = kind == SBH_RMS ? SAE_BENCH_PERCENTAGE : SAE_BENCH_TIME,
        .label = first->label, .repetitions = first->repetitions,
    };
    return row;
}

void sbh_complexity(struct sbh_pool *p, const struct sbh_rows *runs, struct sbh_rows *out)
{
    int64_t count = runs->count;
    if (count < 2)
        return;
    const struct sbh_row *first = &runs->item[0];
    const sae_bench *b = first->of->family;
    int64_t *n = sbh_alloc(p, (size_t)count * sizeof *n);
    double *real = sbh_alloc(p, (size_t)count * sizeof *real);
    double *cpu = sbh_alloc(p, (size_t)count * sizeof *cpu);
    for (int64_t i = 0; i < count; i++) {
        n[i] = runs->item[i].complexity_n;
        real[i] = runs->item[i].real;
        cpu[i] = runs->item[i].cpu;
        if (n[i] < 1) {
            fprintf(stderr, "%s: no complexity without sae_bench_set_complexity_n above 0\n",
                    runs->item[i].name);
            return;
        }
    }
    /* One curve for both clocks, chosen by the one that counts. */
    const double *leads = b->manual_time ? real : cpu;
    struct sbh_fit chosen = sbh_least_squares(n, leads, count, b->curve, b->curve_fn);
    struct sbh_fit other =
        sbh_least_squares(n, b->manual_time ? cpu : real, count, chosen.curve, b->curve_fn);
    struct sbh_fit of_real = b->manual_time ? chosen : other;
    struct sbh_fit of_cpu = b->manual_time ? other : chosen;
    struct sbh_row *row = add_row(p, first, SBH_BIG_O, "BigO", out);
    row->curve = chosen.curve;
    row->real = of_real.coefficient;
    row->cpu = of_cpu.coefficient;
    row = add_row(p, first, SBH_RMS, "RMS", out);
    row->real = of_real.rms;
    row->cpu = of_cpu.rms;
}
