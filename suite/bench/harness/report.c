/* suite/bench/harness/report.c - the report as a whole: files, context, who gets which rows. */
#include "report.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- files ----------------------------------------------------------------------------------- */

bool sbh_output_open(struct sbh_pool *p, const char *name, struct sbh_output *out)
{
    struct stat s;
    *out = (struct sbh_output){NULL, name, NULL};
    if (!*name)
        return true;
    if (stat(name, &s) || S_ISREG(s.st_mode)) /* never rename over a device */
        out->partial = sbh_print(p, "%s.partial", name);
    out->file = fopen(out->partial ? out->partial : name, "w");
    if (!out->file)
        fprintf(stderr, "invalid file name: '%s'\n", name);
    return out->file != NULL;
}

bool sbh_output_close(struct sbh_output *out)
{
    if (!out->file)
        return true;
    bool ok = fflush(out->file) == 0 && !ferror(out->file);
    if (ok && out->partial)
        ok = fsync(fileno(out->file)) == 0;
    ok = (fclose(out->file) == 0) && ok;
    out->file = NULL;
    if (ok && out->partial)
        ok = rename(out->partial, out->name) == 0;
    if (!ok)
        fprintf(stderr, "%s: %s\n", out->name, strerror(errno));
    return ok;
}

/* ---- context --------------------------------------------------------------------------------- */

static void print_context(FILE *err, const struct sbh_machine *m)
{
    int pairs;
    const struct sbh_pair *pair = sbh_custom_context(&pairs);
    fprintf(err, "%s\n", m->date);
    if (sbh_executable())
        fprintf(err, "Running %s\n", sbh_executable());
    fprintf(err, "Run on (%d X %g MHz CPU %s)\n", m->cpus, m->mhz, m->cpus > 1 ? "s" : "");
    if (m->caches)
        fprintf(err, "CPU Caches:\n");
    for (int i = 0; i < m->caches; i++) {
        fprintf(err, "  L%d %s %" PRId64 " KiB", m->cache[i].level, m->cache[i].type,
                m->cache[i].bytes / 1024);
        if (m->cache[i].sharing)
            fprintf(err, " (x%d)", m->cpus / m->cache[i].sharing);
        fprintf(err, "\n");
    }
    for (int i = 0; i < m->loads; i++)
        fprintf(err, "%s%.2f%s", i ? ", " : "Load Average: ", m->load[i],
                i == m->loads - 1 ? "\n" : "");
    for (int i = 0; i < pairs; i++)
        fprintf(err, "%s: %s\n", pair[i].key, pair[i].value);
    if (m->scaling == 1)
        fprintf(err, "***WARNING*** CPU scaling is enabled, the benchmark real time measurements "
                     "may be noisy and will incur extra overhead.\n");
    if (m->aslr == 1)
        fprintf(err, "***WARNING*** ASLR is enabled, the results may have unreproducible noise in "
                     "them.\n");
#ifndef __OPTIMIZE__
    fprintf(err, "***WARNING*** Library was built as DEBUG. Timings may be affected.\n");
#endif
}

/* ---- numbers for people ---------------------------------------------------------------------- */

void sbh_human(char text[32], double x, int flags)
{
    static const char big[] = "kMGTPEZY", small[] = "munpfazy";
    bool binary = flags & SAE_BENCH_BASE_1024;
    double base = binary ? 1024 : 1000, size = fabs(x);
    if (size > base - 1) {
        double scaled = size;
        for (int i = 0; big[i]; i++) {
            scaled /= base;
            if (scaled <= base - 1) {
                char prefix = binary && i == 0 ? 'K' : big[i];
                snprintf(text, 32, "%s%g%c%s", x < 0 ? "-" : "", scaled, prefix, binary ? "i" : "");
                return;
            }
        }
    } else if (size < 0.01) {
        double scaled = size;
        for (int i = 0; small[i]; i++) {
            scaled *= base;
            if (scaled >= 1) {
                snprintf(text, 32, "%s%g%c", x < 0 ? "-" : "", scaled, small[i]);
                return;
            }
        }
    }
    snprintf(text, 32, "%g", x);
}

/* ---- rows ------------------------------------------------------------------------------------ */

static void begin(struct sbh_sink *s, const struct sbh_machine *m)
{
    if (!s->out)
        return;
    if (s->format == SBH_JSON)
        sbh_json_context(s->out, m);
    else
        print_context(s->err, m);
    fflush(s->out);
}

void sbh_report_begin(struct sbh_report *r)
{
    sbh_look_at_machine(&r->machine);
    begin(&r->display, &r->machine);
    begin(&r->file, &r->machine);
}

static void rows(struct sbh_pool *p, struct sbh_sink *s, const struct sbh_rows *rows)
{
    if (rows->count == 0)
        return;
    if (s->format == SBH_JSON)
        sbh_json_rows(s, rows);
    else if (s->format == SBH_CSV)
        sbh_csv_rows(p, s, rows);
    else
        sbh_console_rows(p, s, rows);
    fflush(s->out);
}

void sbh_report_rows(struct sbh_report *r, const struct sbh_rows *runs,
                     const struct sbh_rows *aggregates, int mode)
{
    struct sbh_sink *const sink[] = {&r->display, &r->file};
    const int only[] = {SBH_DISPLAY_AGGREGATES, SBH_FILE_AGGREGATES};
    for (int i = 0; i < 2; i++) {
        if (!sink[i]->out)
            continue;
        if (!(mode & only[i]) || aggregates->count == 0)
            rows(r->pool, sink[i], runs);
        rows(r->pool, sink[i], aggregates);
    }
    for (int64_t i = 0; r->strict && i < runs->count; i++)
        *sbh_rows_add(r->pool, &r->all) = runs->item[i];
}

void sbh_report_end(struct sbh_report *r)
{
    if (r->display.format == SBH_JSON)
        sbh_json_end(r->display.out);
    if (r->file.out && r->file.format == SBH_JSON)
        sbh_json_end(r->file.out);
    if (r->strict)
        sbh_strict_export(r->pool, r->strict, &r->machine, &r->all);
}

void sbh_report_list(const struct sbh_instances *all, enum sbh_format format, FILE *out)
{
    if (format == SBH_JSON)
        fprintf(out, "{\n  \"benchmarks\": [");
    if (format == SBH_CSV)
        fprintf(out, "name\n");
    for (int64_t i = 0; i < all->count; i++) {
        const char *name = all->item[i].name;
        if (format == SBH_JSON) {
            fprintf(out, "%s\n    {\n      \"name\": ", i ? "," : "");
            sbh_json_text(out, name);
            fprintf(out, "\n    }");
        } else if (format == SBH_CSV) {
            sbh_csv_text(out, name);
            fprintf(out, "\n");
        } else {
            fprintf(out, "%s\n", name);
        }
    }
    if (format == SBH_JSON)
        fprintf(out, "\n  ]\n}\n");
}
