/* suite/cli/cmd_bench.c - saemark bench: time kernels, training, evaluation, models, files. */
#include "bench/cases/cases.h"
#include "cli/open.h"
#include "core/build.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

static int wants_help(int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h"))
            return 1;
    return 0;
}

/* The harness takes its flags; what it does not know stays and is told as it tells it. */
static int take(int *argc, char **argv, sae_err *err)
{
    static char program[] = "saemark bench"; /* in messages and in the context of reports */
    int unknown = 0;
    if (wants_help(*argc, argv)) {
        cli_help(&cli_bench);
        printf("\n");
        sae_bench_help();
        return SAE_DONE;
    }
    argv[0] = program;
    if (sae_bench_init(argc, argv))
        SAE_FAIL(err, SAE_EINVAL, "bench: a flag has a bad value");
    for (int i = 1; i < *argc; i++)
        if (!strncmp(argv[i], "--benchmark_", 12)) {
            char *one[] = {program, argv[i], NULL};
            unknown |= sae_bench_unrecognized(2, one);
        }
    if (unknown)
        SAE_FAIL(err, SAE_EINVAL, "bench: unknown flags (see saemark bench --help)");
    return SAE_OK;
}

/* What a reader of the report must know of the program and the machine. */
static void describe(const sae_engine *e)
{
    const sae_build_facts *f = sae_build();
    char threads[16];
    snprintf(threads, sizeof threads, "%d", e->props.threads);
    sae_bench_context("saemark", f->version);
    sae_bench_context("git", f->git);
    sae_bench_context("compiler", f->compiler);
    sae_bench_context("flags", f->flags);
    sae_bench_context("backend", e->be->name);
    sae_bench_context("processor", e->props.name);
    sae_bench_context("library", e->props.library);
    sae_bench_context("threads", threads);
}

static int bench(const cli_args *a, sae_registry *reg, sae_err *err)
{
    sae_engine e;
    SAE_TRY(cli_open_engine(a, reg, &e, err));
    sae_cases c = {.reg = reg, .e = &e};
    int rc = sae_cases_register(&c, err), status = 0;
    describe(&e);
    if (rc >= 0)
        status = sae_bench_run();
    sae_cases_close(&c);
    sae_engine_close(&e);
    SAE_TRY(rc);
    if (status == 130)
        SAE_FAIL(err, SAE_EINTR, "bench: interrupted; the reports hold what was measured");
    if (status)
        SAE_FAIL(err, SAE_EBACKEND, "bench: not everything was measured or written");
    return SAE_OK;
}

/* The reports are finished after the measurement that runs; a second signal does not wait. */
static void stop(int sig)
{
    sae_bench_stop();
    signal(sig, SIG_DFL);
}

static int run(const cli_args *a, sae_err *err)
{
    sae_registry *reg = NULL;
    signal(SIGINT, stop);
    signal(SIGTERM, stop);
    SAE_TRY(cli_open_registry(a, &reg, err));
    int rc = bench(a, reg, err);
    sae_registry_close(&reg);
    return rc;
}

static const cli_option options[] = {CLI_DEVICE, CLI_THREADS, CLI_PLUGIN, {NULL, NULL, NULL}};

const cli_command cli_bench = {
    .name = "bench",
    .usage = "[--benchmark_FLAG=VALUE]...",
    .summary = "Time kernels, training and evaluation steps, language models, files",
    .text =
        "Names, flags and reports are Google Benchmark's: --benchmark_filter=REGEX selects,\n"
        "--benchmark_list_tests lists, --benchmark_repetitions=9 --benchmark_out=FILE makes what\n"
        "compare.py and saemark track read. Everything takes an hour and up to 6 GiB; start with\n"
        "--benchmark_filter='d:768/n:16384'. Shares (of_sgemm, of_stream) are of the best product\n"
        "and the best copy measured in the same process.\n",
    .options = options,
    .min_words = 0,
    .max_words = 0,
    .take = take,
    .run = run,
};
