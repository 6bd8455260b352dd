/* suite/train/team.c - threads for devices, reductions over them. */
#include "train/team.h"

#include "core/error.h"
#include "core/log.h"
#include "core/memory.h"

#include <pthread.h>
#include <string.h>

enum { CHUNK = 1 << 16 }; /* elements that travel through the host at once */

typedef struct member {
    sae_team *team;
    int device, rc;
    pthread_t thread;
    sae_err err;
} member;

struct sae_team {
    const sae_engine *e;
    int count;
    member of[SAE_MAX_DEVICES];
    int threads; /* that run: of devices 1 to threads */
    pthread_mutex_t lock;
    pthread_cond_t go, idle;
    uint64_t turn; /* below: under the lock */
    int busy, stop;
    sae_team_work *work; /* of this turn */
    void *arg;
    int by_host;           /* the backend cannot reduce */
    double *mean;          /* [CHUNK] */
    uint64_t *most, *part; /* [CHUNK] */
};

/* ---- threads --------------------------------------------------------------------------------- */

static void *run_member(void *arg)
{
    member *m = arg;
    sae_team *t = m->team;
    uint64_t seen = 0;
    pthread_mutex_lock(&t->lock);
    for (;;) {
        while (t->turn == seen && !t->stop)
            pthread_cond_wait(&t->go, &t->lock);
        if (t->stop)
            break;
        seen = t->turn;
        pthread_mutex_unlock(&t->lock);
        m->rc = t->work(t->arg, m->device, &m->err);
        pthread_mutex_lock(&t->lock);
        if (--t->busy == 0)
            pthread_cond_signal(&t->idle);
    }
    pthread_mutex_unlock(&t->lock);
    return NULL;
}

int sae_team_open(sae_team **out, const sae_engine *e, int count, sae_err *err)
{
    SAE_TRY(sae_new(out, 1, sizeof **out, "a team of devices", err));
    int rc = SAE_OK;
    sae_team *t = *out;
    t->e = e;
    t->count = count;
    pthread_mutex_init(&t->lock, NULL);
    pthread_cond_init(&t->go, NULL);
    pthread_cond_init(&t->idle, NULL);
    if (count == 1)
        return SAE_OK;
    SAE_GOTO(sae_new(&t->mean, CHUNK, sizeof *t->mean, "sums over devices", err));
    SAE_GOTO(sae_new(&t->most, CHUNK, sizeof *t->most, "sums over devices", err));
    SAE_GOTO(sae_new(&t->part, CHUNK, sizeof *t->part, "sums over devices", err));
    for (int i = 0; i < count; i++)
        t->of[i] = (member){.team = t, .device = i};
    for (int i = 1; i < count; i++) {
        if (pthread_create(&t->of[i].thread, NULL, run_member, &t->of[i]))
            SAE_GOTO(SAE_SET(err, SAE_ENOMEM, "no thread for device %d", i));
        t->threads = i;
    }
    return SAE_OK;
fail:
    sae_team_close(out);
    return rc;
}

void sae_team_close(sae_team **out)
{
    sae_team *t = *out;
    *out = NULL;
    if (!t)
        return;
    pthread_mutex_lock(&t->lock);
    t->stop = 1;
    pthread_cond_broadcast(&t->go);
    pthread_mutex_unlock(&t->lock);
    for (int i = 1; i <= t->threads; i++)
        pthread_join(t->of[i].thread, NULL);
    pthread_cond_destroy(&t->go);
    pthread_cond_destroy(&t->idle);
    pthread_mutex_destroy(&t->lock);
    sae_free(t->mean);
    sae_free(t->most);
    sae_free(t->part);
    sae_free(t);
}

int sae_team_count(const sae_team *t)
{
    return t->count;
}

const sae_engine *sae_team_engine(const sae_team *t, int device)
{
    return &t->e[device];
}

int sae_team_each(sae_team *t, sae_team_work *work, void *arg, sae_err *err)
{
    if (t->count == 1)
        return work(arg, 0, err);
    pthread_mutex_lock(&t->lock);
    for (int i = 0; i < t->count; i++)
        t->of[i].err = (sae_err){0};
    t->work = work;
    t->arg = arg;
    t->busy = t->threads;
    t->turn++;
    pthread_cond_broadcast(&t->go);
    pthread_mutex_unlock(&t->lock);
    t->of[0].rc = work(arg, 0, &t->of[0].err);
    pthread_mutex_lock(&t->lock);
    while (t->busy)
        pthread_cond_wait(&t->idle, &t->lock);
    pthread_mutex_unlock(&t->lock);
    for (int i = 0; i < t->count; i++) {
        member *m = &t->of[i];
        if (m->rc >= 0)
            continue;
        SAE_SET(&m->err, m->rc, "%s", sae_status_name(m->rc));
        sae_fail_prefix(&m->err, m->rc, "%s:%d", t->e[i].be->name, t->e[i].index);
        if (err && !err->code)
            *err = m->err;
        return m->rc;
    }
    return SAE_OK;
}

