/* suite/track/verdict.h - is a candidate slower than its base? Exact intervals of paired log ratios
 * against a margin, at several looks, for several benchmarks; the exit statuses of the gates.
 */
#ifndef SAE_TRACK_VERDICT_H
#define SAE_TRACK_VERDICT_H

#include "track/stats.h"

enum sae_verdict { SAE_VERDICT_EQUIVALENT, SAE_VERDICT_IMPROVEMENT, SAE_VERDICT_INCONCLUSIVE,
                   SAE_VERDICT_REGRESSION, SAE_VERDICT_INSUFFICIENT, SAE_VERDICT_MISSING };
extern const char *const sae_verdict_name[]; /* by enum sae_verdict */

typedef struct sae_compared {
    enum sae_verdict verdict;
    sae_interval log; /* of ln(candidate / base), above 0: worse */
    double p;         /* two-sided exact p of "not worse than the margin" */
} sae_compared;

/* d [pairs]: ln(candidate / base), above 0: worse. margin 0.02: 2 %. Fewer pairs than any interval
 * needs: INSUFFICIENT. */
sae_compared sae_compare_pairs(const double *d, int pairs, double margin, double alpha);

/* Holm's correction over the regressions of a family: those that do not hold become INCONCLUSIVE.
 * c [count], in any order. */
int sae_holm(sae_compared *c, int64_t count, double alpha, sae_err *err);

typedef struct sae_look {
    int pairs; /* in all, when this look is taken */
    double alpha;
} sae_look;

/* The levels add up to 0.01. */
extern const sae_look sae_looks[3];

/* Exit statuses of the gates, and which of two findings is reported. */
enum { SAE_GATE_OK = 0, SAE_GATE_FAILED = 1, SAE_GATE_SLOWER = 2, SAE_GATE_UNSURE = 3,
       SAE_GATE_QUARANTINE = 4, SAE_GATE_QUALITY = 5, SAE_GATE_MISSING = 6 };
int sae_gate_worse(int a, int b);

#endif
