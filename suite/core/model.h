/* suite/core/model.h - memory of a model, its tape and its statistics, sized by its
 * declarations. */
#ifndef SAE_CORE_MODEL_H
#define SAE_CORE_MODEL_H

#include "options.h"
#include <sae/variant.h>

/* A backend opened for use: the completed kernel table and the device. host_k and host_dev compute
 * on host memory, for datasets and for language models that a backend does not hold: the same where
 * the backend shares memory with the host, else the best backend that does. */
typedef struct sae_engine {
    const sae_backend *be, *host_be;
    sae_device *dev, *host_dev;
    sae_kernels k, host_k;
    sae_device_props props;
    int index; /* of the device, for backends that have several */
    const char *precision; /* of products: see sae_backend.precision; NULL: as opened */
    struct sae_peers *peers; /* of core/divide.h: devices that compute as one with dev, or NULL */
} sae_engine;

int sae_engine_open(sae_engine *e, const sae_backend *be, int index, int threads, sae_err *err);
void sae_engine_close(sae_engine *e);
/* "fp32", "tf32", "bf16"; name must outlive e. SAE_EINVAL: not on this backend. Not of devices that
 * are divided: each has its own by then. */
int sae_engine_precision(sae_engine *e, const char *name);
/* What decides the bits of results: backend, devices that are one, precision. "cpu", "cuda,tf32",
 * "cuda,divided/4,bf16". */
enum { SAE_ENGINE_NAME = 64 };
const char *sae_engine_name(const sae_engine *e, char out[SAE_ENGINE_NAME]);
/* Another one like e, on the same device: without its peers. */
int sae_engine_like(sae_engine *out, const sae_engine *e, int threads, sae_err *err);

/* Tensors as v declares them, zeroed; gradients for PARAM when with_grad. `opt` is kept (borrowed).
 * The variant's check() must agree; bytes needed are compared with free memory first. */
int sae_model_open(sae_model *m, const sae_variant *v, const void *opt, const sae_dims *dim,
                   const sae_engine *e, int with_grad, sae_err *err);
void sae_model_close(sae_model *m, const sae_engine *e);
size_t sae_model_bytes(const sae_variant *v, const sae_dims *dim, int with_grad);
/* Move the dictionary size inside its capacity (memory is there and zero); SAE_ECAPACITY beyond. */
int sae_model_grow(sae_model *m, int64_t n_new, sae_err *err);
size_t sae_dtype_size(enum sae_dtype t);
/* From freeze to thaw nobody writes to parameters of m: forward, backward and decode may read
 * copies in the precision of products (sae_backend.freeze). A failed freeze leaves none. */
int sae_model_freeze(const sae_model *m, const sae_engine *e, sae_err *err);
void sae_model_thaw(const sae_model *m, const sae_engine *e);

/* Tape and scratch for batches of up to B rows. */
int sae_tape_open(sae_tape *t, const sae_variant *v, const void *opt, const sae_dims *dim,
                  int64_t B, enum sae_mode mode, const sae_engine *e, sae_err *err);
void sae_tape_close(sae_tape *t, const sae_engine *e);
/* Bytes sae_tape_open takes; SIZE_MAX if that overflows or the variant refuses. */
size_t sae_tape_bytes(const sae_variant *v, const void *opt, const sae_dims *dim, int64_t B,
                      enum sae_mode mode);
int sae_tape_grow_code(sae_tape *t, int64_t need, const sae_engine *e, sae_err *err);

/* forward, repeated with a larger code buffer while it answers SAE_ECAPACITY. */
int sae_forward(const sae_model *m, const sae_ctx *c, const sae_batch *b, sae_tape *t,
                const sae_engine *e);

/* Firing statistics with storage. */
typedef struct sae_stats_store {
    sae_stats view;
    uint64_t *last_fired, *fire_count; /* backend memory */
} sae_stats_store;

int sae_stats_open(sae_stats_store *s, int64_t n_cap, const sae_engine *e, sae_err *err);
void sae_stats_close(sae_stats_store *s, const sae_engine *e);

#endif
