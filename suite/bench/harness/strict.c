/* suite/bench/harness/strict.c - JSON for consumers that break on aggregates, bare NaN, repeated
 * names or several units: one row per benchmark, medians in ns; what cannot be said is listed under
 * "dropped". */
#include "report.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

struct drop {
    const char *name, *counter, *reason; /* counter NULL: the whole row */
};

struct strict {
    struct sbh_pool *pool;
    FILE *out;
    struct drop *drop;
    int64_t drops, rows;
};

static void drop(struct strict *e, const char *name, const char *counter, const char *reason)
{
    e->drop = sbh_grow(e->pool, e->drop, e->drops, sizeof *e->drop);
    e->drop[e->drops++] = (struct drop){name, counter, reason};
}

static double median_of(struct strict *e, const struct sbh_row *runs, int64_t n,
                        double (*value)(const struct sbh_row *row, const char *name),
                        const char *name)
{
    double *x = sbh_alloc(e->pool, (size_t)n * sizeof *x);
    int64_t count = 0;
    for (int64_t i = 0; i < n; i++)
        if (!runs[i].skipped)
            x[count++] = value(&runs[i], name);
    return sbh_median(x, count);
}

static double real_ns(const struct sbh_row *row, const char *name)
{
    (void)name;
    return 1e9 * row->real;
}

static double cpu_ns(const struct sbh_row *row, const char *name)
{
    (void)name;
    return 1e9 * row->cpu;
}

static double counter_of(const struct sbh_row *row, const char *name)
{
    const struct sbh_counter *c = sbh_counter_find(&row->counters, name);
    return c ? c->value : (double)NAN;
}

/* `n` repetitions of one instance. */
static void print_instance(struct strict *e, const struct sbh_row *runs, int64_t n)
{
    const struct sbh_row *good = NULL;
    int64_t count = 0;
    for (int64_t i = 0; i < n; i++)
        if (!runs[i].skipped) {
            good = good ? good : &runs[i];
            count++;
        }
    double real = median_of(e, runs, n, real_ns, NULL), cpu = median_of(e, runs, n, cpu_ns, NULL);
    if (!good || !isfinite(real) || !isfinite(cpu)) {
        drop(e, runs->name, NULL, good ? "its time is not finite" : runs->message);
        return;
    }
    fprintf(e->out, "%s    {\n      \"name\": ", e->rows++ ? ",\n" : "");
    sbh_json_text(e->out, runs->name);
    fprintf(e->out, ",\n      \"run_name\": ");
    sbh_json_text(e->out, runs->name);
    fprintf(e->out, ",\n      \"run_type\": \"iteration\",\n      \"repetitions\": 1,\n"
                    "      \"repetition_index\": 0,\n      \"threads\": %d,\n      \"iterations\": "
                    "%" PRId64 ",\n      \"real_time\": %.17g,\n      \"cpu_time\": %.17g,\n"
                    "      \"time_unit\": \"ns\",\n      \"n_process\": 1,\n"
                    "      \"n_repetition\": %" PRId64,
            runs->of->threads, good->iterations, real, cpu, count);
    for (int i = 0; i < good->counters.count; i++) {
        const char *name = good->counters.item[i].name;
        double x = median_of(e, runs, n, counter_of, name);
        if (!isfinite(x)) {
            drop(e, runs->name, name, "its value is not finite");
            continue;
        }
        fprintf(e->out, ",\n      ");
        sbh_json_text(e->out, name);
        fprintf(e->out, ": %.17g", x);
    }
    fprintf(e->out, "\n    }");
}

static bool seen_before(const struct sbh_rows *runs, int64_t i)
{
    for (int64_t k = 0; k < i; k++)
        if (runs->item[k].of != runs->item[i].of && !strcmp(runs->item[k].name, runs->item[i].name))
            return true;
    return false;
}

static void print_drops(const struct strict *e)
{
    fprintf(e->out, "\n  ],\n  \"dropped\": [");
    for (int64_t i = 0; i < e->drops; i++) {
        const struct drop *d = &e->drop[i];
        fprintf(e->out, "%s\n    {\"name\": ", i ? "," : "");
        sbh_json_text(e->out, d->name);
        if (d->counter) {
            fprintf(e->out, ", \"counter\": ");
            sbh_json_text(e->out, d->counter);
        }
        fprintf(e->out, ", \"reason\": ");
        sbh_json_text(e->out, d->reason);
        fprintf(e->out, "}");
    }
    fprintf(e->out, "\n  ]\n}\n");
}

void sbh_strict_export(struct sbh_pool *p, FILE *out, const struct sbh_machine *m,
                       const struct sbh_rows *runs)
{
    struct strict e = {.pool = p, .out = out};
    sbh_json_context(out, m);
    for (int64_t i = 0, n; i < runs->count; i += n) {
        for (n = 1; i + n < runs->count && runs->item[i + n].of == runs->item[i].of;)
            n++;
        if (seen_before(runs, i))
            drop(&e, runs->item[i].name, NULL, "an earlier benchmark has the same name");
        else
            print_instance(&e, &runs->item[i], n);
    }
    print_drops(&e);
}
