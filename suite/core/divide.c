/* suite/core/divide.c - see divide.h. */
#include "core/divide.h"

#include "core/error.h"
#include "core/helper.h"
#include "core/memory.h"
#include "kernels/divided/divided.h"

#include <string.h>

typedef struct peer {
    struct sae_peers *all;
    int device;
    sae_helper *thread; /* NULL for the first device, which is the caller's */
} peer;

struct sae_peers {
    sae_engine e[SAE_DIVIDED_MOST]; /* without the first */
    int count;
    sae_kernels k; /* of one device */
    sae_divided *divided;
    peer of[SAE_DIVIDED_MOST];
    void (*work)(void *arg, int device);
    void *arg;
};

static int work_of(void *arg, sae_err *err)
{
    const peer *p = arg;
    (void)err;
    p->all->work(p->all->arg, p->device);
    return SAE_OK;
}

static void each(void *crew, void (*work)(void *arg, int device), void *arg)
{
    struct sae_peers *p = crew;
    p->work = work;
    p->arg = arg;
    for (int i = 1; i < p->count; i++)
        sae_helper_start(p->of[i].thread);
    work(arg, 0);
    for (int i = 1; i < p->count; i++)
        sae_helper_wait(p->of[i].thread, NULL);
}

static void close_peers(struct sae_peers *p)
{
    sae_divided_close(&p->divided);
    for (int i = 1; i < p->count; i++) {
        sae_helper_close(&p->of[i].thread);
        sae_engine_close(&p->e[i]);
    }
    sae_free(p);
}

static int open_peers(struct sae_peers *p, const sae_engine *e, sae_err *err)
{
    sae_device *dev[SAE_DIVIDED_MOST];
    for (int i = 0; i < p->count; i++) {
        dev[i] = e[i].dev;
        p->of[i] = (peer){.all = p, .device = i};
        if (i)
            SAE_TRY(sae_helper_open(&p->of[i].thread, work_of, &p->of[i], err));
    }
    return sae_divided_open(&p->divided, e->be, dev, p->count, &p->k, each, p, err);
}

int sae_engine_divide(sae_engine *e, int count, sae_err *err)
{
    struct sae_peers *p = NULL;
    if (count < 2 || count > SAE_DIVIDED_MOST)
        SAE_FAIL(err, SAE_EINVAL, "work is divided over 2 to %d devices, not %d",
                 (int)SAE_DIVIDED_MOST, count);
    SAE_TRY(sae_new(&p, 1, sizeof *p, "devices that are one", err));
    p->count = count;
    p->k = e->k;
    int rc = open_peers(p, e, err);
    if (rc < 0) {
        close_peers(p);
        return rc;
    }
    memcpy(p->e + 1, e + 1, (size_t)(count - 1) * sizeof *e);
    memset(e + 1, 0, (size_t)(count - 1) * sizeof *e);
    sae_divided_kernels(&e->k);
    if (e->host_dev == e->dev)
        e->host_k = e->k;
    e->peers = p;
    return e->be->props(e->dev, &e->props);
}

int sae_engine_devices(const sae_engine *e)
{
    return e->peers ? e->peers->count : 1;
}

void sae_engine_divide_least(const sae_engine *e, int64_t elements)
{
    sae_divided_least(e->peers->divided, elements);
}

void sae_engine_unite(sae_engine *e)
{
    if (e->peers)
        close_peers(e->peers);
    e->peers = NULL;
}
