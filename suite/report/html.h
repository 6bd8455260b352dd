/* suite/report/html.h - index.html of a run: tables and figures, readable without a network. */
#ifndef SAE_REPORT_HTML_H
#define SAE_REPORT_HTML_H

#include "report/plot.h"

/* Write dir/index.html. plots_note: why there are no figures, NULL when they are there. */
int sae_html_write(const sae_report_data *d, const sae_sections *sections, const sae_figures *figs,
                   const char *plots_note, const char *dir, sae_err *err);

#endif
