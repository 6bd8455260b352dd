/* suite/bench/harness/console.c - the table for people. */
#include "report.h"

#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

enum color { PLAIN = 0, RED = 1, GREEN = 2, YELLOW = 3, BLUE = 4, CYAN = 6, WHITE = 7 };

__attribute__((format(printf, 3, 4))) static void print(const struct sbh_sink *s, enum color color,
                                                        const char *format, ...)
{
    va_list args;
    va_start(args, format);
    if (s->color && color)
        fprintf(s->out, "\033[0;3%dm", (int)color);
    vfprintf(s->out, format, args);
    if (s->color)
        fprintf(s->out, "\033[m");
    va_end(args);
}

static void print_line(FILE *out, int length)
{
    while (length-- > 0)
        fputc('-', out);
    fputc('\n', out);
}

static void print_header(struct sbh_pool *p, struct sbh_sink *s, const struct sbh_row *row)
{
    char *text = sbh_print(p, "%-*s %13s %15s %12s", s->name_width, "Benchmark", "Time", "CPU",
                           "Iterations");
    if (row->counters.count && !s->tabular)
        text = sbh_print(p, "%s UserCounters...", text);
    for (int i = 0; s->tabular && i < row->counters.count; i++)
        text = sbh_print(p, "%s %10s", text, row->counters.item[i].name);
    print_line(s->out, (int)strlen(text));
    fprintf(s->out, "%s\n", text);
    print_line(s->out, (int)strlen(text));
}

static void print_time(char text[32], double time)
{
    if (time > 9999999999)
        snprintf(text, 32, "%1.4e", time);
    else
        snprintf(text, 32, "%10.*f", time < 1 ? 3 : time < 10 ? 2 : time < 100 ? 1 : 0, time);
}

static void print_times(const struct sbh_sink *s, const struct sbh_row *row)
{
    char real[32], cpu[32];
    enum sae_bench_unit unit = sbh_unit_of(row);
    double in_unit[2] = {sbh_in_unit(row->real, unit), sbh_in_unit(row->cpu, unit)};
    if (row->kind == SBH_BIG_O) {
        const char *curve = sbh_curve_name(row->curve);
        print(s, YELLOW, "%10.2f %-4s %10.2f %-4s ", in_unit[0], curve, in_unit[1], curve);
    } else if (row->kind == SBH_RMS) {
        print(s, YELLOW, "%10.0f %-4s %10.0f %-4s ", 100 * row->real, "%", 100 * row->cpu, "%");
    } else if (row->kind == SBH_AGGREGATE && row->aggregate_unit == SAE_BENCH_PERCENTAGE) {
        print(s, YELLOW, "%10.2f %-4s %10.2f %-4s ", 100 * row->real, "%", 100 * row->cpu, "%");
    } else {
        const char *name = sbh_unit_name(unit);
        print_time(real, in_unit[0]);
        print_time(cpu, in_unit[1]);
        print(s, YELLOW, "%s %-4s %s %-4s ", real, name, cpu, name);
    }
}

static void print_counter(const struct sbh_sink *s, const struct sbh_row *row,
                          const struct sbh_counter *c)
{
    char text[32];
    const char *unit = "";
    int width = strlen(c->name) > 10 ? (int)strlen(c->name) : 10;
    if (row->kind == SBH_AGGREGATE && row->aggregate_unit == SAE_BENCH_PERCENTAGE) {
        snprintf(text, sizeof text, "%.2f", 100 * c->value);
        unit = "%";
    } else {
        sbh_human(text, c->value, c->flags);
        if (c->flags & SAE_BENCH_RATE)
            unit = c->flags & SAE_BENCH_INVERT ? "s" : "/s";
    }
    if (s->tabular)
        print(s, PLAIN, " %*s%s", width - (int)strlen(unit), text, unit);
    else
        print(s, PLAIN, " %s=%s%s", c->name, text, unit);
}

static void print_row(const struct sbh_sink *s, const struct sbh_row *row)
{
    bool fitted = row->kind == SBH_BIG_O || row->kind == SBH_RMS;
    print(s, fitted ? BLUE : GREEN, "%-*s ", s->name_width, row->name);
    if (row->skipped) {
        print(s, row->skipped == SBH_ERROR ? RED : WHITE, "%s: '%s'",
              row->skipped == SBH_ERROR ? "ERROR OCCURRED" : "SKIPPED", row->message);
        print(s, PLAIN, "\n");
        return;
    }
    print_times(s, row);
    if (!fitted)
        print(s, CYAN, "%10" PRId64, row->iterations);
    for (int i = 0; i < row->counters.count; i++)
        print_counter(s, row, &row->counters.item[i]);
    if (row->label)
        print(s, PLAIN, " %s", row->label);
    print(s, PLAIN, "\n");
}

void sbh_console_rows(struct sbh_pool *p, struct sbh_sink *s, const struct sbh_rows *rows)
{
    for (int64_t i = 0; i < rows->count; i++) {
        const struct sbh_row *row = &rows->item[i];
        if (!s->started ||
            (s->tabular && !sbh_counters_same_names(&row->counters, &s->header))) {
            s->started = true;
            s->header = row->counters; /* rows live as long as the report */
            print_header(p, s, row);
        }
        print_row(s, row);
    }
}
