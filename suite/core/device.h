/* suite/core/device.h - the backend and device that --device names. */
#ifndef SAE_CORE_DEVICE_H
#define SAE_CORE_DEVICE_H

#include "core/model.h"
#include "core/registry.h"

/* name: "cpu", "cuda", "cuda:1", "cuda:0,tf32" (see sae_backend.precision); NULL: the best usable
 * backend. Errors list the usable ones. */
int sae_device_open(sae_engine *e, const sae_registry *reg, const char *name, int threads,
                    sae_err *err);

#endif
