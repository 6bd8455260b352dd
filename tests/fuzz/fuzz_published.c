/* tests/fuzz/fuzz_published.c - published results in JSON: whatever the bytes, finite values under
 * names that fit a metrics.csv, or one line of refusal. */
#include "report/published.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int check_value(void *arg, const sae_published *v, sae_err *err)
{
    (void)arg, (void)err;
    if (!isfinite(v->value) || !*v->sae || !*v->variant || strncmp(v->metric, "saebench06.", 11) ||
        !*v->unit || !v->n || !v->model || !v->hook)
        abort();
    return SAE_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    sae_err err = {0};
    int rc = sae_published_json("fuzz.json", (const char *)data, size, check_value, NULL, &err);
    if (rc < 0 && (!err.msg[0] || strchr(err.msg, '\n')))
        abort();
    return 0;
}
