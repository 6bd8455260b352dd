/* suite/train/learner.h - one SAE in training: model, optimiser state, tape, statistics, clock.
 *
 * On a team of devices each has a replica of all that. A step gives device i of G its G-th part of
 * the rows; gradients and losses become means over the devices, and the statistics of firing those
 * of the whole batch, before every replica takes the same step: parameters, moments and statistics
 * keep the same bits everywhere. What a variant computes from the rows of a batch, it computes from
 * those of a device: selections over a batch, losses that divide by its variance. So does adapt;
 * STATE is then what the first device's adapt made of it, which also says whether training is done.
 * A variant whose dictionary grows, or that has no PARAM tensor, learns from the rows in adapt: the
 * first device trains it alone.
 */
#ifndef SAE_TRAIN_LEARNER_H
#define SAE_TRAIN_LEARNER_H

#include "train/extras.h"
#include "train/team.h"

/* Optimiser settings; NaN or -1 takes the variant's own default. */
typedef struct sae_train_config {
    int64_t steps, B; /* no default: at least 1 */
    double lr, beta1, beta2, eps, clip_norm, weight_decay, decay;
    int64_t warmup;
} sae_train_config;

void sae_train_config_default(sae_train_config *c); /* everything the variant's own; B 4096 */
/* Complete c: what the spec gives goes before what c has, that before the variant's own.
 * SAE_EINVAL: a setting is out of range. */
int sae_learner_config(sae_train_config *c, const sae_spec *spec, sae_err *err);

typedef struct sae_learner {
    sae_spec spec;         /* owned, resolved */
    char *canonical;       /* owned; identity together with dataset, seed and training config */
    char *label;           /* owned; display form and seed, for messages */
    char id[17];           /* hash of canonical, seed and training config: name of its files */
    uint64_t seed;
    sae_train_config cfg;  /* with the variant's defaults filled in */
    const sae_engine *e;         /* the first device's */
    sae_team *team;              /* NULL: one device */
    int devices;                 /* of the team that train it: all, or the first alone */
    struct sae_learner *replica; /* [devices - 1] on the other ones; owned */
    sae_model model;
    sae_tape tape;
    sae_stats_store stats;
    sae_real *moment1[SAE_MAX_TENSOR], *moment2[SAE_MAX_TENSOR]; /* PARAM only */
    uint64_t *zeros;       /* [n_cap] of a replica: backend memory */
    sae_extras *extras;    /* owned; NULL when the variant needs none */
    void *opt_now;         /* option struct with schedules applied for the current step */
    int64_t step;          /* steps taken */
    uint64_t needs;        /* SAE_NEED_* in training */
    int done;              /* adapt answered SAE_DONE */
    double loss[SAE_MAX_LOSS], total, grad_norm; /* of the last step */
    double seconds;        /* spent in this learner's steps */
} sae_learner;

/* Takes ownership of *spec on success. Bytes needed are checked before anything is allocated.
 * dim gives the widths of the stream. */
int sae_learner_open(sae_learner *l, sae_spec *spec, uint64_t seed, const sae_train_config *cfg,
                     const sae_dims *dim, const sae_engine *e, sae_err *err);
/* On the devices of a team, which must divide the batch (SAE_EINVAL). */
int sae_learner_open_team(sae_learner *l, sae_spec *spec, uint64_t seed,
                          const sae_train_config *cfg, const sae_dims *dim, sae_team *team,
                          sae_err *err);
void sae_learner_close(sae_learner *l);
/* Bytes of a learner with batches of B rows; SIZE_MAX when they overflow. spec is resolved. */
size_t sae_learner_bytes(const sae_spec *spec, const sae_dims *dim, int64_t B);
/* Widths, dictionary size at the start and its capacity: without SAE_NEED_TARGET the output is as
 * wide as the input; a dictionary that grows starts empty. */
sae_dims sae_learner_dims(const sae_spec *spec, const sae_dims *dim);

/* What the variant needs beside rows; once, before anything else is called. reg may be NULL where
 * no base is needed. */
int sae_learner_extras(sae_learner *l, const sae_registry *reg, const sae_stream *s, sae_err *err);
/* init from the first batch, the whole of it; call once unless the state was loaded. */
int sae_learner_init(sae_learner *l, const sae_batch *sample, sae_err *err);
/* One step: forward, finite check, backward, statistics, project, clip, optimise, adapt. b: the
 * rows of each device. Afterwards l->done tells whether another one can change anything. Errors
 * name the SAE and the step. */
int sae_learner_step(sae_learner *l, const sae_batch *b, sae_err *err);
/* Of the first replica, behind the last step. SAE_EINVAL: adapt moved a PARAM tensor by the rows of
 * a device, so the replicas are not the same. */
int sae_learner_finalize(sae_learner *l, sae_err *err);
/* Everything that the first device has to its replicas: behind init, behind loading. */
int sae_learner_spread(sae_learner *l, sae_err *err);
/* Change the dictionary size within its capacity (ctx.grow): new rows of tensors and moments are
 * zero, new features count as having fired now. */
int sae_learner_grow(sae_learner *l, int64_t n, sae_err *err);
/* Learning rate of a step (0 for the first): linear warm-up from 0, constant, linear decay to 0
 * over the last `decay`; the smaller one where they overlap. */
double sae_learner_lr(const sae_train_config *c, int64_t step);

#endif
