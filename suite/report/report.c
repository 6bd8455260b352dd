/* suite/report/report.c - redraw a run from its CSV files. */
#include "report/report.h"

#include "core/error.h"
#include "core/log.h"
#include "core/memory.h"
#include "report/breakdown.h"
#include "report/compare.h"
#include "report/html.h"

static void close_beside(sae_report_data *d)
{
    for (int64_t i = 0; i < d->besides; i++)
        sae_report_data_close(&d->beside[i]);
    sae_free(d->beside);
    d->beside = NULL;
    d->besides = 0;
}

static int open_beside(sae_report_data *d, const char *const *dir, sae_err *err)
{
    int64_t count = 0;
    while (dir && dir[count])
        count++;
    SAE_TRY(sae_new(&d->beside, count, sizeof *d->beside, "report.beside", err));
    for (int64_t i = 0; i < count; i++, d->besides++)
        SAE_TRY(sae_report_data_open(&d->beside[i], dir[i], 1, err));
    return SAE_OK;
}

int sae_report_write(const char *run_dir, const sae_report_options *options, sae_err *err)
{
    int rc;
    sae_report_data d;
    sae_figures *figs = NULL;
    sae_sections sections = {0};
    sae_err plots = {0}; /* without plots the tables are still written */
    SAE_TRY(sae_report_data_open(&d, run_dir, 0, err));
    SAE_GOTO(open_beside(&d, options ? options->beside : NULL, err));
    SAE_GOTO(sae_sections_open(&sections, err));
    SAE_GOTO(sae_new(&figs, 1, sizeof *figs, "report.figures", err));
    SAE_GOTO(sae_figures_write(&d, &sections, run_dir, figs, err));
    SAE_GOTO(sae_breakdown_write(&d, run_dir, err));
    if (options && options->compare && options->compare[0])
        SAE_GOTO(sae_compare_write(&d, options->compare, run_dir, err));
    int drawn = sae_figures_draw(figs, run_dir, options ? options->gnuplot : NULL, &plots);
    SAE_GOTO(sae_html_write(&d, &sections, figs, drawn < 0 ? plots.msg : NULL, run_dir, err));
    if (drawn == SAE_ENEEDS)
        sae_log(SAE_LOG_WARN, "report", "%s; index.html has the tables only", plots.msg);
    else if (drawn < 0)
        rc = SAE_SET(err, drawn, "%s; index.html has the tables only", plots.msg);
fail:
    sae_free(figs);
    sae_sections_close(&sections);
    close_beside(&d);
    sae_report_data_close(&d);
    return rc;
}
