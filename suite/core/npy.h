/* suite/core/npy.h - NumPy .npy arrays (format versions 1, 2, 3; little endian; C order), mapped. */
#ifndef SAE_CORE_NPY_H
#define SAE_CORE_NPY_H

#include "safetensors.h"

typedef struct sae_npy {
    sae_map map;
    enum sae_st_dtype dtype; /* '<f4' '<f8' '<f2' '<i8' '<i4' '<i2' '|i1' '<u8' ... '|b1' */
    int rank;
    int64_t shape[8], count;
    const void *data;
    size_t bytes;
} sae_npy;

int sae_npy_open(sae_npy *a, const char *path, sae_err *err);
void sae_npy_close(sae_npy *a);

#endif
