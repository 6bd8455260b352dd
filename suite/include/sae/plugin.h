/* sae/plugin.h - the one symbol that a plug-in (a shared object with components) exports.
 *
 * The host opens the object with local binding, calls sae_plugin_entry(SAE_PLUGIN_ABI), refuses it
 * unless `abi` is equal and `size` is not larger than its own, and admits every descriptor through
 * the checks and conformance tests that in-tree components pass (`saemark check FILE.so`).
 * Descriptors must stay constant for the life of the process. Undefined symbols other than libc's
 * and libm's are refused: kernels come through sae_ctx. ABI policy: fields are appended, bits are
 * never reused, *_ABI grows only for an incompatible change.
 */
#ifndef SAE_PLUGIN_H
#define SAE_PLUGIN_H

#include "dataset.h"
#include "metric.h"
#include "variant.h"

enum { SAE_PLUGIN_ABI = 1 };

typedef struct sae_plugin {
    uint32_t abi, size; /* SAE_PLUGIN_ABI, sizeof(sae_plugin) */
    const char *name, *version, *author, *licence;
    const sae_variant *const *variants; /* NULL-terminated or NULL */
    const sae_metric *const *metrics;   /* NULL-terminated or NULL */
    const sae_dataset *const *datasets; /* NULL-terminated or NULL */
} sae_plugin;

#ifdef __cplusplus
extern "C"
#endif
    const sae_plugin *
    sae_plugin_entry(uint32_t host_abi);

#endif
