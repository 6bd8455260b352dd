/* suite/eval/cell.h - one metric at work on one SAE, or on a pair of SAEs that read the same rows.
 */
#ifndef SAE_EVAL_CELL_H
#define SAE_EVAL_CELL_H

#include "eval/lane.h"

typedef struct sae_cell {
    const sae_evaluation *ev;
    const sae_metric *metric;
    const sae_lane *lane, *peer; /* peer: NULL unless the metric compares two */
    sae_peer other;              /* what r.peer points at */
    sae_measure r;
    uint32_t reads; /* SAE_MNEED_* that it is shown */
    void *state;
    int active; /* takes part in this pass */
    int64_t passes; /* that it is likely to take yet, this one among them; 0 unless active */
    int idle;   /* has seen enough of it */
} sae_cell;

/* What a metric may look at besides its SAEs. */
typedef struct sae_cell_view {
    uint32_t have; /* SAE_MNEED_* that this evaluation supplies */
    const sae_truth *truth;
    const sae_label *label;
    int64_t labels;
    int target; /* the SAEs reconstruct a separate target */
} sae_cell_view;

/* Everything but the state; the cell must not move afterwards. peer may be NULL. */
void sae_cell_init(sae_cell *c, const sae_evaluation *ev, const sae_spec *metric,
                   const sae_lane *lane, const sae_lane *peer, const sae_cell_view *v);
/* Whether the metric wants this pair; 1 without a peer. */
int sae_cell_wanted(const sae_cell *c);
int sae_cell_open(sae_cell *c, sae_err *err);
void sae_cell_close(sae_cell *c);
/* Show a batch, of which the metric sees what it declared and nothing else. */
int sae_cell_show(sae_cell *c, const sae_eval *all, sae_err *err);
/* Whether it wants the next batch. */
int sae_cell_live(const sae_cell *c);
/* Emit; afterwards `active` says whether the metric wants another pass. */
int sae_cell_end(sae_cell *c, sae_err *err);

#endif
