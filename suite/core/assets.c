/* suite/core/assets.c - looking up embedded files. */
#include "core/assets.h"

#include "core/error.h"

#include <string.h>

const sae_asset *sae_asset_find(const char *name)
{
    for (const sae_asset *a = sae_assets; a->name; a++)
        if (strcmp(a->name, name) == 0)
            return a;
    return NULL;
}

void sae_asset_write(const char *name, FILE *f)
{
    const sae_asset *a = sae_asset_find(name);
    SAE_ASSERT(a != NULL);
    fwrite(a->data, 1, (size_t)(a->end - a->data), f);
}
