/* suite/core/list.h - the in-tree components; the arrays are generated from file names. */
#ifndef SAE_CORE_LIST_H
#define SAE_CORE_LIST_H

#include <sae/plugin.h>

extern const sae_variant *const sae_list_variants[]; /* NULL-terminated */
extern const sae_metric *const sae_list_metrics[];
extern const sae_dataset *const sae_list_datasets[];
extern const sae_backend *const sae_list_backends[];

#endif
