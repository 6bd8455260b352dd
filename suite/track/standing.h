/* suite/track/standing.h - how every series of a branch stands today, the worst first. */
#ifndef SAE_TRACK_STANDING_H
#define SAE_TRACK_STANDING_H

#include "track/history.h"

enum sae_state { SAE_STATE_QUALITY, SAE_STATE_SLOWER, SAE_STATE_GONE, SAE_STATE_INFRA,
                 SAE_STATE_CHANGED, SAE_STATE_BETTER, SAE_STATE_STEADY, SAE_STATE_YOUNG };
extern const char *const sae_state_name[]; /* by enum sae_state */

typedef struct sae_step { /* a level of the series */
    int64_t from;         /* first night, index in history.night */
    double level;
    int live;             /* a change point begins it; 0: the baseline does */
} sae_step;

typedef struct sae_standing {
    sae_history h;
    sae_step *step;  /* [steps] at least one when there are nights */
    int64_t steps;
    double baseline; /* level before the last change that is an open alert, else the level */
    double change;   /* of the last night against it */
    double p;        /* of the last change point, NaN when there is none */
    int64_t alert;   /* open alert, 0: none */
    enum sae_state state;
} sae_standing;

typedef struct sae_standings { /* close with sae_standings_close */
    sae_standing *s;
    int64_t count;
} sae_standings;

/* A series' name, BENCH:METRIC, without its middle when it has more than 80 characters. */
void sae_series_short(const char *name, char out[96]);

/* Series without a night (A/B runs only) are left out. */
int sae_standings_open(sae_standings *a, sae_store *s, const char *branch, sae_err *err);
void sae_standings_close(sae_standings *a);

#endif
