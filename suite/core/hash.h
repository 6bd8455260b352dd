/* suite/core/hash.h - content keys (xxh128) in hexadecimal. */
#ifndef SAE_CORE_HASH_H
#define SAE_CORE_HASH_H

#include <sae/base.h>

typedef struct sae_hasher sae_hasher; /* streaming xxh128 */

int sae_hasher_open(sae_hasher **h, sae_err *err);
void sae_hasher_add(sae_hasher *h, const void *p, size_t bytes);
void sae_hasher_text(sae_hasher *h, const char *s); /* with its terminator */
void sae_hasher_end(sae_hasher **h, char out[36]);  /* 32 digits; closes */

void sae_hash_bytes(const void *p, size_t bytes, char out[36]);
int sae_hash_file(const char *path, char out[36], sae_err *err);

#endif
