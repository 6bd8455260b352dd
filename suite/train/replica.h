/* suite/train/replica.h - what the replicas of a learner have in common; with one device all of it
 * does nothing. */
#ifndef SAE_TRAIN_REPLICA_H
#define SAE_TRAIN_REPLICA_H

#include "train/learner.h"

/* The learner on a device: l itself on the first. */
static inline sae_learner *sae_replica(sae_learner *l, int device)
{
    return device ? &l->replica[device - 1] : l;
}

/* Gradients and losses become means over the devices, counts of firing sums, times maxima. */
int sae_replicas_join(sae_learner *l, sae_err *err);
/* STATE of the first device goes to the others. */
int sae_replicas_follow(sae_learner *l, sae_err *err);
/* Tensors, moments, statistics and clock of the first device go to the others. */
int sae_replicas_spread(sae_learner *l, sae_err *err);
/* SAE_EINVAL names a PARAM tensor whose bits are not the same everywhere: adapt moved it by the
 * rows of a device. */
int sae_replicas_agree(sae_learner *l, sae_err *err);

#endif
