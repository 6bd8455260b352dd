/* suite/track/history.h - one series over the commits of its branch, with its policy. */
#ifndef SAE_TRACK_HISTORY_H
#define SAE_TRACK_HISTORY_H

#include "track/store.h"

typedef struct sae_policy {
    double min_rel, p_max;
    int64_t min_seg;
    int gate;     /* a change is an alert */
    int absolute; /* min_rel is a difference */
} sae_policy;

typedef struct sae_night { /* one point */
    int64_t run, seq, at;  /* at: when it ran */
    double median, lo, hi; /* lo, hi: interval, NaN when unknown */
    char git[16];
    int hampel, was_hampel; /* as found now, as stored */
    int ignored;           /* by an annotation: drawn, not judged */
} sae_night;

typedef struct sae_history { /* close with sae_history_close */
    int64_t series, machine;
    char *name;        /* "BENCH:METRIC" */
    char *bench, *metric, *unit, *class, *branch, *host;
    int direction;
    int exact;         /* every change counts: hashes, counts without a margin */
    int by_seed;       /* quality: compared seed by seed */
    sae_policy policy;
    sae_night *night;  /* [count] in the order of the commits */
    int64_t count;
    int64_t base;      /* first night of the current baseline */
} sae_history;

int sae_history_open(sae_history *h, sae_store *s, int64_t series, sae_err *err);
void sae_history_close(sae_history *h);
/* Ids of the series of a branch by name; caller frees with sae_free. */
int sae_series_list(sae_store *s, const char *branch, int64_t **id, int64_t *count, sae_err *err);
/* Policy of a series by its name and class. */
int sae_policy_find(sae_store *s, const char *name, const char *class, sae_policy *p, sae_err *err);

#endif
