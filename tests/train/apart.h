/* tests/train/apart.h - a rig whose engine has memory of its own, and whose source is watched.
 *
 * The memory is the host's, though nobody may know: what does not go through the backend's copies
 * is not noticed here but on a device (tests/emu).
 */
#ifndef SAE_TESTS_APART_H
#define SAE_TESTS_APART_H

#include "train/rig.h"

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

/* What happened, and what is to happen. */
static struct apart {
    const sae_backend *inner;
    sae_backend be;
    pthread_t home;               /* the thread of the device */
    _Atomic int64_t calls, live;  /* allocations, copies and uploads; blocks held */
    int64_t fail_at;              /* the call that fails */
    _Atomic int64_t here, beside; /* fills on the thread of the device and on others */
    _Atomic int inside;           /* fills that run now */
    int64_t rows, bad_row;        /* of the source, -1: unbounded; the one that cannot be read */
    int slow;                     /* 1: a fill takes 20 ms */
    /* A copy within the memory waits until something waits for it. */
    int lazy;
    void *dst;
    const void *src;
    size_t bytes;
} apart;

/* ---- the backend ----------------------------------------------------------------------------- */

static int apart_fails(void)
{
    return ++apart.calls == apart.fail_at;
}

static inline void *apart_held(void *p)
{
    apart.live += p != NULL;
    return p;
}

static inline void *apart_alloc(sae_device *dev, size_t bytes)
{
    return apart_held(apart_fails() ? NULL : apart.inner->alloc(dev, bytes));
}

static inline void apart_release(sae_device *dev, void *p)
{
    apart.live -= p != NULL;
    apart.inner->release(dev, p);
}

static inline void *apart_alloc_host(sae_device *dev, size_t bytes)
{
    (void)dev;
    void *p = apart_held(apart_fails() ? NULL : sae_alloc(bytes));
    if (p)
        memset(p, 0xFF, bytes); /* it need not be zero */
    return p;
}

static inline void apart_release_host(sae_device *dev, void *p)
{
    (void)dev;
    apart.live -= p != NULL;
    sae_free(p);
}

static inline int apart_sync(sae_device *dev)
{
    if (apart.dst)
        memcpy(apart.dst, apart.src, apart.bytes);
    apart.dst = NULL;
    return apart.inner->sync(dev);
}

static inline int apart_copy(sae_device *dev, void *dst, const void *src, size_t bytes,
                             enum sae_copy kind)
{
    ck_assert_msg(pthread_equal(pthread_self(), apart.home), "a copy by another thread");
    if (apart_fails())
        return SAE_EBACKEND;
    if (apart.lazy && kind == SAE_COPY_D2D) {
        apart.dst = dst;
        apart.src = src;
        apart.bytes = bytes;
        return SAE_OK;
    }
    apart_sync(dev);
    return apart.inner->copy(dev, dst, src, bytes, kind);
}

static inline int apart_upload(sae_device *dev, void *dst, const void *src, size_t bytes)
{
    (void)dev;
    if (apart_fails())
        return SAE_EBACKEND;
    memcpy(dst, src, bytes);
    return SAE_OK;
}

/* ---- the source ------------------------------------------------------------------------------ */

static inline int apart_fill(sae_source *s, enum sae_split split, uint64_t row0, int64_t B,
                             const sae_fill *out, sae_err *err)
{
    int home = pthread_equal(pthread_self(), apart.home);
    int64_t first = (int64_t)row0, bad = apart.bad_row;
    apart.here += home;
    apart.beside += !home;
    ck_assert_msg(apart.inside++ == 0, "two fills at a time");
    if (apart.slow)
        nanosleep(&(struct timespec){0, 20000000}, NULL);
    int rc = SAE_OK;
    if (apart.rows >= 0 && first + B > apart.rows)
        rc = SAE_SET(err, SAE_EINVAL, "there are %lld rows", (long long)apart.rows);
    else if (bad >= first && bad < first + B)
        rc = SAE_SET(err, SAE_EFORMAT, "row %lld cannot be read", (long long)bad);
    else
        rc = rig_fill(s, split, row0, B, out, err);
    apart.inside--;
    return rc;
}

/* On this backend, which is wrapped where it shares memory with the host. */
static inline void apart_open(rig *r, const char *backend, enum sae_norm norm, int64_t B)
{
    rig_open_on(r, backend, 1, norm, RIG_GIVES, B);
    sae_stream_close(&r->s);
    apart = (struct apart){.inner = r->e.be, .be = *r->e.be, .home = pthread_self(), .rows = -1,
                           .bad_row = -1};
    if (r->e.props.shares_host) {
        apart.be.alloc = apart_alloc;
        apart.be.release = apart_release;
        apart.be.alloc_host = apart_alloc_host;
        apart.be.release_host = apart_release_host;
        apart.be.sync = apart_sync;
        apart.be.copy = apart_copy;
        apart.be.upload = apart_upload;
        r->e.be = &apart.be;
        r->e.props.shares_host = 0;
    }
    rig_stream(r, norm, B);
    r->ds.fill = apart_fill;
}

#endif
