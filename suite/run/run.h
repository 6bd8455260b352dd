/* suite/run/run.h - carry out a plan: train its SAEs, measure them, write the run's files.
 *
 * Files of a run directory (reports/SCHEMA.md has the columns):
 *   run.json       what was run, with what, where; written last
 *   saes.csv       one row per SAE     metrics.csv  one row per (SAE, metric)
 *   loss.csv       training curves     features.csv per-feature and histogram series
 *   saes/ID/       the trained SAEs (SAELens layout)
 *   state/         checkpoints and finished waves while the run is going on
 *   plots/, index.html  drawn from the CSV files
 * Every file appears under its name only when complete. The CSV files do not depend on the number
 * of threads, nor on interruptions.
 */
#ifndef SAE_RUN_RUN_H
#define SAE_RUN_RUN_H

#include "core/registry.h"

typedef struct sae_run_options {
    const char *plan;        /* built-in name or path */
    const char *const *sets; /* NULL-terminated key=value, or NULL */
    const char *out;         /* directory; NULL: runs/NAME */
    const char *device;      /* backend name; NULL: the best usable one */
    int threads;             /* <= 0: all */
    int has_seed;            /* 1: `seed` replaces the plan's seeds */
    uint64_t seed;
    int resume; /* continue in an existing directory */
    int no_report;
    const char *command; /* the command line, for run.json */
} sae_run_options;

/* *dir (caller frees with sae_free) is the directory written to, also after a failure. */
int sae_run(const sae_run_options *o, const sae_registry *reg, char **dir, sae_err *err);

#endif
