/* suite/eval/effort.h - what an evaluation has done and what is left of it, for its progress line.
 *
 * Work is counted in rows, once for every pass that they make: through the language model, through
 * an SAE and its metrics, through a pair's; and once more for what metrics compute at the end from
 * all rows. Every kind goes at a pace of its own, which gives the time left.
 */
#ifndef SAE_EVAL_EFFORT_H
#define SAE_EVAL_EFFORT_H

#include "core/log.h"

enum sae_effort_kind {
    SAE_EFFORT_SOURCE,   /* rows read, or a pass of the language model */
    SAE_EFFORT_SAE,      /* an SAE's codes and decoded rows, shown to its metrics */
    SAE_EFFORT_PAIR,     /* rows shown to a metric of pairs */
    SAE_EFFORT_END,      /* all metrics' `end` of an SAE */
    SAE_EFFORT_PAIR_END, /* a metric's `end` of a pair */
    SAE_EFFORT_KINDS
};

typedef struct sae_effort {
    double done[SAE_EFFORT_KINDS], left[SAE_EFFORT_KINDS]; /* rows */
    double seconds[SAE_EFFORT_KINDS];                    /* for what is done */
    double clock;                                      /* until then time is accounted for */
    sae_progress line;
} sae_effort;

/* The line says `label`. The caller fills `left`, and corrects it whenever it knows better. */
void sae_effort_open(sae_effort *w, const char *label);
/* The time since the last call went into so many rows of a kind. */
void sae_effort_did(sae_effort *w, enum sae_effort_kind kind, double rows);
double sae_effort_seconds_left(const sae_effort *w);
void sae_effort_close(sae_effort *w);

#endif
