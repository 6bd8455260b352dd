/* suite/core/helper.c - see helper.h. */
#include "core/helper.h"

#include "core/error.h"
#include "core/memory.h"

#include <omp.h>
#include <pthread.h>
#include <string.h>

enum state { IDLE, BUSY, CLOSING };

struct sae_helper {
    int (*job)(void *arg, sae_err *err);
    void *arg;
    int threads; /* of loops */
    pthread_t id;
    pthread_mutex_t lock; /* of state; rc and err belong to the thread while it is BUSY */
    pthread_cond_t change;
    enum state state;
    int rc;
    sae_err err;
};

static enum state wait_while(sae_helper *h, enum state state)
{
    pthread_mutex_lock(&h->lock);
    while (h->state == state)
        pthread_cond_wait(&h->change, &h->lock);
    enum state now = h->state;
    pthread_mutex_unlock(&h->lock);
    return now;
}

static void set(sae_helper *h, enum state state)
{
    pthread_mutex_lock(&h->lock);
    h->state = state;
    pthread_cond_broadcast(&h->change);
    pthread_mutex_unlock(&h->lock);
}

static void *run(void *arg)
{
    sae_helper *h = arg;
    omp_set_num_threads(h->threads); /* a new thread starts with the environment's */
    while (wait_while(h, IDLE) == BUSY) {
        memset(&h->err, 0, sizeof h->err);
        h->rc = h->job(h->arg, &h->err);
        set(h, IDLE);
    }
    return NULL;
}

int sae_helper_open(sae_helper **out, int (*job)(void *arg, sae_err *err), void *arg, sae_err *err)
{
    sae_helper *h = NULL;
    *out = NULL;
    SAE_TRY(sae_new(&h, 1, sizeof *h, "a thread", err));
    h->job = job;
    h->arg = arg;
    h->threads = omp_get_max_threads();
    pthread_mutex_init(&h->lock, NULL);
    pthread_cond_init(&h->change, NULL);
    int rc = pthread_create(&h->id, NULL, run, h);
    if (rc == 0) {
        *out = h;
        return SAE_OK;
    }
    pthread_cond_destroy(&h->change);
    pthread_mutex_destroy(&h->lock);
    sae_free(h);
    SAE_FAIL(err, SAE_ENOMEM, "a thread cannot be made: %s", strerror(rc));
}

void sae_helper_close(sae_helper **out)
{
    sae_helper *h = *out;
    *out = NULL;
    if (!h)
        return;
    wait_while(h, BUSY);
    set(h, CLOSING);
    pthread_join(h->id, NULL);
    pthread_cond_destroy(&h->change);
    pthread_mutex_destroy(&h->lock);
    sae_free(h);
}

void sae_helper_start(sae_helper *h)
{
    set(h, BUSY);
}

int sae_helper_wait(sae_helper *h, sae_err *err)
{
    wait_while(h, BUSY);
    if (h->rc < 0 && err && !err->code)
        *err = h->err;
    return h->rc;
}
