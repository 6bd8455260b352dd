/* suite/models/lm_place.c - see lm_place.h. */
#include "models/lm_place.h"

#include "core/error.h"
#include "core/memory.h"
#include "models/lm_math.h"

#include <string.h>

sae_lm_place sae_lm_place_host(const sae_engine *e)
{
    return (sae_lm_place){&e->host_k, e->host_dev, NULL, &sae_lm_host_ops};
}

sae_lm_place sae_lm_place_of(const sae_engine *e)
{
    if (e->props.shares_host || !e->be->lm)
        return sae_lm_place_host(e);
    return (sae_lm_place){&e->k, e->dev, e->be, e->be->lm};
}

/* ": and why", or "" where nobody knows. */
static const char *reason(const sae_lm_place *at, const char **colon)
{
    const char *why = at->be && at->be->why ? at->be->why(at->dev) : "";
    *colon = *why ? ": " : "";
    return why;
}

int sae_lm_done(const sae_lm_place *at, int rc, const char *what, sae_err *err)
{
    const char *colon;
    if (rc >= 0)
        return SAE_OK;
    const char *why = reason(at, &colon);
    SAE_FAIL(err, rc, "language model: %s failed%s%.160s", what, colon, why);
}

int sae_lm_new(const sae_lm_place *at, void *out, int64_t count, size_t size, const char *what,
               sae_err *err)
{
    size_t bytes;
    const char *colon;
    if (!at->be)
        return sae_new(out, count, size, what, err);
    SAE_TRY(sae_size_mul(&bytes, count, (int64_t)size, err));
    void *p = at->be->alloc(at->dev, bytes);
    if (!p) {
        const char *why = reason(at, &colon);
        SAE_FAIL(err, SAE_ENOMEM, "out of device memory: %zu bytes for %s%s%.160s", bytes, what,
                 colon, why);
    }
    memcpy(out, &p, sizeof p);
    return SAE_OK;
}

void sae_lm_free(const sae_lm_place *at, void *p)
{
    if (p && at->be)
        at->be->release(at->dev, p);
    else
        sae_free(p);
}

static int copy(const sae_lm_place *at, void *to, const void *from, int64_t count, size_t size,
                enum sae_copy kind, sae_err *err)
{
    size_t bytes = (size_t)count * size;
    if (at->be)
        return sae_lm_done(at, at->be->copy(at->dev, to, from, bytes, kind), "a copy", err);
    if (bytes > 0)
        memcpy(to, from, bytes);
    return SAE_OK;
}

int sae_lm_put(const sae_lm_place *at, void *to, const void *host, int64_t count, size_t size,
               sae_err *err)
{
    return copy(at, to, host, count, size, SAE_COPY_H2D, err);
}

int sae_lm_get(const sae_lm_place *at, void *host, const void *from, int64_t count, size_t size,
               sae_err *err)
{
    return copy(at, host, from, count, size, SAE_COPY_D2H, err);
}

int sae_lm_move(const sae_lm_place *at, void *to, const void *from, int64_t count, size_t size,
                sae_err *err)
{
    return copy(at, to, from, count, size, SAE_COPY_D2D, err);
}
