/* suite/run/plan.h - a plan: which SAEs to train and measure on which activations.
 *
 * Plans are YAML, checked against a schema (libcyaml); an error names the line and the key.
 * Built-in plans live in suite/plans and are carried in the binary. `${name}` inside a value is
 * replaced by the plan's variable of that name, which --set can change; suite/plans/README.md
 * documents every key.
 */
#ifndef SAE_RUN_PLAN_H
#define SAE_RUN_PLAN_H

#include "train/learner.h"

typedef struct sae_plan_sae { /* specs ({a,b} alternatives expand) with their training settings */
    const char *spec;
    sae_train_config train;
} sae_plan_sae;

typedef struct sae_plan { /* texts belong to `text`, lists to the plan */
    const char *name, *title;
    const char *dataset, *eval_dataset; /* specs; eval_dataset NULL: the EVAL split of dataset */
    const char *norm;                   /* one of sae_norm_names */
    int64_t steps, batch;
    int64_t eval_rows;                  /* 0: all of a bounded split */
    int64_t log_every, checkpoint_every;
    int64_t data_seed;
    uint64_t *seeds;
    unsigned seeds_count;
    sae_plan_sae *saes;
    unsigned saes_count;
    char *const *metrics; /* specs; none: every metric the dataset can feed */
    unsigned metrics_count;
    struct sae_plan_text *text; /* as written (plan_schema.h) */
} sae_plan;

/* name: a built-in plan ("quickstart") or the path of a YAML file. sets: NULL-terminated
 * "key=value" strings that name a variable of the plan or a top-level key. */
int sae_plan_load(sae_plan **p, const char *name, const char *const *sets, sae_err *err);
/* The same from text; `name` appears in messages. For tests and fuzzing. */
int sae_plan_parse(sae_plan **p, const char *name, const char *text, size_t bytes,
                   const char *const *sets, sae_err *err);
void sae_plan_free(sae_plan **p);

#endif
