/* suite/cli/cmd_report.c - saemark report: draw a run again from its CSV files. */
#include "cli/args.h"
#include "core/error.h"
#include "core/memory.h"
#include "report/report.h"

#include <stdio.h>

static int run(const cli_args *a, sae_err *err)
{
    sae_report_options o = {.beside = cli_all(a, "beside")};
    if (!o.beside)
        SAE_FAIL(err, SAE_ENOMEM, "out of memory");
    int rc = sae_report_write(a->word[0], &o, err);
    sae_free((void *)o.beside);
    if (rc >= 0)
        printf("%s/index.html\n", a->word[0]);
    return rc;
}

static const cli_option options[] = {
    {"beside", "DIR", "draw the SAEs of another run, or published ones (see convert), beside "
                      "its own; may be repeated"},
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
