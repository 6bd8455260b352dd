/* suite/bench/harness/csv.c - the CSV dialect of the original: short rows for errors included. */
#include "report.h"

#include <inttypes.h>
#include <string.h>

static const char columns[] = "name,iterations,real_time,cpu_time,time_unit,bytes_per_second,"
                              "items_per_second,label,error_occurred,error_message";

void sbh_csv_text(FILE *out, const char *text)
{
    fputc('"', out);
    for (; *text; text++)
        fprintf(out, *text == '"' ? "\"\"" : "%c", *text);
    fputc('"', out);
}

static bool has_column(const char *counter)
{
    return !strcmp(counter, "bytes_per_second") || !strcmp(counter, "items_per_second");
}

/* User counters of the first report are the columns of all. */
static void print_header(struct sbh_pool *p, struct sbh_sink *s, const struct sbh_rows *rows)
{
    struct sbh_counters names = {NULL, 0};
    for (int64_t i = 0; i < rows->count; i++)
        sbh_counters_add(&names, &rows->item[i].counters);
    s->header = sbh_counters_copy(p, &names);
    sbh_counters_free(&names);
    fprintf(s->out, "%s", columns);
    for (int i = 0; i < s->header.count; i++)
        if (!has_column(s->header.item[i].name))
            fprintf(s->out, ",\"%s\"", s->header.item[i].name);
    fprintf(s->out, "\n");
}

static void print_counter(FILE *out, const struct sbh_row *row, const char *name)
{
    const struct sbh_counter *c = sbh_counter_find(&row->counters, name);
    if (c)
        fprintf(out, "%g", c->value);
    fprintf(out, ",");
}

static void warn_of_new_counters(const struct sbh_sink *s, const struct sbh_row *row)
{
    for (int i = 0; i < row->counters.count; i++)
        if (!sbh_counter_find(&s->header, row->counters.item[i].name) &&
            !has_column(row->counters.item[i].name))
            fprintf(stderr, "%s: counter \"%s\" has no column: it was not in the first report\n",
                    row->name, row->counters.item[i].name);
}

static void print_row(const struct sbh_sink *s, const struct sbh_row *row)
{
    FILE *out = s->out;
    bool ratio = row->aggregate_unit == SAE_BENCH_PERCENTAGE;
    enum sae_bench_unit unit = sbh_unit_of(row);
    sbh_csv_text(out, row->name);
    if (row->skipped) {
        fprintf(out, ",,,,,,,,%s,", row->skipped == SBH_ERROR ? "true" : "false");
        sbh_csv_text(out, row->message);
        fprintf(out, "\n");
        return;
    }
    fprintf(out, ",");
    if (row->kind == SBH_RUN || row->kind == SBH_AGGREGATE)
        fprintf(out, "%" PRId64, row->iterations);
    fprintf(out, ",%g,%g,", ratio ? row->real : sbh_in_unit(row->real, unit),
            ratio ? row->cpu : sbh_in_unit(row->cpu, unit));
    fprintf(out, "%s,", row->kind == SBH_BIG_O ? sbh_curve_name(row->curve)
                        : ratio                ? ""
                                               : sbh_unit_name(unit));
    print_counter(out, row, "bytes_per_second");
    print_counter(out, row, "items_per_second");
    if (row->label)
        sbh_csv_text(out, row->label);
    fprintf(out, ",,");
    for (int i = 0; i < s->header.count; i++) {
        const struct sbh_counter *c = sbh_counter_find(&row->counters, s->header.item[i].name);
        if (has_column(s->header.item[i].name))
            continue;
        fprintf(out, ",");
        if (c)
            fprintf(out, "%g", c->value);
    }
    fprintf(out, "\n");
}

void sbh_csv_rows(struct sbh_pool *p, struct sbh_sink *s, const struct sbh_rows *rows)
{
    if (!s->started)
        print_header(p, s, rows);
    s->started = true;
    for (int64_t i = 0; i < rows->count; i++) {
        warn_of_new_counters(s, &rows->item[i]);
        print_row(s, &rows->item[i]);
    }
}
