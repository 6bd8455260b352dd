/* tests/support/backends.h - which backends and how many variants there are: loop tests want to
 * know before any of them runs. */
#ifndef SAE_TESTS_BACKENDS_H
#define SAE_TESTS_BACKENDS_H

#include "core/registry.h"

/* Backend i of those that tests walk, NULL behind the last: all in the program, or, where
 * SAEMARK_CUDA names an object, its backend alone, which must be usable: it has a run of its
 * own. */
const sae_backend *test_backend(const sae_registry *reg, int i);
int test_backend_count(void);
int test_variant_count(void);

#endif
