/* suite/track/gbench.c - reading the JSON that Google Benchmark and its relatives write.
 *
 * The library writes NaN and infinities as bare words, which JSON has not: they are put in quotes
 * before parsing. Rows without a time (complexity fits) and aggregates carry nothing new and are
 * left out. Times become nanoseconds.
 */
#include "track/readings.h"

#include "core/error.h"
#include "core/json.h"
#include "core/memory.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- bare words ------------------------------------------------------------------------------ */

static const char *const words[] = {"-Infinity", "Infinity", "-NaN", "NaN", "-nan", "nan", "-inf",
                                    "inf", NULL};

static size_t word_at(const char *s, size_t left)
{
    for (int i = 0; words[i]; i++) {
        size_t len = strlen(words[i]);
        if (len <= left && !memcmp(s, words[i], len))
            return len;
    }
    return 0;
}

/* The text with bare words in quotes; *bytes in and out. NULL: no memory. */
static char *quote_words(const char *s, size_t *bytes)
{
    char *out = *bytes < SIZE_MAX / 2 ? sae_alloc(2 * *bytes + 1) : NULL; /* "inf": 5 for 3 */
    size_t n = 0;
    int inside = 0;
    for (size_t i = 0; out && i < *bytes; i++) {
        size_t len = inside ? 0 : word_at(s + i, *bytes - i);
        if (len) {
            out[n++] = '"';
            memcpy(out + n, s + i, len);
            n += len;
            out[n++] = '"';
            i += len - 1;
            continue;
        }
        out[n++] = s[i];
        if (inside && s[i] == '\\' && i + 1 < *bytes)
            out[n++] = s[++i];
        else if (s[i] == '"')
            inside = !inside;
    }
    *bytes = n;
    return out;
}

/* A number, or one of the words. 0: neither. */
static int number(const json_t *j, double *out)
{
    const char *s = json_string_value(j);
    if (json_is_number(j)) {
        *out = json_number_value(j);
        return 1;
    }
    if (!s || !word_at(s, strlen(s)))
        return 0;
    *out = strpbrk(s, "aA") ? (double)NAN : *s == '-' ? -HUGE_VAL : HUGE_VAL;
    return 1;
}

/* ---- rows ------------------------------------------------------------------------------------ */

typedef struct reader {
    sae_readings *b;
    const char *name; /* of the file */
    size_t row;       /* from 0 */
    int64_t process;
    int per_thread;   /* times are divided by the number of threads */
    const char *workers; /* threads inside the program, "" when it does not say */
    json_t *seen;     /* run name -> rows so far */
    sae_err *err;
} reader;

static int bad_row(const reader *r, const char *what)
{
    SAE_FAIL(r->err, SAE_EFORMAT, "%s: benchmarks[%zu]: %s", r->name, r->row, what);
}

static int unit_of(const reader *r, const json_t *row, double *ns)
{
    static const struct {
        const char *name;
        double ns;
    } units[] = {{"ns", 1}, {"us", 1e3}, {"ms", 1e6}, {"s", 1e9}};
    const char *unit = sae_json_text(row, "time_unit");
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++)
        if (!strcmp(unit, units[i].name)) {
            *ns = units[i].ns;
            return SAE_OK;
        }
    SAE_FAIL(r->err, SAE_EFORMAT,
             "%s: benchmarks[%zu]: time_unit: expected ns, us, ms or s, found \"%.20s\"", r->name,
             r->row, unit);
}

static int add(const reader *r, const json_t *row, const char *metric, double value,
               sae_readings_sample s)
{
    const sae_trait *trait = sae_trait_of(metric);
    json_int_t threads = json_integer_value(json_object_get(row, "threads"));
    const char *bench = sae_json_text(row, "run_name");
    json_t *params = threads > 1 ? json_pack("{s:I}", "threads", threads) : json_object();
    if (*r->workers)
        json_object_set_new(params, "workers", json_string(r->workers));
    if (threads > 1 && r->per_thread)
        json_object_set_new(params, "time_per_thread", json_true());
    int rc = params ? sae_readings_find(r->b, *bench ? bench : sae_json_text(row, "name"), params,
                                        metric,
                                        trait->class == SAE_CLASS_TIME     ? "ns"
                                        : trait->class == SAE_CLASS_MEMORY ? "bytes"
                                                                           : "1",
                                        trait, &s.series, r->err)
                    : SAE_SET(r->err, SAE_ENOMEM, "%s: out of memory", r->name);
    json_decref(params);
    SAE_TRY(rc);
    if (s.status != SAE_SAMPLE_OK)
        return sae_readings_add(r->b, &s, r->err);
    return sae_readings_value(r->b, s, value, r->err);
}

