/* suite/track/quality_gate.h - did quality change between two builds? The same plan, seeds and
 * data, run by both: differences seed by seed, and the hash of every trained SAE. */
#ifndef SAE_TRACK_QUALITY_GATE_H
#define SAE_TRACK_QUALITY_GATE_H

#include "track/readings.h"
#include "track/store.h"
#include "track/verdict.h"

typedef struct sae_quality_row {
    const char *bench, *metric; /* of the base's batch */
    int64_t seeds;              /* common to both */
    double base, candidate;     /* means over the common seeds */
    double change;              /* mean over them: relative, or a difference of shares */
    double margin;
    int worst;                  /* direction in which it is worse: +1, -1, 0 either */
    int gated;
    enum sae_verdict verdict;   /* REGRESSION: worse, or changed where that is worse */
} sae_quality_row;

typedef struct sae_quality_result { /* close with sae_quality_close */
    sae_quality_row *row;
    int64_t rows;
    int status; /* SAE_GATE_* */
    sae_readings side[2];
} sae_quality_result;

/* Compare two run directories. with_hash: a trained SAE that differs in any bit is a finding.
 * alert: only its series, 0: all. SAE_EINVAL: they measured different data. */
int sae_quality_gate(const char *base, const char *candidate, int with_hash, int64_t alert,
                     sae_store *policies, sae_quality_result *out, sae_err *err);
void sae_quality_close(sae_quality_result *r);
json_t *sae_quality_json(const sae_quality_result *r);

#endif
