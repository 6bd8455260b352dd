/* suite/report/published.h - results that others published, as a folder that reports read.
 *
 * Known forms: result files of SAEBench (JSON, one SAE and evaluation each; some carry the SAE's
 * name as a key around the record), its release of January 2025 as a table of SAEs (CSV), and the
 * sweeps of the top-AFA paper (CSV). Fields of the core evaluation become saebench06.FIELD, those
 * of another saebench06.EVALUATION.FIELD. What was not computed (null, -1) is left out.
 */
#ifndef SAE_REPORT_PUBLISHED_H
#define SAE_REPORT_PUBLISHED_H

#include <sae/base.h>

typedef struct sae_published { /* one value; texts are valid during the call */
    const char *sae, *variant; /* names as published */
    const char *n;             /* dictionary size, "" when unknown */
    const char *model, *hook;  /* "" when unknown */
    const char *metric, *unit;
    double value;
} sae_published;

typedef int sae_published_put(void *arg, const sae_published *v, sae_err *err);

/* The values of a JSON text; name is that of the file, for messages. SAE_EFORMAT names the file and
 * the key. */
int sae_published_json(const char *name, const char *text, size_t bytes, sae_published_put *put,
                       void *arg, sae_err *err);
/* The values of a table; SAE_EFORMAT if its columns are none of the known ones. */
int sae_published_csv(const char *path, sae_published_put *put, void *arg, sae_err *err);

/* Write dir/metrics.csv and dir/saes.csv from files (.json, .csv) and folders of .json files. */
int sae_published_write(const char *const *path, int64_t count, const char *dir, int64_t *values,
                        sae_err *err);

#endif
