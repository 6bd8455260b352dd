/* suite/cli/cmd_report.c - saemark report: draw a run again from its CSV files. */
#include "cli/args.h"
#include "core/error.h"
#include "report/report.h"

#include <stdio.h>

static int run(const cli_args *a, sae_err *err)
{
    SAE_TRY(sae_report_write(a->word[0], NULL, err));
    printf("%s/index.html\n", a->word[0]);
    return SAE_OK;
}

static const cli_option options[] = {{NULL, NULL, NULL}};

const cli_command cli_report = {
    .name = "report",
    .usage = "DIR",
    .summary = "Draw plots and index.html of a run again from its CSV files",
    .options = options,
    .min_words = 1,
    .max_words = 1,
    .run = run,
};
