/* suite/bench/harness/flags.c - --benchmark_* flags and BENCHMARK_* variables. */
#include "harness.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum kind { BOOL, INT, REAL, TEXT };

static struct sbh_flags flags;
static bool environment_read;
static const char *executable;

static const struct flag {
    const char *name;
    enum kind kind;
    size_t offset;
    const char *def; /* of texts */
    const char *values, *help;
} table[] = {
#define AT(field) offsetof(struct sbh_flags, field)
    {"benchmark_list_tests", BOOL, AT(list_tests), 0, "{true|false}", "print names, run nothing"},
    {"benchmark_filter", TEXT, AT(filter), "", "<regex>",
     "run names that match; -<regex>: that do not"},
    {"benchmark_min_time", TEXT, AT(min_time), "0.5s", "<integer>x or <float>s",
     "iterations, or seconds, of each"},
    {"benchmark_min_warmup_time", REAL, AT(min_warmup_time), 0, "<seconds>",
     "run so long before it counts"},
    {"benchmark_repetitions", INT, AT(repetitions), 0, "<number>",
     "of benchmarks that set none (1)"},
    {"benchmark_dry_run", BOOL, AT(dry_run), 0, "{true|false}", "one iteration of each"},
    {"benchmark_enable_random_interleaving", BOOL, AT(interleave), 0, "{true|false}",
     "repetitions of all benchmarks in random order"},
    {"benchmark_seed", TEXT, AT(seed_text), "", "<number>",
     "of that order; in the context of the report"},
    {"benchmark_report_aggregates_only", BOOL, AT(report_aggregates_only), 0, "{true|false}",
     "no rows of single repetitions"},
    {"benchmark_display_aggregates_only", BOOL, AT(display_aggregates_only), 0, "{true|false}",
     "the same, but all in the file"},
    {"benchmark_format", TEXT, AT(format_name), "console", "<console|json|csv>",
     "of standard output"},
    {"benchmark_out", TEXT, AT(out), "", "<file>", "a second report"},
    {"benchmark_out_format", TEXT, AT(out_format_name), "json", "<json|console|csv>", "its format"},
    {"benchmark_ci_out", TEXT, AT(ci_out), "", "<file>",
     "strict JSON: one row of medians per benchmark"},
    {"benchmark_color", TEXT, AT(color), "auto", "{auto|true|false}", "colours of the console"},
    {"benchmark_counters_tabular", BOOL, AT(counters_tabular), 0, "{true|false}",
     "counters in columns"},
    {"benchmark_perf_counters", TEXT, AT(perf_counters), "", "<counter>,...",
     "hardware counters, by libpfm's names"},
    {"benchmark_context", TEXT, AT(context), "", "<key>=<value>,...",
     "lines of the context of the report"},
    {"benchmark_time_unit", TEXT, AT(time_unit), "", "{ns|us|ms|s}",
     "of benchmarks that set none (ns)"},
    {"benchmark_fail_on_error", BOOL, AT(fail_on_error), 0, "{true|false}",
     "exit status 3 after an error"},
    {"benchmark_fail_on_empty", BOOL, AT(fail_on_empty), 0, "{true|false}",
     "exit status 3 when nothing runs"},
    {"v", INT, AT(verbosity), 0, "<level>", "log of what the runner does, up to 3"},
#undef AT
};
enum { FLAGS = sizeof table / sizeof table[0] };

/* ---- values ---------------------------------------------------------------------------------- */

bool sbh_truthy(const char *value)
{
    static const char *const no[] = {"false", "no", "off"};
    char lower[6] = "";
    size_t length = strlen(value);
    if (length == 1)
        return isalnum((unsigned char)*value) && !strchr("0fFnN", *value);
    for (size_t i = 0; length < sizeof lower && i < length; i++)
        lower[i] = (char)tolower((unsigned char)value[i]);
    for (size_t i = 0; i < sizeof no / sizeof no[0]; i++)
        if (!strcmp(lower, no[i]))
            return false;
    return true;
}

