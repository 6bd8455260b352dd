/* suite/track/alert_parts.h - shared by the files that implement alert.h. */
#ifndef SAE_TRACK_ALERT_PARTS_H
#define SAE_TRACK_ALERT_PARTS_H

#include "track/history.h"

typedef struct sae_alert_new {
    const char *identity; /* the same thing is reported once */
    const char *kind, *branch, *title;
    int64_t machine, lo, hi; /* places of the commits: after lo, up to hi */
} sae_alert_new;

/* SAE_DONE: there was one of that identity. */
int sae_alert_open(sae_store *s, const sae_alert_new *a, int64_t now, int64_t *id, sae_err *err);

/* Series of the last but one night that the last one lacks. */
int sae_alert_missing(sae_store *s, const char *branch, int64_t now, int64_t *opened, sae_err *err);
/* Move open alerts by what their series did since. */
int sae_alert_follow(sae_store *s, const char *branch, int64_t now, sae_err *err);

#endif
