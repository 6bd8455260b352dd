/* tests/fuzz/fuzz_plan.c - plan files: whatever the bytes, a plan or one line of refusal. */
#include "run/plan.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const sets[] = {"steps=3", NULL};
    sae_plan *p = NULL;
    sae_err err = {0};
    int rc = sae_plan_parse(&p, "fuzz.yaml", (const char *)data, size, sets, &err);
    if ((rc < 0) != (p == NULL) || (rc < 0 && (!err.msg[0] || strchr(err.msg, '\n'))))
        abort();
    sae_plan_free(&p);
    return 0;
}
