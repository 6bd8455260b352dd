/* suite/cli/cmd_report.c - saemark report: draw a run again from its CSV files. */
#include "cli/args.h"
#include "core/error.h"
#include "core/memory.h"
#include "report/report.h"

#include <stdio.h>

static int run(const cli_args *a, sae_err *err)
{
    const char **beside = cli_all(a, "beside"), **compare = cli_all(a, "compare");
    sae_report_options o = {.beside = beside, .compare = compare};
    int rc = beside && compare ? sae_report_write(a->word[0], &o, err)
                               : SAE_SET(err, SAE_ENOMEM, "out of memory");
    if (rc >= 0)
        printf("%s/%s\n", a->word[0], compare[0] ? "compare.html" : "index.html");
    sae_free(beside);
    sae_free(compare);
    return rc;
}

static const cli_option options[] = {
    {"beside", "DIR", "draw the SAEs of another run, or published ones (see convert), beside "
                      "its own; may be repeated"},
    {"compare", "SAE", "an SAE by its spec or id; two or more: compare.html, with intervals of "
                       "the differences from the first"},
    {NULL, NULL, NULL},
};

const cli_command cli_report = {
    .name = "report",
    .usage = "DIR [options]",
    .summary = "Draw plots and index.html of a run again from its CSV files",
    .options = options,
    .min_words = 1,
    .max_words = 1,
    .run = run,
};
