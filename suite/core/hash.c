/* suite/core/hash.c - xxh128 through libxxhash. */
#include "core/hash.h"

#include "core/error.h"
#include "core/file.h"
#include "core/memory.h"

#include <string.h>
#include <xxhash.h>

struct sae_hasher {
    XXH3_state_t *state;
};

static void hex(const unsigned char *p, size_t bytes, char *out)
{
    static const char digit[] = "0123456789abcdef";
    for (size_t i = 0; i < bytes; i++) {
        *out++ = digit[p[i] >> 4];
        *out++ = digit[p[i] & 15];
    }
    *out = '\0';
}

static void hex128(XXH128_hash_t h, char out[36])
{
    XXH128_canonical_t c; /* big endian: the digits that xxhsum prints */
    XXH128_canonicalFromHash(&c, h);
    hex(c.digest, sizeof c.digest, out);
}

int sae_hasher_open(sae_hasher **h, sae_err *err)
{
    *h = NULL;
    SAE_TRY(sae_new(h, 1, sizeof **h, "hasher", err));
    (*h)->state = XXH3_createState();
    if (!(*h)->state) {
        sae_free(*h);
        *h = NULL;
        SAE_FAIL(err, SAE_ENOMEM, "out of memory for a hash state");
    }
    (void)XXH3_128bits_reset((*h)->state);
    return SAE_OK;
}

void sae_hasher_add(sae_hasher *h, const void *p, size_t bytes)
{
    if (bytes)
        (void)XXH3_128bits_update(h->state, p, bytes);
}

void sae_hasher_text(sae_hasher *h, const char *s)
{
    sae_hasher_add(h, s, strlen(s) + 1);
}

void sae_hasher_end(sae_hasher **h, char out[36])
{
    hex128(XXH3_128bits_digest((*h)->state), out);
    XXH3_freeState((*h)->state);
    sae_free(*h);
    *h = NULL;
}

void sae_hash_bytes(const void *p, size_t bytes, char out[36])
{
    hex128(XXH3_128bits(bytes ? p : "", bytes), out);
}

int sae_hash_file(const char *path, char out[36], sae_err *err)
{
    sae_map m;
    SAE_TRY(sae_map_open(&m, path, err));
    sae_hash_bytes(m.p, m.bytes, out);
    sae_map_close(&m);
    return SAE_OK;
}
