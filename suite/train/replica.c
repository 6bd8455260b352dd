/* suite/train/replica.c - what the replicas of a learner have in common. */
#include "train/replica.h"

#include "core/error.h"

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
