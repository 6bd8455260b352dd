/* tests/models/lm_elsewhere.h - a place whose memory is the host's, though nobody may know.
 *
 * What is computed there has the host's bits, allocations and copies can be made to fail, and
 * frozen weights must be what they were when they are thawed.
 */
#ifndef SAE_TESTS_LM_ELSEWHERE_H
#define SAE_TESTS_LM_ELSEWHERE_H

#include "models/lm_place.h"
#include "support/support.h"

#include <stdlib.h>
#include <string.h>

/* Allocations and copies; the one that fails; blocks held; bytes copied to the host. */
static const sae_backend *elsewhere_inner;
static sae_backend elsewhere;
static int64_t calls, fail_at, live, fetched;
/* What is frozen, and its contents then. */
static sae_cmat elsewhere_frozen;
static sae_real *elsewhere_copy_of;

static inline void *elsewhere_alloc(sae_device *dev, size_t bytes)
{
    void *p = ++calls == fail_at ? NULL : elsewhere_inner->alloc(dev, bytes);
    live += p != NULL;
    return p;
}

static inline void elsewhere_release(sae_device *dev, void *p)
{
    live -= p != NULL;
    elsewhere_inner->release(dev, p);
}

static inline int elsewhere_copy(sae_device *dev, void *dst, const void *src, size_t bytes,
                                 enum sae_copy kind)
{
    fetched += kind == SAE_COPY_D2H ? (int64_t)bytes : 0;
    return ++calls == fail_at ? SAE_EBACKEND : elsewhere_inner->copy(dev, dst, src, bytes, kind);
}

static inline int elsewhere_freeze(sae_device *dev, sae_cmat w)
{
    size_t bytes = (size_t)(w.rows * w.cols) * sizeof *w.p;
    (void)dev;
    if (++calls == fail_at)
        return SAE_ENOMEM;
    ck_assert_ptr_null(elsewhere_copy_of);
    elsewhere_frozen = w;
    elsewhere_copy_of = malloc(bytes);
    ck_assert_ptr_nonnull(elsewhere_copy_of);
    memcpy(elsewhere_copy_of, w.p, bytes);
    live++;
    return SAE_OK;
}

static inline void elsewhere_thaw(sae_device *dev, const sae_real *w)
{
    (void)dev;
    if (!w || w != elsewhere_frozen.p)
        return;
    ck_assert_mem_eq(w, elsewhere_copy_of,
                     (size_t)(elsewhere_frozen.rows * elsewhere_frozen.cols) * sizeof *w);
    free(elsewhere_copy_of);
    elsewhere_copy_of = NULL;
    elsewhere_frozen.p = NULL;
    live--;
}

static inline const char *elsewhere_why(const sae_device *dev)
{
    (void)dev;
    return "it was to fail";
}

/* Borrows e. */
static inline sae_lm_place elsewhere_of(const sae_engine *e)
{
    sae_lm_place at = sae_lm_place_host(e);
    elsewhere_inner = e->host_be;
    elsewhere = *elsewhere_inner;
    elsewhere.alloc = elsewhere_alloc;
    elsewhere.release = elsewhere_release;
    elsewhere.copy = elsewhere_copy;
    elsewhere.freeze = elsewhere_freeze;
    elsewhere.thaw = elsewhere_thaw;
    elsewhere.why = elsewhere_why;
    at.be = &elsewhere;
    return at;
}

#endif