static bool set_int(int *to, const char *source, const char *value)
{
    char *end;
    errno = 0;
    long x = strtol(value, &end, 10);
    bool fits = !errno && x >= INT32_MIN && x <= INT32_MAX;
    if (*end || !fits) {
        fprintf(stderr, "%s is expected to be a 32-bit integer, but actually has value \"%s\"%s.\n",
                source, value, *end ? "" : ", which overflows");
        return false;
    }
    *to = (int)x;
    return true;
}

static bool set_real(double *to, const char *source, const char *value)
{
    char *end;
    double x = strtod(value, &end);
    if (*end) {
        fprintf(stderr, "%s is expected to be a double, but actually has value \"%s\".\n", source,
                value);
        return false;
    }
    *to = x;
    return true;
}

/* `source` names the flag or variable in messages. */
static bool set(const struct flag *f, const char *source, const char *value)
{
    void *to = (char *)&flags + f->offset;
    switch (f->kind) {
    case BOOL:
        *(bool *)to = sbh_truthy(value);
        return true;
    case INT:
        return set_int(to, source, value);
    case REAL:
        return set_real(to, source, value);
    default:
        *(const char **)to = value;
        return true;
    }
}

static void read_environment(void)
{
    environment_read = true;
    flags.repetitions = 1;
    for (int i = 0; i < FLAGS; i++) {
        char name[64], source[96];
        size_t n = 0;
        for (const char *c = table[i].name; *c; c++)
            name[n++] = (char)toupper((unsigned char)*c);
        name[n] = 0;
        const char *value = getenv(name);
        if (table[i].kind == TEXT)
            set(&table[i], "", table[i].def);
        snprintf(source, sizeof source, "Environment variable %s", name);
        if (value)
            set(&table[i], source, value); /* a bad value leaves the default, as is said */
    }
}

/* ---- texts that mean more -------------------------------------------------------------------- */

static bool bad(const char *flag, const char *value, const char *expected)
{
    fprintf(stderr, "%s: error: --%s=%s: expected %s\n", executable ? executable : "benchmark",
            flag, value, expected);
    return false;
}

static bool parse_format(const char *flag, const char *value, enum sbh_format *out)
{
    static const char *const name[] = {"console", "json", "csv"};
    for (int i = 0; i < 3; i++)
        if (!strcmp(value, name[i])) {
            *out = (enum sbh_format)i;
            return true;
        }
    return bad(flag, value, "console, json or csv");
}

static bool parse_min_time(const char *value)
{
    size_t length = strlen(value);
    char last = length ? value[length - 1] : 0, *end;
    flags.min_iterations = 0;
    errno = 0;
    if (last == 'x') {
        long long n = strtoll(value, &end, 10);
        flags.min_seconds = SBH_DEFAULT_MIN_TIME;
        flags.min_iterations = n;
        return (!errno && end == value + length - 1 && end > value && n > 0) ||
               bad("benchmark_min_time", value, "<integer>x with an integer above 0");
    }
    flags.min_seconds = strtod(value, &end);
    if (errno || end == value || end != value + length - (last == 's') || !(flags.min_seconds >= 0))
        return bad("benchmark_min_time", value, "<integer>x or <float>s");
    if (last != 's')
        fprintf(stderr, "Value passed to --benchmark_min_time should have a suffix. Eg., `30s` for "
                        "30-seconds.\n");
    return true;
}

static bool parse_unit(const char *value)
{
    for (int u = SAE_BENCH_NS; u <= SAE_BENCH_S; u++)
        if (!strcmp(value, sbh_unit_name((enum sae_bench_unit)u))) {
            flags.unit = (enum sae_bench_unit)u;
            return true;
        }
    return !*value || bad("benchmark_time_unit", value, "ns, us, ms or s");
}

static bool parse_seed(const char *value)
{
    char *end;
    errno = 0;
    flags.seed = strtoull(value, &end, 10);
    return (!errno && !*end && *value != '-') || bad("benchmark_seed", value, "a number");
}

