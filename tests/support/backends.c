/* tests/support/backends.c - see backends.h. */
#include "support/backends.h"

#include "core/registry.h"
#include "support/support.h"

int test_backend_count(void)
{
    sae_registry *reg = NULL;
    sae_err err = {0};
    int count = 0;
    ck_assert_ok(sae_registry_open(&reg, &err), err);
    while (sae_all_backends(reg)[count])
        count++;
    sae_registry_close(&reg);
    return count;
}
