/* suite/track/analyse.h - change points of every series, and the alerts they open. */
#ifndef SAE_TRACK_ANALYSE_H
#define SAE_TRACK_ANALYSE_H

#include "track/history.h"

typedef struct sae_analysis {
    int64_t series, found, retired, alerts; /* alerts: opened now */
} sae_analysis;

/* Examine the last SAE_DETECT_WINDOW nights of every series of a branch, bring change points and
 * alerts up to date. now: Unix seconds written into what is new. One transaction; the answer does
 * not depend on the order in which runs were imported. */
int sae_analyse(sae_store *s, const char *branch, int64_t now, sae_analysis *out, sae_err *err);

#endif
