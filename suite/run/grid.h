/* suite/run/grid.h - a plan's SAEs x seeds as a list of jobs, cut into waves that fit in memory. */
#ifndef SAE_RUN_GRID_H
#define SAE_RUN_GRID_H

#include "core/registry.h"
#include "run/plan.h"

typedef struct sae_job { /* one SAE to train */
    char *spec;          /* text of the plan, {a,b} expanded */
    char *canonical;     /* its identity, with the seed */
    const sae_plan_sae *entry;
    uint64_t seed;
    size_t bytes; /* memory of its learner */
    int64_t wave; /* which pass over the stream trains it */
} sae_job;

typedef struct sae_grid {
    sae_job *job;
    int64_t count, waves;
} sae_grid;

/* Expand and validate every spec; sizes are resolved for activations of `dim`. */
int sae_grid_open(sae_grid *g, const sae_plan *p, const sae_registry *reg, const sae_dims *dim,
                  sae_err *err);
void sae_grid_close(sae_grid *g);
/* Cut into waves of at most `bytes` each; SAE_ENOMEM naming the SAE that does not fit alone. */
int sae_grid_waves(sae_grid *g, size_t bytes, sae_err *err);

#endif
