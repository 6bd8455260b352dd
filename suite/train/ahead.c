/* suite/train/ahead.c - see ahead.h. */
#include "train/ahead.h"

#include "core/error.h"
#include "core/memory.h"

#include <omp.h>
#include <pthread.h>
#include <string.h>

enum state { IDLE, BUSY, CLOSING };

struct sae_ahead {
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

static enum state wait_while(sae_ahead *a, enum state state)
{
    pthread_mutex_lock(&a->lock);
    while (a->state == state)
        pthread_cond_wait(&a->change, &a->lock);
    enum state now = a->state;
    pthread_mutex_unlock(&a->lock);
    return now;
}

static void set(sae_ahead *a, enum state state)
{
    pthread_mutex_lock(&a->lock);
    a->state = state;
    pthread_cond_broadcast(&a->change);
    pthread_mutex_unlock(&a->lock);
}

static void *run(void *arg)
{
    sae_ahead *a = arg;
    omp_set_num_threads(a->threads); /* a new thread starts with the environment's */
    while (wait_while(a, IDLE) == BUSY) {
        memset(&a->err, 0, sizeof a->err);
        a->rc = a->job(a->arg, &a->err);
        set(a, IDLE);
    }
    return NULL;
}

int sae_ahead_open(sae_ahead **out, int (*job)(void *arg, sae_err *err), void *arg, sae_err *err)
{
    sae_ahead *a = NULL;
    *out = NULL;
    SAE_TRY(sae_new(&a, 1, sizeof *a, "a thread", err));
    a->job = job;
    a->arg = arg;
    a->threads = omp_get_max_threads();
    pthread_mutex_init(&a->lock, NULL);
    pthread_cond_init(&a->change, NULL);
    int rc = pthread_create(&a->id, NULL, run, a);
    if (rc == 0) {
        *out = a;
        return SAE_OK;
    }
    pthread_cond_destroy(&a->change);
    pthread_mutex_destroy(&a->lock);
    sae_free(a);
    SAE_FAIL(err, SAE_ENOMEM, "a thread cannot be made: %s", strerror(rc));
}

void sae_ahead_close(sae_ahead **out)
{
    sae_ahead *a = *out;
    *out = NULL;
    if (!a)
        return;
    wait_while(a, BUSY);
    set(a, CLOSING);
    pthread_join(a->id, NULL);
    pthread_cond_destroy(&a->change);
    pthread_mutex_destroy(&a->lock);
    sae_free(a);
}

void sae_ahead_start(sae_ahead *a)
{
    set(a, BUSY);
}

int sae_ahead_wait(sae_ahead *a, sae_err *err)
{
    wait_while(a, BUSY);
    if (a->rc < 0 && err && !err->code)
        *err = a->err;
    return a->rc;
}
