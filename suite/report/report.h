/* suite/report/report.h - plots and index.html of a run, from its CSV files alone. */
#ifndef SAE_REPORT_REPORT_H
#define SAE_REPORT_REPORT_H

#include <sae/base.h>

typedef struct sae_report_options {
    const char *gnuplot;       /* program to run; NULL: "gnuplot" on the PATH */
    const char *const *beside; /* NULL-terminated folders, or NULL: runs, and published results as
                                  published.h writes them, whose SAEs are drawn beside the run's */
    const char *const *compare; /* NULL-terminated SAEs by spec or id, or NULL: compare.html too */
} sae_report_options;

/* Read metrics.csv and, where they exist, saes.csv, loss.csv, features.csv and run.json of a run
 * directory (reports/SCHEMA.md has the columns); write plots/NAME.svg, plots/NAME.png with their
 * data and scripts in plots/data/, and index.html. options may be NULL.
 *
 * SAE_EFORMAT names the file and column. Without gnuplot the tables are written, index.html says
 * why there are no plots, and a warning is logged. When gnuplot fails the tables are written too,
 * and the answer is SAE_EBACKEND with gnuplot's first message. */
int sae_report_write(const char *run_dir, const sae_report_options *options, sae_err *err);

#endif
