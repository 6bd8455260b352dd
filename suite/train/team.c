/* suite/train/team.c - threads for devices, reductions over them. */
#include "train/team.h"

#include "core/error.h"
#include "core/log.h"
#include "core/memory.h"
#include "core/helper.h"

#include <string.h>

enum { CHUNK = 1 << 16 }; /* elements that travel through the host at once */

typedef struct member {
    sae_team *team;
    int device;
    sae_helper *thread; /* NULL for the first device, which is the caller's */
} member;

struct sae_team {
    const sae_engine *e;
    int count;
    member of[SAE_MAX_DEVICES];
    sae_team_work *work; /* of all members */
    void *arg;
    int by_host;           /* the backend cannot reduce */
    double *mean;          /* [CHUNK] */
    uint64_t *most, *part; /* [CHUNK] */
};

/* ---- threads --------------------------------------------------------------------------------- */

static int work_of(void *arg, sae_err *err)
{
    const member *m = arg;
    return m->team->work(m->team->arg, m->device, err);
}

int sae_team_open(sae_team **out, const sae_engine *e, int count, sae_err *err)
{
    SAE_TRY(sae_new(out, 1, sizeof **out, "a team of devices", err));
    int rc = SAE_OK;
    sae_team *t = *out;
    t->e = e;
    t->count = count;
    if (count == 1)
        return SAE_OK;
    SAE_GOTO(sae_new(&t->mean, CHUNK, sizeof *t->mean, "sums over devices", err));
    SAE_GOTO(sae_new(&t->most, CHUNK, sizeof *t->most, "sums over devices", err));
    SAE_GOTO(sae_new(&t->part, CHUNK, sizeof *t->part, "sums over devices", err));
    for (int i = 1; i < count; i++) {
        member *m = &t->of[i];
        *m = (member){.team = t, .device = i};
        SAE_GOTO(sae_helper_open(&m->thread, work_of, m, err));
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
    for (int i = 1; i < t->count; i++)
        sae_helper_close(&t->of[i].thread);
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

/* Of failures of several devices the first one counts. */
static void take_failure(const sae_team *t, int device, int rc, sae_err *own, int *first,
                         sae_err *err)
{
    if (rc >= 0 || *first < 0)
        return;
    *first = rc;
    SAE_SET(own, rc, "%s", sae_status_name(rc));
    sae_fail_prefix(own, rc, "%s:%d", t->e[device].be->name, t->e[device].index);
    if (err && !err->code)
        *err = *own;
}

int sae_team_each(sae_team *t, sae_team_work *work, void *arg, sae_err *err)
{
    int rc = SAE_OK;
    if (t->count == 1)
        return work(arg, 0, err);
    t->work = work;
    t->arg = arg;
    for (int i = 1; i < t->count; i++)
        sae_helper_start(t->of[i].thread);
    for (int i = 0; i < t->count; i++) {
        sae_err own = {0};
        int one = i ? sae_helper_wait(t->of[i].thread, &own) : work(arg, 0, &own);
        take_failure(t, i, one, &own, &rc, err);
    }
    return rc;
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