/* ---- reductions ------------------------------------------------------------------------------ */

/* What t->part holds of device i goes into the result so far. */
static void take_in(sae_team *t, int i, int64_t n, enum sae_reduction how)
{
    const sae_real *real = (const sae_real *)t->part;
    for (int64_t k = 0; k < n; k++) {
        if (how == SAE_REDUCE_MEAN)
            t->mean[k] = (i ? t->mean[k] : 0) + (double)real[k];
        else if (how == SAE_REDUCE_SUM)
            t->most[k] = (i ? t->most[k] : 0) + t->part[k];
        else if (i == 0 || t->part[k] > t->most[k])
            t->most[k] = t->part[k];
    }
}

/* The result to t->part. */
static void give_out(sae_team *t, int64_t n, enum sae_reduction how)
{
    sae_real *real = (sae_real *)t->part;
    for (int64_t k = 0; k < n && how == SAE_REDUCE_MEAN; k++)
        real[k] = (sae_real)(t->mean[k] / t->count);
    if (how != SAE_REDUCE_MEAN)
        memcpy(t->part, t->most, (size_t)n * sizeof *t->part);
}

/* One chunk, `at` bytes behind the starts of the arrays. */
static int reduce_chunk(sae_team *t, void *const *p, size_t at, int64_t n, size_t size,
                        enum sae_reduction how)
{
    size_t bytes = (size_t)n * size;
    for (int i = 0; i < (how == SAE_REDUCE_FIRST ? 1 : t->count); i++) {
        const sae_engine *e = &t->e[i];
        SAE_TRY(e->be->copy(e->dev, t->part, (char *)p[i] + at, bytes, SAE_COPY_D2H));
        if (how != SAE_REDUCE_FIRST)
            take_in(t, i, n, how);
    }
    if (how != SAE_REDUCE_FIRST)
        give_out(t, n, how);
    for (int i = how == SAE_REDUCE_FIRST; i < t->count; i++) {
        const sae_engine *e = &t->e[i];
        SAE_TRY(e->be->copy(e->dev, (char *)p[i] + at, t->part, bytes, SAE_COPY_H2D));
    }
    return SAE_OK;
}

static int reduce_by_host(sae_team *t, void *const *p, int64_t n, enum sae_reduction how)
{
    size_t size = how == SAE_REDUCE_FIRST  ? 1
                  : how == SAE_REDUCE_MEAN ? sizeof(sae_real)
                                           : sizeof(uint64_t);
    for (int64_t k = 0; k < n; k += CHUNK) {
        int64_t some = n - k < CHUNK ? n - k : CHUNK;
        SAE_TRY(reduce_chunk(t, p, (size_t)k * size, some, size, how));
    }
    return SAE_OK;
}

static int reduce_by_backend(sae_team *t, void *const *p, int64_t n, enum sae_reduction how,
                             sae_err *err)
{
    const sae_backend *be = t->e->be;
    sae_device *dev[SAE_MAX_DEVICES];
    for (int i = 0; i < t->count; i++)
        dev[i] = t->e[i].dev;
    return be->reduce ? be->reduce(dev, t->count, p, n, how, err) : SAE_ENEEDS;
}

int sae_team_reduce(sae_team *t, void *const *p, int64_t n, enum sae_reduction how, sae_err *err)
{
    const char *name = t->e->be->name;
    sae_err own = {0};
    int rc = SAE_OK;
    if (t->count == 1 || n == 0)
        return SAE_OK;
    if (!t->by_host) {
        rc = reduce_by_backend(t, p, n, how, &own);
        t->by_host = rc == SAE_ENEEDS;
        if (t->by_host && !t->e->props.shares_host)
            sae_log(SAE_LOG_WARN, "train", "%s: gradients go through the host, which is slow: %s",
                    name, own.msg);
    }
    if (t->by_host)
        rc = reduce_by_host(t, p, n, how);
    if (rc < 0)
        SAE_FAIL(err, rc, "%d devices of %s cannot share what they computed: %s", t->count, name,
                 rc == own.code ? own.msg : sae_status_name(rc));
    return SAE_OK;
}
