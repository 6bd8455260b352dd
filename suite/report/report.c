/* suite/report/report.c - redraw a run from its CSV files. */
#include "report/report.h"

#include "core/error.h"
#include "core/log.h"
#include "core/memory.h"
#include "report/html.h"

int sae_report_write(const char *run_dir, const sae_report_options *options, sae_err *err)
{
    int rc;
    sae_report_data d;
    sae_figures *figs = NULL;
    sae_err plots = {0}; /* without plots the tables are still written */
    SAE_TRY(sae_report_data_open(&d, run_dir, err));
    SAE_GOTO(sae_new(&figs, 1, sizeof *figs, "report.figures", err));
    SAE_GOTO(sae_figures_write(&d, run_dir, figs, err));
    int drawn = sae_figures_draw(figs, run_dir, options ? options->gnuplot : NULL, &plots);
    SAE_GOTO(sae_html_write(&d, figs, drawn < 0 ? plots.msg : NULL, run_dir, err));
    if (drawn == SAE_ENEEDS)
        sae_log(SAE_LOG_WARN, "report", "%s; index.html has the tables only", plots.msg);
    else if (drawn < 0)
        rc = SAE_SET(err, drawn, "%s; index.html has the tables only", plots.msg);
fail:
    sae_free(figs);
    sae_report_data_close(&d);
    return rc;
}
