/* suite/core/device.h - the backend and devices that --device names. */
#ifndef SAE_CORE_DEVICE_H
#define SAE_CORE_DEVICE_H

#include "core/model.h"
#include "core/registry.h"

enum { SAE_MAX_DEVICES = 16 };

/* name: "cpu", "cuda", "cuda:1", "cuda:0,tf32" (see sae_backend.precision); NULL: the best usable
 * backend. "cuda:0-3,divided", "cuda:0-3,divided,bf16": four devices that compute as one (see
 * core/divide.h). Errors list the usable ones; several devices without "divided" are one. */
int sae_device_open(sae_engine *e, const sae_registry *reg, const char *name, int threads,
                    sae_err *err);
/* The same where name may be a range without it, too: "cuda:0-3", "cuda:0-3,bf16"; e[*count], the
 * first in front. Engines of a backend that shares memory with the host divide its threads:
 * "cpu:0-1" is two of them, which is how what several devices do is tested. */
int sae_devices_open(sae_engine e[SAE_MAX_DEVICES], int *count, const sae_registry *reg,
                     const char *name, int threads, sae_err *err);
void sae_devices_close(sae_engine *e, int count);

#endif