/* Which repetition this is, counted by name: old writers do not say. */
static int repetition(const reader *r, const json_t *row, int64_t *rep)
{
    const char *name = sae_json_text(row, "name");
    json_int_t n = json_integer_value(json_object_get(r->seen, name));
    *rep = (int64_t)n;
    if (json_object_set_new(r->seen, name, json_integer(n + 1)))
        SAE_FAIL(r->err, SAE_ENOMEM, "%s: out of memory", r->name);
    return SAE_OK;
}

static int take_times(const reader *r, const json_t *row, sae_readings_sample s)
{
    static const char *const clocks[] = {"real_time", "cpu_time"};
    double ns = 1, t;
    SAE_TRY(unit_of(r, row, &ns));
    for (int i = 0; i < 2; i++) {
        const json_t *j = json_object_get(row, clocks[i]);
        if (!j && i == 1)
            return SAE_OK; /* minimal writers have one clock */
        if (!number(j, &t))
            return bad_row(r, i ? "cpu_time: expected a number" : "real_time: expected a number");
        SAE_TRY(add(r, row, clocks[i], t * ns, s));
    }
    return SAE_OK;
}

static int take_row(const reader *r, const json_t *row)
{
    sae_readings_sample s = {.process = r->process};
    if (!json_is_object(row))
        return bad_row(r, "expected an object");
    if (!*sae_json_text(row, "name"))
        return bad_row(r, "name: expected text");
    if (!strcmp(sae_json_text(row, "run_type"), "aggregate") || json_object_get(row, "big_o") ||
        json_object_get(row, "rms"))
        return SAE_OK;
    SAE_TRY(repetition(r, row, &s.rep));
    s.iterations = json_integer_value(json_object_get(row, "iterations"));
    int error = json_is_true(json_object_get(row, "error_occurred"));
    if (error || json_is_true(json_object_get(row, "skipped"))) {
        s.status = error ? SAE_SAMPLE_ERROR : SAE_SAMPLE_SKIPPED;
        return add(r, row, "real_time", 0, s);
    }
    SAE_TRY(take_times(r, row, s));
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)(uintptr_t)row, key, v) {
        const sae_trait *trait = sae_trait_of(key);
        double value;
        if (trait && (trait->class == SAE_CLASS_MEMORY || trait->class == SAE_CLASS_COUNT) &&
            number(v, &value))
            SAE_TRY(add(r, row, key, value, s));
    }
    return SAE_OK;
}

/* ---- context --------------------------------------------------------------------------------- */

