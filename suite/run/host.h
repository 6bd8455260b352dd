/* suite/run/host.h - the services datasets get: models, documents, shards. */
#ifndef SAE_RUN_HOST_H
#define SAE_RUN_HOST_H

#include "core/model.h"
#include <sae/dataset.h>

/* e is borrowed for the life of everything opened through the host. */
sae_host sae_host_make(const sae_engine *e, uint64_t seed);

#endif
