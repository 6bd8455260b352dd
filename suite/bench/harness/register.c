/* suite/bench/harness/register.c - the list of benchmarks and what is set on each. */
#include "harness.h"

#include <ctype.h>
#include <string.h>
#include <unistd.h>

static struct sbh_registry all;

struct sbh_registry *sbh_registered(void)
{
    return &all;
}

/* The first mistake is kept; sae_bench_run tells it. */
static sae_bench *misuse(sae_bench *b, const char *what)
{
    if (!all.misuse)
        all.misuse = sbh_print(&all.pool, "%s: %s", b->name, what);
    return b;
}

static bool good_name(const char *name)
{
    size_t length = strlen(name);
    for (const char *c = name; *c; c++)
        if (!isgraph((unsigned char)*c) || strchr("\"\\,", *c))
            return false;
    return length > 0 && length <= SBH_MAX_NAME;
}

static void add_statistic(sae_bench *b, const char *name, double (*fn)(const double *, int64_t),
                          enum sae_bench_stat_unit unit)
{
    b->statistic = sbh_grow(&all.pool, b->statistic, b->statistics, sizeof *b->statistic);
    b->statistic[b->statistics++] =
        (struct sbh_statistic){sbh_print(&all.pool, "%s", name), fn, unit};
}

sae_bench *sae_bench_add(const char *name, sae_bench_fn *fn, void *user)
{
    sae_bench *b = sbh_alloc(&all.pool, sizeof *b);
    *b = (sae_bench){.name = sbh_print(&all.pool, "%s", name), .fn = fn, .user = user,
                     .arity = -1, .multiplier = 8};
    all.family = sbh_grow(&all.pool, all.family, all.count, sizeof(sae_bench *));
    all.family[all.count++] = b;
    add_statistic(b, "mean", sbh_mean, SAE_BENCH_TIME);
    add_statistic(b, "median", sbh_median, SAE_BENCH_TIME);
    add_statistic(b, "stddev", sbh_stddev, SAE_BENCH_TIME);
    add_statistic(b, "cv", sbh_cv, SAE_BENCH_PERCENTAGE);
    if (!good_name(name))
        misuse(b, "a name has 1 to 1024 printable characters, without blanks, quotes, backslashes "
                  "and commas");
    if (!fn)
        misuse(b, "no function");
    return b;
}

void sae_bench_clear(void)
{
    sbh_release(&all.pool);
    memset(&all, 0, sizeof all);
}

/* ---- arguments ------------------------------------------------------------------------------- */

static bool takes(sae_bench *b, int arity)
{
    int known = b->arity >= 0 ? b->arity : b->arg_names ? b->arg_names_count : arity;
    if (known == arity && arity >= 0)
        return true;
    misuse(b, "every tuple of arguments of a benchmark must have the same length");
    return false;
}

sae_bench *sae_bench_args(sae_bench *b, int n, const int64_t *x)
{
    if (!takes(b, n))
        return b;
    size_t bytes = (size_t)n * sizeof *x;
    b->args = sbh_grow(&all.pool, b->args, b->tuples, bytes);
    if (n)
        memcpy(b->args + (int64_t)b->tuples * n, x, bytes);
    b->arity = n;
    b->tuples++;
    return b;
}

sae_bench *sae_bench_arg(sae_bench *b, int64_t x)
{
    return sae_bench_args(b, 1, &x);
}

sae_bench *sae_bench_range(sae_bench *b, int64_t lo, int64_t hi)
{
    return sae_bench_ranges(b, 1, (const int64_t[1][2]){{lo, hi}});
}

sae_bench *sae_bench_range_multiplier(sae_bench *b, int multiplier)
{
    if (multiplier < 2)
        return misuse(b, "a range multiplier is at least 2");
    b->multiplier = multiplier;
    return b;
}

sae_bench *sae_bench_dense_range(sae_bench *b, int64_t lo, int64_t hi, int64_t step)
{
    if (lo > hi || step < 1)
        return misuse(b, "a dense range goes from a number up to a larger one, in steps above 0");
    sae_bench_arg(b, lo);
    while ((uint64_t)hi - (uint64_t)lo >= (uint64_t)step) {
        lo += step;
        sae_bench_arg(b, lo);
    }
    return b;
}

sae_bench *sae_bench_product(sae_bench *b, int n, const int64_t *const *list, const int *count)
{
    if (n < 1)
        return misuse(b, "a product of no lists");
    int64_t tuples = 1;
    for (int i = 0; i < n; i++)
        tuples *= count[i] > 0 ? count[i] : 0;
    int64_t *x = sbh_alloc(&all.pool, (size_t)n * sizeof *x);
    for (int64_t t = 0; t < tuples; t++) {
        int64_t rest = t;
        for (int i = 0; i < n; i++) {
            x[i] = list[i][rest % count[i]];
            rest /= count[i];
        }
        sae_bench_args(b, n, x);
    }
    return b;
}

sae_bench *sae_bench_ranges(sae_bench *b, int n, const int64_t (*lo_hi)[2])
{
    int64_t **list = sbh_alloc(&all.pool, (size_t)(n > 0 ? n : 1) * sizeof *list);
    int *count = sbh_alloc(&all.pool, (size_t)(n > 0 ? n : 1) * sizeof *count);
    for (int i = 0; i < n; i++) {
        if (lo_hi[i][0] > lo_hi[i][1])
            return misuse(b, "a range goes from a number up to a larger one");
        count[i] = sbh_range(&all.pool, &list[i], 0, lo_hi[i][0], lo_hi[i][1], b->multiplier);
    }
    return sae_bench_product(b, n, (const int64_t *const *)list, count);
}