static int64_t days_from_civil(int64_t y, int64_t m, int64_t d)
{
    y -= m <= 2;
    int64_t era = (y >= 0 ? y : y - 399) / 400, of_era = y - era * 400;
    int64_t of_year = (153 * (m + (m > 2 ? -3 : 9)) + 2) / 5 + d - 1;
    return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

int64_t sae_moment(const char *s)
{
    int y, mo, d, h, mi, sec, oh = 0, om = 0, used = 0;
    char sign = '+';
    if (sscanf(s, "%4d-%2d-%2dT%2d:%2d:%2d%n", &y, &mo, &d, &h, &mi, &sec, &used) != 6 ||
        mo < 1 || mo > 12 || d < 1 || d > 31)
        return 0;
    if (s[used] != 'Z' && sscanf(s + used, "%c%2d:%2d", &sign, &oh, &om) != 3)
        return 0;
    int64_t offset = (oh * 60 + om) * 60 * (sign == '-' ? -1 : 1);
    return days_from_civil(y, mo, d) * 86400 + h * 3600 + mi * 60 + sec - offset;
}

/* Before 1.9.0 times of threads were divided by their number; the key is from 1.8.4. */
static int divides_by_threads(const json_t *context)
{
    int major = 0, minor = 0;
    const char *s = sae_json_text(context, "library_version");
    return sscanf(s, "v%d.%d", &major, &minor) != 2 || major < 1 || (major == 1 && minor < 9);
}

/* Split the context: facts of the build by the keys of saemark bench, of the machine, the rest. */
static int take_context(sae_readings *b, const json_t *context, sae_err *err)
{
    static const char *const build[] = {"git", "compiler", "flags", "backend", "library", "saemark",
                                        "library_version", "library_build_type", NULL};
    static const char *const host[] = {"host_name", "num_cpus", "caches", "processor", NULL};
    const char *key;
    json_t *v;
    b->host = json_object();
    b->build = json_object();
    b->env = json_object();
    int lost = !b->host || !b->build || !b->env;
    json_object_foreach((json_t *)(uintptr_t)context, key, v) {
        json_t *into = b->env;
        for (int i = 0; build[i]; i++)
            into = strcmp(key, build[i]) ? into : b->build;
        for (int i = 0; host[i]; i++)
            into = strcmp(key, host[i]) ? into : b->host;
        lost |= json_object_set(into, key, v);
    }
    const char *data = sae_json_text(context, "dataset_hash");
    if (*data && !(b->data = sae_strdup(data)))
        lost = 1;
    b->when = sae_moment(sae_json_text(context, "date"));
    if (lost)
        SAE_FAIL(err, SAE_ENOMEM, "out of memory for a context");
    return SAE_OK;
}

/* Processes of one run must be of one build on one machine. */
static int check_context(const sae_readings *b, const char *name, const json_t *context,
                         sae_err *err)
{
    static const char *const keys[] = {"git", "compiler", "flags", "host_name"};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        const json_t *in = i == 3 ? b->host : b->build;
        const char *first = sae_json_text(in, keys[i]), *now = sae_json_text(context, keys[i]);
        if (strcmp(first, now))
            SAE_FAIL(err, SAE_EFORMAT,
                     "%s: %s \"%.60s\", but \"%.60s\" in the first file: the files of one import "
                     "are processes of one run", name, keys[i], now, first);
    }
    return SAE_OK;
}

static int take_document(reader *r, const json_t *root)
{
    const json_t *context = json_object_get(root, "context");
    const json_t *rows = json_object_get(root, "benchmarks");
    const json_t *schema = json_object_get(context, "json_schema_version");
    if (!json_is_object(root) || !json_is_array(rows))
        SAE_FAIL(r->err, SAE_EFORMAT,
                 "%s: expected Google Benchmark JSON: an object with an array \"benchmarks\"",
                 r->name);
    if (schema && json_integer_value(schema) != 1)
        SAE_FAIL(r->err, SAE_EFORMAT, "%s: json_schema_version: expected 1, found %lld", r->name,
                 (long long)json_integer_value(schema));
    if (!r->b->host)
        SAE_TRY(take_context(r->b, context, r->err));
    else
        SAE_TRY(check_context(r->b, r->name, context, r->err));
    r->per_thread = divides_by_threads(context);
    r->workers = sae_json_text(context, "threads");
    for (r->row = 0; r->row < json_array_size(rows); r->row++)
        SAE_TRY(take_row(r, json_array_get(rows, r->row)));
    return SAE_OK;
}

int sae_readings_gbench(sae_readings *b, const char *name, const char *text, size_t bytes,
                     int64_t process, sae_err *err)
{
    json_error_t e;
    reader r = {.b = b, .name = name, .process = process, .err = err};
    if (bytes == 0) /* as the harness leaves a report when its filter matches nothing */
        SAE_FAIL(err, SAE_EFORMAT, "%s: empty: no benchmark ran", name);
    char *strict = quote_words(text, &bytes);
    if (!strict)
        SAE_FAIL(err, SAE_ENOMEM, "%s: out of memory", name);
    json_t *root = json_loadb(strict, bytes, 0, &e);
    sae_free(strict);
    if (!root)
        SAE_FAIL(err, SAE_EFORMAT, "%s: line %d: %s", name, e.line, e.text);
    r.seen = json_object();
    int rc = r.seen ? take_document(&r, root) : SAE_SET(err, SAE_ENOMEM, "%s: out of memory", name);
    json_decref(r.seen);
    json_decref(root);
    return rc;
}
