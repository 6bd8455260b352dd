/* tests/support/backends.c - see backends.h. */
#include "support/backends.h"


#include <stdio.h>
#include <stdlib.h>

/* No test runs yet that could fail. */
static sae_registry *open_registry(void)
{
    sae_registry *reg = NULL;
    sae_err err = {0};
    if (sae_registry_open(&reg, &err) < 0) {
        fprintf(stderr, "%s\n", err.msg);
        exit(1);
    }
    return reg;
}

const sae_backend *test_backend(const sae_registry *reg, int i)
{
    const char *only = getenv("SAEMARK_CUDA");
    if (only && *only)
        return i == 0 ? sae_find_backend(reg, "cuda") : NULL;
    const sae_backend *const *all = sae_all_backends(reg);
    while (i > 0 && *all)
        i--, all++;
    return *all;
}

int test_backend_count(void)
{
    sae_registry *reg = open_registry();
    int count = 0;
    while (test_backend(reg, count))
        count++;
    sae_registry_close(&reg);
    return count;
}

int test_variant_count(void)
{
    sae_registry *reg = open_registry();
    int count = 0;
    while (sae_all_variants(reg)[count])
        count++;
    sae_registry_close(&reg);
    return count;
}
