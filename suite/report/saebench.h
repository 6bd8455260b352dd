/* suite/report/saebench.h - results of metrics/saebench06.md in SAEBench's own JSON layout. */
#ifndef SAE_REPORT_SAEBENCH_H
#define SAE_REPORT_SAEBENCH_H

#include <sae/base.h>

typedef struct sae_saebench_field { /* one metric of the core evaluation */
    const char *category, *name, *unit;
    int whole; /* a whole number */
} sae_saebench_field;

/* In the order of SAEBench's schema; ends with name == NULL. */
extern const sae_saebench_field sae_saebench_fields[];

/* One file per SAE of a run, DIR/RELEASE_ID_eval_results.json, from its metrics.csv, saes.csv,
 * features.csv (fields of features, with saebench06:details=1) and run.json. release NULL: the
 * run's name. What was not measured is -1, as SAEBench writes it. */
int sae_saebench_write(const char *run_dir, const char *release, const char *dir, int64_t *files,
                       sae_err *err);

#endif
