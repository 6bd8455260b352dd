/* tests/support/backends.c - see backends.h.
 *
 * Counting happens before any test runs, in the process that forks them all: it must not wake CUDA,
 * which does not work behind a fork.
 */
#include "support/backends.h"

#include "core/list.h"

#include <check.h>
#include <stdlib.h>

static int only_cuda(void)
{
    const char *file = getenv("SAEMARK_CUDA");
    return file && *file;
}

const sae_backend *test_backend(const sae_registry *reg, int i)
{
    if (!only_cuda())
        return sae_list_backends[i] ? sae_find_backend(reg, sae_list_backends[i]->name) : NULL;
    const sae_backend *be = i == 0 ? sae_find_backend(reg, "cuda") : NULL;
    ck_assert_msg(i > 0 || (be && be->score() > 0), "SAEMARK_CUDA: it has no device to use here");
    return be;
}

int test_backend_count(void)
{
    int count = 0;
    while (!only_cuda() && sae_list_backends[count])
        count++;
    return only_cuda() ? 1 : count;
}

int test_variant_count(void)
{
    int count = 0;
    while (sae_list_variants[count])
        count++;
    return count;
}
