/* suite/run/plan_schema.h - YAML text to a plan, through libcyaml's schema. */
#ifndef SAE_RUN_PLAN_SCHEMA_H
#define SAE_RUN_PLAN_SCHEMA_H

#include "run/plan.h"

/* SAE_EFORMAT with file, line and key for anything outside the schema. */
int sae_plan_from_yaml(sae_plan **p, const char *name, const char *text, size_t bytes,
                       sae_err *err);
/* Line (1-based) of the n-th "key:" of the text, n from 0; 0 when there is none. */
int sae_plan_line_of(const char *text, size_t bytes, const char *key, int64_t n);
/* Keep the first `keep` entries of p->saes. */
void sae_plan_drop_saes(sae_plan *p, unsigned keep);

#endif
