/* suite/core/json.c - values of jansson that may be absent or not finite. */
#include "core/json.h"

#include <math.h>

const char *sae_json_text(const json_t *object, const char *key)
{
    const char *s = json_string_value(json_object_get(object, key));
    return s ? s : "";
}

json_t *sae_json_real(double v)
{
    return isfinite(v) ? json_real(v) : json_null();
}
