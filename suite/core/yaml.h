/* suite/core/yaml.h - YAML text against a schema, with errors that name file, line and key. */
#ifndef SAE_CORE_YAML_H
#define SAE_CORE_YAML_H

#include <cyaml/cyaml.h>
#include <sae/base.h>

/* Texts and lists of the result come from malloc(). SAE_EFORMAT with file, line and key for
 * anything outside the schema. */
int sae_yaml_load(void **out, const char *name, const char *text, size_t bytes,
                  const struct cyaml_schema_value *schema, sae_err *err);
void sae_yaml_free(void *data, const struct cyaml_schema_value *schema); /* NULL-safe */
/* Line (1-based) of the n-th "key:" of the text, n from 0; 0 when there is none. */
int sae_yaml_line_of(const char *text, size_t bytes, const char *key, int64_t n);

#endif
