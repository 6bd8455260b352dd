/* suite/bench/harness/run.c - a run from flags to reports. */
#include "report.h"

#include <inttypes.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static bool color_terminal(void)
{
    static const char *const known[] = {
        "xterm", "xterm-color", "xterm-256color", "xterm-kitty", "screen", "screen-256color",
        "tmux", "tmux-256color", "rxvt-unicode", "rxvt-unicode-256color", "linux", "cygwin",
        "alacritty", "foot", "foot-extra", "wezterm",
    };
    const char *term = getenv("TERM");
    for (size_t i = 0; term && i < sizeof known / sizeof known[0]; i++)
        if (!strcmp(term, known[i]))
            return isatty(fileno(stdout));
    return false;
}

static bool misused(void)
{
    const struct sbh_registry *all = sbh_registered();
    const char *what = all->misuse;
    for (int i = 0; !what && i < all->count; i++)
        if (all->family[i]->arg_names && !all->family[i]->tuples) {
            fprintf(stderr, "%s: names of arguments, but no arguments\n", all->family[i]->name);
            return true;
        }
    if (what)
        fprintf(stderr, "%s\n", what);
    return what != NULL;
}

/* Of the longest name, and of the longest aggregate where there may be some. */
static int name_width(const struct sbh_instances *all)
{
    size_t width = 10, statistic = 0;
    bool aggregates = sbh_flags()->repetitions > 1;
    for (int64_t i = 0; i < all->count; i++) {
        const sae_bench *b = all->item[i].family;
        size_t length = strlen(all->item[i].name);
        width = length > width ? length : width;
        aggregates |= b->repetitions > 1;
        for (int k = 0; k < b->statistics; k++) {
            length = strlen(b->statistic[k].name);
            statistic = length > statistic ? length : statistic;
        }
    }
    return (int)(width + (aggregates ? 1 + statistic : 0));
}

static void choose_seed(struct sbh_flags *f)
{
    char text[32];
    if (!f->interleave)
        return;
    if (!*f->seed_text)
        f->seed = (uint64_t)time(NULL) * UINT64_C(1000003) + (uint64_t)getpid();
    snprintf(text, sizeof text, "%" PRIu64, f->seed);
    sae_bench_context("benchmark_seed", text);
}

static int run_found(struct sbh_pool *p, const struct sbh_instances *all, FILE *file, FILE *strict)
{
    struct sbh_flags *f = sbh_flags();
    struct sbh_report report = {.pool = p, .strict = strict};
    bool color = strcmp(f->color, "auto") ? sbh_truthy(f->color) : color_terminal();
    int width = name_width(all);
    choose_seed(f);
    report.display = (struct sbh_sink){.out = stdout, .err = stderr, .format = f->format,
                                       .color = color, .tabular = f->counters_tabular,
                                       .name_width = width};
    report.file = (struct sbh_sink){.out = file, .err = file, .format = f->out_format,
                                    .tabular = f->counters_tabular, .name_width = width};
    sbh_perf_open(f->perf_counters, stderr);
    sbh_report_begin(&report);
    int64_t errors = sbh_run_instances(p, all, &report);
    sbh_report_end(&report);
    sbh_perf_close();
    if (sbh_stopped())
        return 130;
    return errors && f->fail_on_error ? 3 : 0;
}

static int run_or_list(struct sbh_pool *p, FILE *file, FILE *strict)
{
    const struct sbh_flags *f = sbh_flags();
    struct sbh_instances all = {NULL, 0};
    if (!sbh_find(p, f->filter, &all, stderr))
        return f->fail_on_empty ? 3 : 0;
    if (all.count == 0) {
        bool any = !*f->filter || !strcmp(f->filter, "all");
        fprintf(stderr, "Failed to match any benchmarks against regex: %s\n",
                any ? "." : f->filter);
        return f->fail_on_empty ? 3 : 0;
    }
    if (f->list_tests) {
        sbh_report_list(&all, f->format, stdout);
        return 0;
    }
    return run_found(p, &all, file, strict);
}

static int run_all(void)
{
    const struct sbh_flags *f = sbh_flags();
    struct sbh_pool pool = {NULL};
    struct sbh_output file = {0}, strict = {0};
    int rc = 1;
    if (!misused() && sbh_output_open(&pool, f->out, &file) &&
        sbh_output_open(&pool, f->ci_out, &strict)) {
        rc = run_or_list(&pool, file.file, strict.file);
        fflush(stdout);
    }
    bool written = sbh_output_close(&file);
    written = sbh_output_close(&strict) && written;
    sbh_release(&pool);
    return written && !ferror(stdout) ? rc : 1;
}

/* Reports have points in numbers, whatever the program's language. */
int sae_bench_run(void)
{
    locale_t c = newlocale(LC_ALL_MASK, "C", (locale_t)0), before = uselocale(c);
    int rc = run_all();
    uselocale(before);
    if (c)
        freelocale(c);
    return rc;
}

int sae_bench_main(int argc, char **argv)
{
    int rc = sae_bench_init(&argc, argv);
    if (rc)
        return rc == 2 ? 0 : 1;
    if (sae_bench_unrecognized(argc, argv))
        return 1;
    return sae_bench_run();
}
