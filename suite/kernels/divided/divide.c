/* suite/kernels/divided/divide.c - devices that are one, the parts of their work. */
#include "divided/parts.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* An output of fewer elements costs less than telling the devices of it. */
enum { LEAST = 1 << 16 };
/* Parts begin at multiples of this where there is enough: products go by blocks of columns. */
enum { GRAIN = 64 };

/* ---- who is one ------------------------------------------------------------------------------ */

/* An entry knows its device, not who leads: the list says. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static sae_divided *all;

sae_divided *sae_divided_of(const sae_device *lead)
{
    pthread_mutex_lock(&lock);
    sae_divided *d = all;
    while (d && d->dev[0] != lead)
        d = d->next;
    pthread_mutex_unlock(&lock);
    return d;
}

static int fail(sae_err *err, int rc, int line, const char *what)
{
    if (err && !err->code) {
        err->code = rc;
        err->file = __FILE__;
        err->line = line;
        snprintf(err->msg, sizeof err->msg, "%s", what);
    }
    return rc;
}

int sae_divided_open(sae_divided **out, const sae_backend *be, sae_device *const *dev, int count,
                     const sae_kernels *k, sae_divided_each *each, void *crew, sae_err *err)
{
    sae_device_props props;
    *out = NULL;
    if (!be->share || count > SAE_DIVIDED_MOST)
        return fail(err, SAE_ENEEDS, __LINE__, "devices of this backend do not share memory");
    int rc = be->share(dev[0], dev + 1, count - 1, err);
    if (rc >= 0)
        rc = be->props(dev[0], &props);
    if (rc < 0)
        return fail(err, rc, __LINE__, "devices do not share memory");
    sae_divided *d = calloc(1, sizeof *d);
    if (!d)
        return fail(err, SAE_ENOMEM, __LINE__, "out of memory for devices that share memory");
    d->be = be;
    memcpy(d->dev, dev, (size_t)count * sizeof *dev);
    d->count = count;
    d->shares_host = props.shares_host;
    d->k = k;
    d->each = each;
    d->crew = crew;
    d->least = LEAST;
    pthread_mutex_lock(&lock);
    d->next = all;
    all = d;
    pthread_mutex_unlock(&lock);
    *out = d;
    return SAE_OK;
}

static void forget(const sae_divided *d)
{
    pthread_mutex_lock(&lock);
    sae_divided **at = &all;
    while (*at != d)
        at = &(*at)->next;
    *at = d->next;
    pthread_mutex_unlock(&lock);
}

void sae_divided_close(sae_divided **out)
{
    sae_divided *d = *out;
    *out = NULL;
    if (!d)
        return;
    forget(d);
    for (int i = 0; i < d->count; i++) {
        d->be->release(d->dev[0], d->part[i].rowptr);
        d->be->release(d->dev[0], d->part[i].idx);
        d->be->release(d->dev[0], d->part[i].val);
        d->be->release(d->dev[i], d->near[i]);
    }
    free(d);
}

void sae_divided_least(sae_divided *d, int64_t elements)
{
    d->least = elements;
}

void sae_divided_kernels(sae_kernels *k)
{
#define ASSIGN(op) k->op = SAE_DIVIDED(op);
    SAE_DIVIDED_LIST(ASSIGN)
#undef ASSIGN
}

/* ---- parts ----------------------------------------------------------------------------------- */

/* The first devices have more where it does not come out even. */
int64_t sae_part_start(const sae_divided *d, int64_t length, int device)
{
    int64_t over = length % d->count * device;
    int64_t start = length / d->count * device + (over + d->count - 1) / d->count;
    if (device == d->count || length < (int64_t)GRAIN * d->count)
        return start;
    return start / GRAIN * GRAIN;
}

typedef struct job {
    sae_divided *d;
    int64_t length;
    sae_part_work *work;
    const void *arg;
    int rc[SAE_DIVIDED_MOST];
} job;

static void run_part(void *arg, int device)
{
    job *j = arg;
    sae_part p = {j->d, device, j->d->dev[device], j->d->k, 0, 0};
    p.from = sae_part_start(j->d, j->length, device);
    p.to = sae_part_start(j->d, j->length, device + 1);
    if (p.from < p.to)
        j->rc[device] = j->work(&p, j->arg);
}

int sae_divide(sae_divided *d, int64_t length, sae_part_work *work, const void *arg)
{
    job j = {.d = d, .length = length, .work = work, .arg = arg};
    int rc = SAE_OK;
    for (int i = 1; i < d->count && rc >= 0; i++)
        rc = d->be->after(d->dev[i], d->dev[0]);
    if (rc < 0)
        return rc;
    d->each(d->crew, run_part, &j);
    for (int i = 0; i < d->count; i++) { /* also behind a failure: the others are at work */
        int own = i ? d->be->after(d->dev[0], d->dev[i]) : SAE_OK;
        own = j.rc[i] < 0 ? j.rc[i] : own;
        rc = rc < 0 ? rc : own;
    }
    return rc < 0 ? rc : SAE_OK;
}

/* ---- near copies ----------------------------------------------------------------------------- */

sae_cmat sae_part_near(const sae_part *p, sae_cmat m)
{
    sae_divided *d = p->d;
    size_t bytes = (size_t)((m.rows - 1) * m.ld + m.cols) * sizeof *m.p;
    if (p->device == 0 || d->shares_host || !m.p || m.rows <= 0)
        return m;
    if (d->near_bytes[p->device] < bytes) {
        d->be->release(p->dev, d->near[p->device]);
        d->near[p->device] = d->be->alloc(p->dev, bytes);
        d->near_bytes[p->device] = d->near[p->device] ? bytes : 0;
    }
    sae_real *copy = d->near[p->device];
    if (copy && d->be->copy(p->dev, copy, m.p, bytes, SAE_COPY_D2D) < 0)
        copy = NULL;
    m.p = copy;
    return m;
}
