/* suite/cli/cmd_run.c - saemark run: carry out a plan. */
#include "cli/open.h"
#include "core/error.h"
#include "core/memory.h"
#include "run/run.h"

#include <stdio.h>

static int run_plan(const cli_args *a, const sae_registry *reg, sae_err *err)
{
    int64_t threads, seed;
    SAE_TRY(cli_int(a, "threads", 0, 1, 4096, &threads, err));
    SAE_TRY(cli_int(a, "seed", 0, 0, INT64_MAX, &seed, err));
    const char **sets = cli_all(a, "set");
    if (!sets)
        SAE_FAIL(err, SAE_ENOMEM, "out of memory for --set");
    sae_run_options o = {.plan = a->word[0],
                         .sets = sets,
                         .out = cli_get(a, "out"),
                         .device = cli_get(a, "device"),
                         .threads = (int)threads,
                         .has_seed = cli_has(a, "seed"),
                         .seed = (uint64_t)seed,
                         .resume = cli_has(a, "resume"),
                         .no_report = cli_has(a, "no-report"),
                         .command = a->line};
    char *dir = NULL;
    int rc = sae_run(&o, reg, &dir, err);
    if (rc >= 0)
        printf("%s/%s\n", dir, o.no_report ? "metrics.csv" : "index.html");
    sae_free(dir);
    sae_free(sets);
    return rc;
}

static int run(const cli_args *a, sae_err *err)
{
    sae_registry *reg = NULL;
    SAE_TRY(cli_open_registry(a, &reg, err));
    int rc = run_plan(a, reg, err);
    sae_registry_close(&reg);
    return rc;
}

static const cli_option options[] = {
    {"set", "KEY=VALUE", "set a variable or a top-level key of the plan; may be repeated"},
    {"out", "DIR", "run directory (default: runs/NAME)"},
    {"resume", NULL, "continue an interrupted run in its directory"},
    {"seed", "S", "train with this one seed instead of the plan's"},
    CLI_THREADS,
    CLI_DEVICE,
    {"no-report", NULL, "write the CSV files only"},
    CLI_PLUGIN,
    {NULL, NULL, NULL},
};

const cli_command cli_run = {
    .name = "run",
    .usage = "PLAN [options]",
    .summary = "Train and measure the SAEs of a plan, write CSV files and a report",
    .text = "PLAN is a built-in plan (saemark list plans) or a YAML file.\n"
            "The last line printed is the path of the report.\n"
            "--device cuda:0-3 trains on four devices, each of which takes a quarter of every\n"
            "batch; everything else happens on the first. --device cuda:0-3,divided lays SAEs\n"
            "over the memory of the four, for those that do not fit on one. cpu:0-1 does either\n"
            "with two halves of the processor's threads, for tests: it is no faster.\n",
    .options = options,
    .min_words = 1,
    .max_words = 1,
    .run = run,
};
