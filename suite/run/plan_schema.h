/* suite/run/plan_schema.h - YAML text to a plan, through libcyaml's schema. */
#ifndef SAE_RUN_PLAN_SCHEMA_H
#define SAE_RUN_PLAN_SCHEMA_H

#include "run/plan.h"

/* SAE_EFORMAT with file, line and key for anything outside the schema. */
int sae_plan_from_yaml(sae_plan **p, const char *name, const char *text, size_t bytes,
                       sae_err *err);
/* Keep the first `keep` entries of p->saes. */
void sae_plan_drop_saes(sae_plan *p, unsigned keep);

#endif
