/* suite/track/report.h - the state of a branch for people and programs, from the store alone. */
#ifndef SAE_TRACK_REPORT_H
#define SAE_TRACK_REPORT_H

#include "report/plot.h"
#include "track/standing.h"

enum { SAE_TEXT_LINES = 40 };

/* Write DIR/report.csv, report.json, index.html and the figures of the worst series (plots/). The
 * files are the same for the same store. Without gnuplot: SAE_DONE, index.html says so. gnuplot:
 * program to run, NULL for the one on the PATH. */
int sae_track_report(const sae_standings *a, sae_store *s, const char *branch, const char *dir,
                     const char *gnuplot, sae_err *err);

/* Parts of it: the figures' data and scripts, and the page. */
int sae_track_figures(const sae_standings *a, const char *dir, sae_figures *out, sae_err *err);
int sae_track_page(const sae_standings *a, sae_store *s, const char *branch, const char *dir,
                   const sae_figures *figs, const char *note, sae_err *err);

/* At most SAE_TEXT_LINES lines for the log, the worst first; caller frees with sae_free. NULL: no
 * memory. */
char *sae_track_text(const sae_standings *a);

#endif