/* k=v,k=v: every pair whole, every key once. */
static bool parse_context(const char *text)
{
    struct sbh_pool *p = &sbh_registered()->pool;
    while (*text) {
        size_t length = strcspn(text, ",");
        char *key = sbh_print(p, "%.*s", (int)length, text), *value = strchr(key, '=');
        if (!value || strchr(value + 1, '='))
            return bad("benchmark_context", flags.context, "<key>=<value>,<key>=<value>,...");
        *value = 0;
        sae_bench_context(key, value + 1);
        text += length + (text[length] == ',');
    }
    return true;
}

static bool interpret(void)
{
    if (!parse_format("benchmark_format", flags.format_name, &flags.format) ||
        !parse_format("benchmark_out_format", flags.out_format_name, &flags.out_format) ||
        !parse_min_time(flags.min_time) || !parse_unit(flags.time_unit) ||
        !parse_seed(flags.seed_text))
        return false;
    if (!*flags.color)
        return bad("benchmark_color", "", "auto, true or false");
    if (flags.repetitions < 1)
        return bad("benchmark_repetitions", "below 1", "a number above 0");
    if (flags.dry_run)
        sae_bench_context("dry_run", "true");
    return parse_context(flags.context);
}

/* ---- the command line ------------------------------------------------------------------------ */

/* 1 and the flag's value taken, 0 not this flag or a bad value, which then stays in argv. */
static bool take(const struct flag *f, const char *arg)
{
    char source[96];
    size_t length = strlen(f->name);
    if (strncmp(arg, "--", 2) || strncmp(arg + 2, f->name, length))
        return false;
    arg += 2 + length;
    if (*arg != '=' && (*arg || f->kind != BOOL))
        return false;
    snprintf(source, sizeof source, "The value of flag --%s", f->name);
    return set(f, source, arg + (*arg == '='));
}

int sae_bench_init(int *argc, char **argv)
{
    int kept = 1;
    executable = *argc > 0 ? argv[0] : "unknown";
    if (!environment_read)
        read_environment();
    for (int i = 1; i < *argc; i++) {
        bool taken = false;
        for (int f = 0; f < FLAGS && !taken; f++)
            taken = take(&table[f], argv[i]);
        if (!taken && !strcmp(argv[i], "--help")) {
            printf("usage: %s [--FLAG=VALUE]...\n", executable);
            sae_bench_help();
            return 2;
        }
        if (!taken)
            argv[kept++] = argv[i];
    }
    if (*argc > kept) {
        *argc = kept;
        argv[kept] = NULL;
    }
    return interpret() ? 0 : 1;
}

struct sbh_flags *sbh_flags(void)
{
    if (!environment_read) {
        read_environment();
        interpret(); /* what is wrong is said; the run goes on with what was read */
    }
    return &flags;
}

int sae_bench_unrecognized(int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        fprintf(stderr, "%s: error: unrecognized command-line flag: %s\n", argv[0], argv[i]);
    return argc > 1;
}

const char *sbh_executable(void)
{
    return executable;
}

void sae_bench_help(void)
{
    for (int i = 0; i < FLAGS; i++) {
        char flag[80];
        snprintf(flag, sizeof flag, "--%s=%s", table[i].name, table[i].values);
        printf("  %-58s %s\n", flag, table[i].help);
    }
}

/* ---- custom context -------------------------------------------------------------------------- */

static struct sbh_pair *pairs;
static int pair_count;

const struct sbh_pair *sbh_custom_context(int *count)
{
    *count = pair_count;
    return pairs;
}

void sae_bench_context(const char *key, const char *value)
{
    static struct sbh_pool pool; /* outlives sae_bench_clear */
    int at = 0;
    while (at < pair_count && strcmp(pairs[at].key, key) < 0)
        at++;
    if (at < pair_count && !strcmp(pairs[at].key, key)) {
        fprintf(stderr, "Failed to add custom context \"%s\" as it already exists with value "
                        "\"%s\"\n", key, pairs[at].value);
        return;
    }
    pairs = sbh_grow(&pool, pairs, pair_count, sizeof *pairs);
    memmove(pairs + at + 1, pairs + at, (size_t)(pair_count - at) * sizeof *pairs);
    pairs[at] = (struct sbh_pair){sbh_print(&pool, "%s", key), sbh_print(&pool, "%s", value)};
    pair_count++;
}
