/* suite/core/assets.h - files of the source tree carried inside the binary (plans, templates). */
#ifndef SAE_CORE_ASSETS_H
#define SAE_CORE_ASSETS_H

#include <stddef.h>
#include <stdio.h>

typedef struct sae_asset {
    const char *name; /* path in the source tree: "suite/plans/quickstart.yaml" */
    const unsigned char *data, *end;
} sae_asset;

extern const sae_asset sae_assets[]; /* ends with name == NULL; generated */

const sae_asset *sae_asset_find(const char *name); /* NULL when absent */
void sae_asset_write(const char *name, FILE *f);   /* of a file that is there */

#endif
