/* suite/bench/harness/json.c - the report for programs: keys, order and forms of the original,
 * NaN and infinities as bare words included. */
#include "report.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

/* Bytes of the UTF-8 character at s; 0 when there is none. */
static int utf8_length(const unsigned char *s)
{
    int more = *s < 0x80 ? 0 : *s >= 0xC2 && *s < 0xE0 ? 1 : *s >= 0xE0 && *s < 0xF0 ? 2
               : *s >= 0xF0 && *s < 0xF5 ? 3 : -1;
    for (int i = 1; i <= more; i++)
        if ((s[i] & 0xC0) != 0x80)
            return 0;
    /* overlong forms, surrogates, beyond U+10FFFF */
    if ((*s == 0xE0 && s[1] < 0xA0) || (*s == 0xED && s[1] > 0x9F) ||
        (*s == 0xF0 && s[1] < 0x90) || (*s == 0xF4 && s[1] > 0x8F))
        return 0;
    return more + 1;
}

void sbh_json_text(FILE *out, const char *text)
{
    static const char plain[] = "\b\f\n\r\t\\\"", escaped[] = "bfnrt\\\"";
    fputc('"', out);
    for (const unsigned char *c = (const unsigned char *)text; *c;) {
        const char *at = strchr(plain, (char)*c);
        int length = utf8_length(c);
        if (at)
            fprintf(out, "\\%c", escaped[at - plain]);
        else if (*c < 0x20)
            fprintf(out, "\\u%04x", (unsigned)*c);
        else if (length)
            fwrite(c, 1, (size_t)length, out);
        else
            fprintf(out, "\\ufffd");
        c += length ? length : 1;
    }
    fputc('"', out);
}

void sbh_json_number(FILE *out, double x)
{
    if (isnan(x))
        fprintf(out, "NaN");
    else if (isinf(x))
        fprintf(out, x < 0 ? "-Infinity" : "Infinity");
    else
        fprintf(out, "%.16e", x);
}

/* ---- context --------------------------------------------------------------------------------- */

static void text_line(FILE *out, const char *key, const char *value)
{
    fprintf(out, "    ");
    sbh_json_text(out, key);
    fprintf(out, ": ");
    sbh_json_text(out, value);
}

static void print_caches(FILE *out, const struct sbh_machine *m)
{
    fprintf(out, "    \"caches\": [\n");
    for (int i = 0; i < m->caches; i++) {
        fprintf(out, "      {\n        \"type\": ");
        sbh_json_text(out, m->cache[i].type);
        fprintf(out, ",\n        \"level\": %d,\n        \"size\": %" PRId64
                     ",\n        \"num_sharing\": %d\n      }%s\n",
                m->cache[i].level, m->cache[i].bytes, m->cache[i].sharing,
                i < m->caches - 1 ? "," : "");
    }
    fprintf(out, "    ],\n    \"load_avg\": [");
    for (int i = 0; i < m->loads; i++)
        fprintf(out, "%s%g", i ? "," : "", m->load[i]);
    fprintf(out, "],\n");
}

void sbh_json_context(FILE *out, const struct sbh_machine *m)
{
    int pairs;
    const struct sbh_pair *pair = sbh_custom_context(&pairs);
    fprintf(out, "{\n  \"context\": {\n");
    text_line(out, "date", m->date);
    fprintf(out, ",\n");
    text_line(out, "host_name", m->host);
    fprintf(out, ",\n");
    if (sbh_executable()) {
        text_line(out, "executable", sbh_executable());
        fprintf(out, ",\n");
    }
    fprintf(out, "    \"num_cpus\": %d,\n    \"mhz_per_cpu\": %ld,\n", m->cpus, lround(m->mhz));
    if (m->scaling >= 0)
        fprintf(out, "    \"cpu_scaling_enabled\": %s,\n", m->scaling ? "true" : "false");
    if (m->aslr >= 0)
        fprintf(out, "    \"aslr_enabled\": %s,\n", m->aslr ? "true" : "false");
    print_caches(out, m);
    text_line(out, "library_version", SAE_BENCH_VERSION);
    fprintf(out, ",\n");
#ifdef __OPTIMIZE__
    text_line(out, "library_build_type", "release");
#else
    text_line(out, "library_build_type", "debug");
#endif
    fprintf(out, ",\n    \"json_schema_version\": 1");
    for (int i = 0; i < pairs; i++) {
        fprintf(out, ",\n");
        text_line(out, pair[i].key, pair[i].value);
    }
    fprintf(out, "\n  },\n  \"benchmarks\": [\n");
}

