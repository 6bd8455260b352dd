/* suite/bench/harness/aggregate.c - rows, and statistics over repetitions. */
#include "harness.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct sbh_row *sbh_rows_add(struct sbh_pool *p, struct sbh_rows *rows)
{
    rows->item = sbh_grow(p, rows->item, rows->count, sizeof *rows->item);
    return memset(&rows->item[rows->count++], 0, sizeof *rows->item);
}

/* As in the original, coefficients are in ns whatever the unit of the benchmark. */
enum sae_bench_unit sbh_unit_of(const struct sbh_row *row)
{
    return row->kind == SBH_BIG_O ? SAE_BENCH_NS : row->of->unit;
}

static const struct unit {
    const char *name;
    double per_second;
} units[] = {{"ns", 1e9}, {"us", 1e6}, {"ms", 1e3}, {"s", 1}};

double sbh_in_unit(double seconds, enum sae_bench_unit unit)
{
    return seconds * units[unit].per_second;
}

const char *sbh_unit_name(enum sae_bench_unit unit)
{
    return units[unit].name;
}

/* ---- statistics ------------------------------------------------------------------------------ */

double sbh_mean(const double *x, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += x[i];
    return n ? sum / (double)n : 0;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double sbh_median(const double *x, int64_t n)
{
    struct sbh_pool p = {NULL};
    if (n < 3)
        return sbh_mean(x, n);
    double *sorted = sbh_alloc(&p, (size_t)n * sizeof *sorted);
    memcpy(sorted, x, (size_t)n * sizeof *sorted);
    qsort(sorted, (size_t)n, sizeof *sorted, ascending);
    double middle = n % 2 ? sorted[n / 2] : (sorted[n / 2 - 1] + sorted[n / 2]) / 2;
    sbh_release(&p);
    return middle;
}

/* In two passes: the difference of squares of the original loses digits. */
double sbh_stddev(const double *x, int64_t n)
{
    double mean = sbh_mean(x, n), sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += (x[i] - mean) * (x[i] - mean);
    return n < 2 ? 0 : sqrt(sum / (double)(n - 1));
}

double sbh_cv(const double *x, int64_t n)
{
    double mean = sbh_mean(x, n);
    return n < 2 || mean == 0 ? 0 : sbh_stddev(x, n) / mean;
}

/* ---- rows ------------------------------------------------------------------------------------ */

struct samples { /* of the runs that were not skipped */
    const struct sbh_row **run;
    double *x;
    int64_t count;
};

static struct samples samples_of(struct sbh_pool *p, const struct sbh_rows *runs)
{
    struct samples s = {sbh_alloc(p, (size_t)runs->count * sizeof *s.run),
                        sbh_alloc(p, (size_t)runs->count * sizeof *s.x), 0};
    for (int64_t i = 0; i < runs->count; i++)
        if (!runs->item[i].skipped)
            s.run[s.count++] = &runs->item[i];
    return s;
}

/* One counter over the runs that have it. */
static double over_counter(struct samples *s, const char *name, const struct sbh_statistic *f)
{
    int64_t n = 0;
    for (int64_t i = 0; i < s->count; i++) {
        const struct sbh_counter *c = sbh_counter_find(&s->run[i]->counters, name);
        if (c)
            s->x[n++] = c->value;
    }
    return f->fn(s->x, n);
}

static struct sbh_counters names_of(struct sbh_pool *p, const struct samples *s)
{
    struct sbh_counters names = {NULL, 0};
    for (int64_t i = 0; i < s->count; i++)
        sbh_counters_add(&names, &s->run[i]->counters);
    struct sbh_counters kept = sbh_counters_copy(p, &names);
    sbh_counters_free(&names);
    return kept;
}

static const char *common_label(const struct samples *s)
{
    const char *label = s->run[0]->label;
    for (int64_t i = 1; label && i < s->count; i++)
        if (!s->run[i]->label || strcmp(label, s->run[i]->label))
            label = NULL;
    return label;
}

static void add_row(struct sbh_pool *p, struct samples *s, const struct sbh_counters *names,
                    const struct sbh_statistic *f, struct sbh_rows *out)
{
    struct sbh_row *row = sbh_rows_add(p, out);
    const struct sbh_row *first = s->run[0];
    *row = (struct sbh_row){
        .kind = SBH_AGGREGATE, .of = first->of, .run_name = first->run_name,
        .name = sbh_print(p, "%s_%s", first->run_name, f->name), .aggregate = f->name,
        .aggregate_unit = f->unit, .label = common_label(s), .iterations = s->count,
        .repetitions = first->repetitions, .counters = sbh_counters_copy(p, names),
    };
    for (int64_t i = 0; i < s->count; i++)
        s->x[i] = s->run[i]->real;
    row->real = f->fn(s->x, s->count);
    for (int64_t i = 0; i < s->count; i++)
        s->x[i] = s->run[i]->cpu;
    row->cpu = f->fn(s->x, s->count);
    for (int i = 0; i < row->counters.count; i++)
        row->counters.item[i].value = over_counter(s, row->counters.item[i].name, f);
}

void sbh_aggregate(struct sbh_pool *p, const struct sbh_rows *runs, struct sbh_rows *out)
{
    struct samples s = samples_of(p, runs);
    if (s.count < 2)
        return;
    struct sbh_counters names = names_of(p, &s);
    const sae_bench *b = s.run[0]->of->family;
    for (int i = 0; i < b->statistics; i++)
        add_row(p, &s, &names, &b->statistic[i], out);
}
