/* suite/track/alert.h - what somebody should look at: opened by change points, moved
 * through states.
 *
 *   detected -> confirmed | triaged | invalid | expired     confirmed -> triaged | fixed | ...
 * README.md has the whole life-cycle. Every transition is an alert_event.
 */
#ifndef SAE_TRACK_ALERT_H
#define SAE_TRACK_ALERT_H

#include "track/store.h"

/* States in the order of the schema; the first four and "fixed" are open. */
extern const char *const sae_alert_states[];

/* A change point that moved by a few nights stays in the alert of its former self. */
int sae_alert_inherit(sae_store *s, int64_t changepoint, sae_err *err);

/* Open alerts for new change points of a branch (grouped when their commits overlap and their
 * names are of one family) and for benchmarks that disappeared, and move those whose series went
 * back, stayed away or were fixed. Inside a transaction. *opened: new alerts. */
int sae_alert_update(sae_store *s, const char *branch, int64_t now, int64_t *opened, sae_err *err);

/* The state of an alert. SAE_EINVAL: there is none of that number. */
int sae_alert_state(sae_store *s, int64_t alert, char state[16], sae_err *err);

/* Move an alert to another state. SAE_EINVAL: no such alert, not a step of the life-cycle, or no
 * note where one is needed (acknowledged, wontfix, invalid, fixed). Acknowledging begins a new
 * baseline for its series. */
int sae_alert_move(sae_store *s, int64_t alert, const char *state, const char *actor,
                   const char *note, int64_t now, sae_err *err);

/* Its benchmarks as a regular expression; caller frees with sae_free. SAE_EINVAL: no such alert, or
 * it is not about series (a benchmark is missing). */
int sae_alert_filter(sae_store *s, int64_t alert, char **regex, sae_err *err);
/* Is it about this series? Either clock stands for times. */
int sae_alert_has(sae_store *s, int64_t alert, const char *bench, const char *metric, int *yes,
                  sae_err *err);

typedef struct sae_alert_answer { /* of an A/B comparison, for one series */
    const char *bench, *metric;
    double ratio, lo, hi; /* candidate to base, with its interval */
    int confirmed;        /* 1 yes, 0 refuted, -1 undecided */
} sae_alert_answer;

/* Note an answer in its item of the alert; it may have none. */
int sae_alert_measured(sae_store *s, int64_t alert, const sae_alert_answer *a, sae_err *err);
/* Move a detected alert by the answers of its items: confirmed when any is, invalid when all are
 * refuted, expired after the third comparison that could not tell. */
int sae_alert_judge(sae_store *s, int64_t alert, int64_t now, sae_err *err);

/* The answer of a bisection: the change came after commit `lo` and up to `hi` (places of its
 * branch); owner: who made it, NULL: not known. SAE_EINVAL: not inside of what was known. */
int sae_alert_narrow(sae_store *s, int64_t alert, int64_t lo, int64_t hi, const char *owner,
                     const char *actor, int64_t now, sae_err *err);

#endif