/* ---- rows ------------------------------------------------------------------------------------ */

static void text_field(FILE *out, const char *key, const char *value)
{
    fprintf(out, "      \"%s\": ", key);
    sbh_json_text(out, value);
    fprintf(out, ",\n");
}

/* These two start the line after the one they follow: what comes last has no comma. */
static void more_number(FILE *out, const char *key, double value)
{
    fprintf(out, ",\n      ");
    sbh_json_text(out, key);
    fprintf(out, ": ");
    sbh_json_number(out, value);
}

static void more_integer(FILE *out, const char *key, int64_t value)
{
    if (value != SAE_BENCH_UNSET)
        fprintf(out, ",\n      \"%s\": %" PRId64, key, value);
}

static void print_identity(FILE *out, const struct sbh_row *row)
{
    text_field(out, "name", row->name);
    fprintf(out, "      \"family_index\": %d,\n      \"per_family_instance_index\": %d,\n",
            row->of->family_index, row->of->index_in_family);
    text_field(out, "run_name", row->run_name);
    text_field(out, "run_type", row->aggregate ? "aggregate" : "iteration");
    fprintf(out, "      \"repetitions\": %d,\n", row->repetitions);
    if (!row->aggregate)
        fprintf(out, "      \"repetition_index\": %d,\n", row->repetition);
    fprintf(out, "      \"threads\": %d,\n", row->of->threads);
    if (row->aggregate) {
        text_field(out, "aggregate_name", row->aggregate);
        text_field(out, "aggregate_unit",
                   row->aggregate_unit == SAE_BENCH_TIME ? "time" : "percentage");
    }
    if (row->skipped) {
        bool error = row->skipped == SBH_ERROR;
        fprintf(out, "      \"%s\": true,\n", error ? "error_occurred" : "skipped");
        text_field(out, error ? "error_message" : "skip_message", row->message);
    }
}

static void print_values(FILE *out, const struct sbh_row *row)
{
    enum sae_bench_unit unit = sbh_unit_of(row);
    bool ratio = row->aggregate_unit == SAE_BENCH_PERCENTAGE;
    double real = ratio ? row->real : sbh_in_unit(row->real, unit);
    double cpu = ratio ? row->cpu : sbh_in_unit(row->cpu, unit);
    if (row->kind == SBH_RMS) {
        fprintf(out, "      \"rms\": ");
        sbh_json_number(out, cpu);
    } else if (row->kind == SBH_BIG_O) {
        fprintf(out, "      \"cpu_coefficient\": ");
        sbh_json_number(out, cpu);
        more_number(out, "real_coefficient", real);
        fprintf(out, ",\n");
        text_field(out, "big_o", sbh_curve_name(row->curve));
        fprintf(out, "      \"time_unit\": \"%s\"", sbh_unit_name(unit));
    } else {
        fprintf(out, "      \"iterations\": %" PRId64, row->iterations);
        more_number(out, "real_time", real);
        more_number(out, "cpu_time", cpu);
        fprintf(out, ",\n      \"time_unit\": \"%s\"", sbh_unit_name(unit));
    }
}

static void print_row(FILE *out, const struct sbh_row *row)
{
    fprintf(out, "    {\n");
    print_identity(out, row);
    print_values(out, row);
    for (int i = 0; i < row->counters.count; i++)
        more_number(out, row->counters.item[i].name, row->counters.item[i].value);
    if (row->memory_iterations) {
        more_number(out, "allocs_per_iter",
                    (double)row->memory.allocs / (double)row->memory_iterations);
        more_integer(out, "max_bytes_used", row->memory.max_bytes_used);
        more_integer(out, "total_allocated_bytes", row->memory.total_allocated_bytes);
        more_integer(out, "net_heap_growth", row->memory.net_heap_growth);
    }
    if (row->label) {
        fprintf(out, ",\n      \"label\": ");
        sbh_json_text(out, row->label);
    }
    fprintf(out, "\n    }");
}

void sbh_json_rows(struct sbh_sink *s, const struct sbh_rows *rows)
{
    for (int64_t i = 0; i < rows->count; i++) {
        if (s->started)
            fprintf(s->out, ",\n");
        s->started = true;
        print_row(s->out, &rows->item[i]);
    }
}

void sbh_json_end(FILE *out)
{
    fprintf(out, "\n  ]\n}\n");
}
