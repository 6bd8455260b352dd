/* suite/core/registry.h - the components this process knows.
 *
 * In-tree components come from build/gen/list.c (made from file names); plug-ins are added at run
 * time. Both pass the same admission. The registry owns completed copies of the descriptors, so
 * optional methods are never NULL behind it (tensor_flags excepted: NULL means spec->flags).
 */
#ifndef SAE_CORE_REGISTRY_H
#define SAE_CORE_REGISTRY_H

#include <sae/plugin.h>

typedef struct sae_registry sae_registry;

/* Admit every in-tree component. Order of listing: by name. */
int sae_registry_open(sae_registry **reg, sae_err *err);
void sae_registry_close(sae_registry **reg);

/* Load a shared object and admit everything in it. SAE_EABI, SAE_EFORMAT, SAE_EINVAL with the
 * file's name, the component and the reason. A name that exists already is an error. */
int sae_registry_plugin(sae_registry *reg, const char *path, const sae_plugin **out, sae_err *err);

/* Admit everything in p, or nothing: the way in-tree components and plug-ins come in. */
int sae_registry_add(sae_registry *reg, const sae_plugin *p, sae_err *err);

/* Check one descriptor and complete it into *out: abi, size, name syntax, option table (names,
 * defaults in range, offsets inside the struct), tensor table, losses, mandatory methods; optional
 * methods get their no-ops. Public so that tests/fuzz can feed it random descriptors. */
int sae_admit_variant(const sae_variant *v, sae_variant *out, sae_err *err);
int sae_admit_metric(const sae_metric *m, sae_metric *out, sae_err *err);
int sae_admit_dataset(const sae_dataset *d, sae_dataset *out, sae_err *err);
int sae_admit_backend(const sae_backend *b, sae_backend *out, sae_err *err);

/* The SAE_CAP_* in force with these options; of an admitted variant. */
static inline uint64_t sae_caps(const sae_variant *v, const void *opt)
{
    return v->caps & v->caps_for(opt);
}

/* Look up by name: NULL when absent. */
const sae_variant *sae_find_variant(const sae_registry *reg, const char *name);
const sae_metric *sae_find_metric(const sae_registry *reg, const char *name);
const sae_dataset *sae_find_dataset(const sae_registry *reg, const char *name);
const sae_backend *sae_find_backend(const sae_registry *reg, const char *name);

/* All of a kind, NULL-terminated, sorted by name; owned by the registry. Backends: by score. */
const sae_variant *const *sae_all_variants(const sae_registry *reg);
const sae_metric *const *sae_all_metrics(const sae_registry *reg);
const sae_dataset *const *sae_all_datasets(const sae_registry *reg);
const sae_backend *const *sae_all_backends(const sae_registry *reg);

/* Why there is no CUDA backend or why it is of no use here, one line; "" when it can be used. */
const char *sae_registry_no_cuda(const sae_registry *reg);

#endif
