/* suite/train/replica.c - what the replicas of a learner have in common. */
#include "train/replica.h"

#include "core/error.h"
#include "core/memory.h"

#include <string.h>

/* `member` [n] of the learner on every device becomes one. */
#define REDUCE(l, member, n, how, err)                                                             \
    do {                                                                                           \
        void *p_[SAE_MAX_DEVICES];                                                                 \
        for (int d_ = 0; d_ < (l)->devices; d_++)                                                  \
            p_[d_] = sae_replica(l, d_)->member;                                                   \
        SAE_TRY(sae_team_reduce((l)->team, p_, n, how, err));                                      \
    } while (0)

static void join_losses(sae_learner *l)
{
    for (int k = 0; l->model.v->losses[k]; k++) {
        for (int i = 1; i < l->devices; i++)
            l->loss[k] += sae_replica(l, i)->loss[k];
        l->loss[k] /= l->devices;
    }
    for (int i = 1; i < l->devices; i++)
        l->total += sae_replica(l, i)->total;
    l->total /= l->devices;
}

int sae_replicas_join(sae_learner *l, sae_err *err)
{
    if (l->devices == 1)
        return SAE_OK;
    join_losses(l);
    for (int i = 0; i < l->model.nt; i++) {
        const sae_tensor *t = &l->model.t[i];
        if (t->spec->role == SAE_PARAM)
            REDUCE(l, model.t[i].grad, t->rows * t->cols, SAE_REDUCE_MEAN, err);
    }
    REDUCE(l, stats.fire_count, l->model.dim.n, SAE_REDUCE_SUM, err);
    REDUCE(l, stats.last_fired, l->model.dim.n, SAE_REDUCE_MAX, err);
    return SAE_OK;
}

/* Of every tensor, or of STATE alone. */
static int copy_tensors(sae_learner *l, int state_only, sae_err *err)
{
    for (int i = 0; i < l->model.nt; i++) {
        const sae_tensor *t = &l->model.t[i];
        int64_t bytes = t->rows * t->cols * (int64_t)sae_dtype_size(t->spec->dtype);
        if (t->spec->role == SAE_STATE || !state_only)
            REDUCE(l, model.t[i].w, bytes, SAE_REDUCE_FIRST, err);
    }
    return SAE_OK;
}

int sae_replicas_follow(sae_learner *l, sae_err *err)
{
    return l->devices > 1 ? copy_tensors(l, 1, err) : SAE_OK;
}

int sae_replicas_spread(sae_learner *l, sae_err *err)
{
    int64_t bytes = l->model.dim.n * (int64_t)sizeof(uint64_t);
    if (l->devices == 1)
        return SAE_OK;
    SAE_TRY(copy_tensors(l, 0, err));
    for (int i = 0; i < l->model.nt; i++) {
        const sae_tensor *t = &l->model.t[i];
        int64_t moment = t->rows * t->cols * (int64_t)sizeof(sae_real);
        if (t->spec->role != SAE_PARAM)
            continue;
        REDUCE(l, moment1[i], moment, SAE_REDUCE_FIRST, err);
        REDUCE(l, moment2[i], moment, SAE_REDUCE_FIRST, err);
    }
    REDUCE(l, stats.last_fired, bytes, SAE_REDUCE_FIRST, err);
    REDUCE(l, stats.fire_count, bytes, SAE_REDUCE_FIRST, err);
    for (int i = 1; i < l->devices; i++) {
        sae_replica(l, i)->step = l->step;
        sae_replica(l, i)->stats.view.tokens = l->stats.view.tokens;
    }
    return SAE_OK;
}

enum { STAGE = 1 << 20 }; /* bytes compared at once */

static int fetch(const sae_learner *l, int tensor, size_t at, char *to, size_t bytes, sae_err *err)
{
    const char *from = l->model.t[tensor].w;
    int rc = l->e->be->copy(l->e->dev, to, from + at, bytes, SAE_COPY_D2H);
    if (rc < 0)
        SAE_FAIL(err, rc, "%s cannot be copied from %s:%d", l->model.t[tensor].spec->name,
                 l->e->be->name, l->e->index);
    return SAE_OK;
}

/* stage [2 x STAGE] */
static int compare(sae_learner *l, int tensor, char *stage, sae_err *err)
{
    const sae_tensor *t = &l->model.t[tensor];
    size_t bytes = (size_t)(t->rows * t->cols) * sizeof(sae_real);
    for (size_t at = 0; at < bytes; at += STAGE) {
        size_t some = bytes - at < STAGE ? bytes - at : STAGE;
        SAE_TRY(fetch(l, tensor, at, stage, some, err));
        for (int i = 1; i < l->devices; i++) {
            SAE_TRY(fetch(sae_replica(l, i), tensor, at, stage + STAGE, some, err));
            if (memcmp(stage, stage + STAGE, some) != 0)
                SAE_FAIL(err, SAE_EINVAL,
                         "%s is not the same on all devices: its adapt follows the rows it sees; "
                         "train it on one device", t->spec->name);
        }
    }
    return SAE_OK;
}

int sae_replicas_agree(sae_learner *l, sae_err *err)
{
    char *stage = NULL;
    int rc = SAE_OK;
    if (l->devices == 1)
        return SAE_OK;
    SAE_TRY(sae_new(&stage, 2, STAGE, "replicas", err));
    for (int i = 0; i < l->model.nt && rc >= 0; i++)
        if (l->model.t[i].spec->role == SAE_PARAM)
            rc = compare(l, i, stage, err);
    sae_free(stage);
    return rc;
}
