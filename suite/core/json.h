/* suite/core/json.h - values of jansson that may be absent or not finite. */
#ifndef SAE_CORE_JSON_H
#define SAE_CORE_JSON_H

#include <jansson.h>

const char *sae_json_text(const json_t *object, const char *key); /* "" when it is no text */
json_t *sae_json_real(double v);                                  /* null when it is not finite */

#endif
