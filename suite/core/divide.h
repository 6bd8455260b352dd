/* suite/core/divide.h - engines that compute as one: see kernels/divided/divided.h. */
#ifndef SAE_CORE_DIVIDE_H
#define SAE_CORE_DIVIDE_H

#include "core/model.h"

/* e[0] becomes the engine of all e[0 .. count), which one backend opened, and owns the others: they
 * close with it. On failure they are as they were. */
int sae_engine_divide(sae_engine *e, int count, sae_err *err);
int sae_engine_devices(const sae_engine *e); /* 1: not divided */
/* For tests: outputs with fewer elements are the first device's alone. */
void sae_engine_divide_least(const sae_engine *e, int64_t elements);
/* For sae_engine_close, before its device closes; e->peers may be NULL. */
void sae_engine_unite(sae_engine *e);

#endif
