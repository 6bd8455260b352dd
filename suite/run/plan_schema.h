/* suite/run/plan_schema.h - YAML text to the texts of a plan, through libcyaml's schema.
 *
 * Every scalar is a text here: `${name}` may stand for any of them, and numbers are read after it
 * was replaced. Texts and lists come from malloc(), NULL where the plan has none.
 */
#ifndef SAE_RUN_PLAN_SCHEMA_H
#define SAE_RUN_PLAN_SCHEMA_H

#include <sae/base.h>

typedef struct sae_plan_var { /* a value the user is expected to set */
    char *name, *value, *help; /* value NULL: required */
} sae_plan_var;

typedef struct sae_plan_entry {
    char *spec;
    char *lr, *beta1, *beta2, *eps, *clip_norm, *weight_decay, *decay, *warmup;
} sae_plan_entry;

typedef struct sae_plan_text {
    char *name, *title, *dataset, *eval_dataset, *norm;
    char *steps, *batch, *eval_rows, *log_every, *checkpoint_every, *data_seed;
    char **seeds;
    unsigned seeds_count;
    sae_plan_entry *saes;
    unsigned saes_count;
    char **metrics;
    unsigned metrics_count;
    sae_plan_var *vars;
    unsigned vars_count;
} sae_plan_text;

/* SAE_EFORMAT with file, line and key for anything outside the schema. */
int sae_plan_from_yaml(sae_plan_text **t, const char *name, const char *text, size_t bytes,
                       sae_err *err);
void sae_plan_text_free(sae_plan_text **t);
/* Keep the first `keep` entries of t->saes. */
void sae_plan_drop_saes(sae_plan_text *t, unsigned keep);

#endif
