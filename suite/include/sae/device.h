/* sae/device.h - backend memory of components: copies to it, and their end. */
#ifndef SAE_DEVICE_H
#define SAE_DEVICE_H

#include "variant.h"

/* p may be NULL. */
static inline void sae_device_release(const sae_ctx *c, void *p)
{
    if (p)
        c->be->release(c->dev, p);
}

/* A copy in backend memory; NULL when that fails. */
static inline void *sae_device_copy(const sae_ctx *c, const void *host, size_t bytes)
{
    void *p = c->be->alloc(c->dev, bytes);
    if (p && c->be->copy(c->dev, p, host, bytes, SAE_COPY_H2D) < 0) {
        c->be->release(c->dev, p);
        p = NULL;
    }
    return p;
}

#endif
