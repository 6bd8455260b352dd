/* suite/models/lm_place.h - where a model lies and computes: its memory, copies, named failures.
 *
 * The passes treat host memory and that of a device alike; what callers hand over and get back is
 * always in host memory.
 */
#ifndef SAE_MODELS_LM_PLACE_H
#define SAE_MODELS_LM_PLACE_H

#include "core/model.h"

/* Borrowed for the life of what lies there. */
typedef struct sae_lm_place {
    const sae_kernels *k;
    sae_device *dev;
    const sae_backend *be; /* of memory that the host does not reach; NULL: host memory */
    const sae_lm_ops *ops;
} sae_lm_place;

/* On the engine's device if models can lie there, else on the host. */
sae_lm_place sae_lm_place_of(const sae_engine *e);
sae_lm_place sae_lm_place_host(const sae_engine *e);

/* Zeroed memory of count elements of `size` bytes into *out; SAE_ENOMEM names the bytes and what
 * they are for. */
int sae_lm_new(const sae_lm_place *at, void *out, int64_t count, size_t size, const char *what,
               sae_err *err);
void sae_lm_free(const sae_lm_place *at, void *p); /* NULL-safe */
/* Copies of count elements of `size` bytes: from the host, to the host, within. */
int sae_lm_put(const sae_lm_place *at, void *to, const void *host, int64_t count, size_t size,
               sae_err *err);
int sae_lm_get(const sae_lm_place *at, void *host, const void *from, int64_t count, size_t size,
               sae_err *err);
int sae_lm_move(const sae_lm_place *at, void *to, const void *from, int64_t count, size_t size,
                sae_err *err);
/* rc of an operation; a failure is recorded with its name and what the device says. */
int sae_lm_done(const sae_lm_place *at, int rc, const char *what, sae_err *err);

#endif
