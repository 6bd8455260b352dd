/* tests/models/lm_elsewhere.h - a place whose memory is the host's, though nobody may know: what is
 * computed there has the host's bits, and allocations and copies can be made to fail.
 */
#ifndef SAE_TESTS_LM_ELSEWHERE_H
#define SAE_TESTS_LM_ELSEWHERE_H

#include "models/lm_place.h"

/* Allocations and copies; the one that fails; blocks held; bytes copied to the host. */
static const sae_backend *elsewhere_inner;
static sae_backend elsewhere;
static int64_t calls, fail_at, live, fetched;

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
    elsewhere.why = elsewhere_why;
    at.be = &elsewhere;
    return at;
}

#endif
