/* suite/core/assets.c - looking up embedded files. */
#include "core/assets.h"

#include <string.h>

const sae_asset *sae_asset_find(const char *name)
{
    for (const sae_asset *a = sae_assets; a->name; a++)
        if (strcmp(a->name, name) == 0)
            return a;
    return NULL;
}
