/* suite/run/facts.h - what a record of a run says about the program and the machine. */
#ifndef SAE_RUN_FACTS_H
#define SAE_RUN_FACTS_H

#include "core/model.h"

#include <jansson.h>

json_t *sae_facts_build(void); /* version, git id, compiler, flags; NULL when out of memory */
json_t *sae_facts_machine(const sae_engine *e); /* host, backend, processor, threads, peak memory */

#endif