sae_bench *sae_bench_arg_names(sae_bench *b, int n, const char *const *name)
{
    if (!takes(b, n))
        return b;
    b->arg_names = sbh_alloc(&all.pool, (size_t)n * sizeof *b->arg_names);
    b->arg_names_count = n;
    for (int i = 0; i < n; i++) {
        b->arg_names[i] = sbh_print(&all.pool, "%s", name[i]);
        if (*name[i] && (!good_name(name[i]) || strchr(name[i], '/')))
            misuse(b, "a name of an argument has printable characters, without blanks, quotes, "
                      "backslashes, slashes and commas");
    }
    return b;
}

sae_bench *sae_bench_arg_name(sae_bench *b, const char *name)
{
    return sae_bench_arg_names(b, 1, &name);
}

/* ---- how to run ------------------------------------------------------------------------------ */

sae_bench *sae_bench_time_unit(sae_bench *b, enum sae_bench_unit unit)
{
    b->unit = unit;
    b->unit_set = true;
    return b;
}

sae_bench *sae_bench_min_time(sae_bench *b, double seconds)
{
    if (!(seconds > 0) || b->iterations)
        return misuse(b, "a minimum time is above 0 and excludes a number of iterations");
    b->min_time = seconds;
    return b;
}

sae_bench *sae_bench_min_warmup_time(sae_bench *b, double seconds)
{
    if (!(seconds >= 0) || b->iterations)
        return misuse(b, "a warm-up time is not negative and excludes a number of iterations");
    b->min_warmup_time = seconds;
    return b;
}

sae_bench *sae_bench_set_iterations(sae_bench *b, int64_t n)
{
    if (n < 1 || b->min_time > 0 || b->min_warmup_time > 0)
        return misuse(b,
                      "a number of iterations is above 0 and excludes minimum and warm-up times");
    b->iterations = n;
    return b;
}

sae_bench *sae_bench_repetitions(sae_bench *b, int n)
{
    if (n < 1)
        return misuse(b, "a number of repetitions is above 0");
    b->repetitions = n;
    return b;
}

sae_bench *sae_bench_report_aggregates_only(sae_bench *b, int on)
{
    b->report_mode = SBH_MODE_SET | (on ? SBH_DISPLAY_AGGREGATES | SBH_FILE_AGGREGATES : 0);
    return b;
}

sae_bench *sae_bench_display_aggregates_only(sae_bench *b, int on)
{
    b->report_mode = (b->report_mode & ~SBH_DISPLAY_AGGREGATES) | SBH_MODE_SET |
                     (on ? SBH_DISPLAY_AGGREGATES : 0);
    return b;
}

sae_bench *sae_bench_use_real_time(sae_bench *b)
{
    if (b->manual_time)
        return misuse(b, "real and manual time exclude each other");
    b->real_time = true;
    return b;
}

sae_bench *sae_bench_use_manual_time(sae_bench *b)
{
    if (b->real_time)
        return misuse(b, "real and manual time exclude each other");
    b->manual_time = true;
    return b;
}

sae_bench *sae_bench_measure_process_cpu_time(sae_bench *b)
{
    b->process_cpu = true;
    return b;
}

/* ---- threads --------------------------------------------------------------------------------- */

sae_bench *sae_bench_threads(sae_bench *b, int n)
{
    if (n < 1)
        return misuse(b, "a number of threads is above 0");
    b->threads = sbh_grow(&all.pool, b->threads, b->threads_count, sizeof *b->threads);
    b->threads[b->threads_count++] = n;
    return b;
}

sae_bench *sae_bench_thread_range(sae_bench *b, int lo, int hi)
{
    if (lo < 1 || hi < lo)
        return misuse(b, "a range of threads goes from at least 1 up to a larger number");
    int64_t *list = NULL;
    int count = sbh_range(&all.pool, &list, 0, lo, hi, 2);
    for (int i = 0; i < count; i++)
        sae_bench_threads(b, (int)list[i]);
    return b;
}

sae_bench *sae_bench_dense_thread_range(sae_bench *b, int lo, int hi, int stride)
{
    if (lo < 1 || hi < lo || stride < 1)
        return misuse(b, "a range of threads goes from at least 1 up to a larger number");
    for (int64_t n = lo; n < hi; n += stride)
        sae_bench_threads(b, (int)n);
    return sae_bench_threads(b, hi);
}

sae_bench *sae_bench_thread_per_cpu(sae_bench *b)
{
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return sae_bench_threads(b, n > 0 ? (int)n : 1);
}

/* ---- what to report -------------------------------------------------------------------------- */

sae_bench *sae_bench_complexity(sae_bench *b, enum sae_bench_curve curve)
{
    if (curve == SAE_BENCH_O_CUSTOM)
        return misuse(b, "a custom curve is given with sae_bench_complexity_fn");
    b->curve = curve;
    return b;
}

sae_bench *sae_bench_complexity_fn(sae_bench *b, double (*curve)(int64_t n))
{
    b->curve = SAE_BENCH_O_CUSTOM;
    b->curve_fn = curve;
    return curve ? b : misuse(b, "no function for the complexity");
}

sae_bench *sae_bench_statistic(sae_bench *b, const char *name,
                               double (*fn)(const double *x, int64_t n),
                               enum sae_bench_stat_unit unit)
{
    if (!fn || !good_name(name))
        return misuse(b,
                      "a statistic has a name without blanks, quotes and commas, and a function");
    add_statistic(b, name, fn, unit);
    return b;
}

sae_bench *sae_bench_setup(sae_bench *b, sae_bench_fn *fn)
{
    b->setup = fn;
    return b;
}

sae_bench *sae_bench_teardown(sae_bench *b, sae_bench_fn *fn)
{
    b->teardown = fn;
    return b;
}
