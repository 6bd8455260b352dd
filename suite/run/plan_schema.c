/* suite/run/plan_schema.c - the YAML schema of plans. */
#include "run/plan_schema.h"

#include "core/error.h"
#include "core/yaml.h"

#include <stdlib.h>
#include <string.h>

#define TEXT(key, flags, type)                                                                     \
    CYAML_FIELD_STRING_PTR(#key, CYAML_FLAG_POINTER | (flags), type, key, 0, CYAML_UNLIMITED)
#define SETTING(key) TEXT(key, CYAML_FLAG_OPTIONAL, sae_plan_entry)

static const cyaml_schema_field_t entry_fields[] = {
    TEXT(spec, 0, sae_plan_entry),
    SETTING(lr),
    SETTING(beta1),
    SETTING(beta2),
    SETTING(eps),
    SETTING(clip_norm),
    SETTING(weight_decay),
    SETTING(decay),
    SETTING(warmup),
    CYAML_FIELD_END,
};
static const cyaml_schema_value_t entry_value = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, sae_plan_entry, entry_fields),
};

static const cyaml_schema_field_t var_fields[] = {
    TEXT(name, 0, sae_plan_var),
    TEXT(value, CYAML_FLAG_OPTIONAL, sae_plan_var),
    TEXT(help, CYAML_FLAG_OPTIONAL, sae_plan_var),
    CYAML_FIELD_END,
};
static const cyaml_schema_value_t var_value = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, sae_plan_var, var_fields),
};

static const cyaml_schema_value_t text_value = {
    CYAML_VALUE_STRING(CYAML_FLAG_POINTER, char, 0, CYAML_UNLIMITED),
};

#define PLAN_TEXT(key, flags) TEXT(key, flags, sae_plan_text)
#define PLAN_LIST(key, flags, schema, min)                                                         \
    CYAML_FIELD_SEQUENCE_COUNT(#key, CYAML_FLAG_POINTER | (flags), sae_plan_text, key,             \
                               key##_count, &(schema), min, CYAML_UNLIMITED)

static const cyaml_schema_field_t plan_fields[] = {
    PLAN_TEXT(name, 0),
    PLAN_TEXT(title, CYAML_FLAG_OPTIONAL),
    PLAN_TEXT(dataset, 0),
    PLAN_TEXT(eval_dataset, CYAML_FLAG_OPTIONAL),
    PLAN_TEXT(norm, CYAML_FLAG_OPTIONAL),
    PLAN_TEXT(steps, 0),
    PLAN_TEXT(batch, 0),
    PLAN_TEXT(eval_rows, CYAML_FLAG_OPTIONAL),
    PLAN_TEXT(log_every, CYAML_FLAG_OPTIONAL),
    PLAN_TEXT(checkpoint_every, CYAML_FLAG_OPTIONAL),
    PLAN_TEXT(data_seed, CYAML_FLAG_OPTIONAL),
    PLAN_LIST(seeds, 0, text_value, 1),
    PLAN_LIST(saes, 0, entry_value, 1),
    PLAN_LIST(metrics, CYAML_FLAG_OPTIONAL, text_value, 0),
    PLAN_LIST(vars, CYAML_FLAG_OPTIONAL, var_value, 0),
    CYAML_FIELD_END,
};
static const cyaml_schema_value_t plan_value = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, sae_plan_text, plan_fields),
};

int sae_plan_from_yaml(sae_plan_text **t, const char *name, const char *text, size_t bytes,
                       sae_err *err)
{
    void *data;
    *t = NULL;
    SAE_TRY(sae_yaml_load(&data, name, text, bytes, &plan_value, err));
    *t = data;
    return SAE_OK;
}

void sae_plan_text_free(sae_plan_text **t)
{
    sae_yaml_free(*t, &plan_value);
    *t = NULL;
}

void sae_plan_drop_saes(sae_plan_text *t, unsigned keep)
{
    for (unsigned i = keep; i < t->saes_count; i++) {
        sae_plan_entry *e = &t->saes[i];
        char *const own[] = {e->spec,      e->lr,           e->beta1, e->beta2, e->eps,
                             e->clip_norm, e->weight_decay, e->decay, e->warmup};
        for (size_t k = 0; k < sizeof own / sizeof own[0]; k++)
            free(own[k]);
    }
    if (t->saes_count > keep)
        t->saes_count = keep;
}
