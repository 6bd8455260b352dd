/* suite/train/team.h - the devices that train SAEs together: a thread for each, and arrays of all
 * that become one.
 *
 * A team of one device has no thread, and nothing to reduce.
 */
#ifndef SAE_TRAIN_TEAM_H
#define SAE_TRAIN_TEAM_H

#include "core/device.h"

typedef struct sae_team sae_team;

/* e [count], count <= SAE_MAX_DEVICES, of one backend, is borrowed. */
int sae_team_open(sae_team **t, const sae_engine *e, int count, sae_err *err);
void sae_team_close(sae_team **t); /* NULL-safe; sets *t to NULL */
int sae_team_count(const sae_team *t);
const sae_engine *sae_team_engine(const sae_team *t, int device);

/* work(arg, device, err) for every device at once: of the first in this thread, of each other one
 * in its own, which is always the same. Returns when all have; of several failures the first
 * device's, which names it. */
typedef int sae_team_work(void *arg, int device, sae_err *err);
int sae_team_each(sae_team *t, sae_team_work *work, void *arg, sae_err *err);

/* p[device] [n] of every device become one (sae_backend.reduce). Where the backend cannot do it, by
 * copies through the host, in the order of the devices. */
int sae_team_reduce(sae_team *t, void *const *p, int64_t n, enum sae_reduction how, sae_err *err);

#endif
