/* suite/core/npy.h - NumPy .npy arrays (versions 1, 2, 3; little endian; C order), mapped. */
#ifndef SAE_CORE_NPY_H
#define SAE_CORE_NPY_H

#include "safetensors.h"

typedef struct sae_npy {
    sae_map map;
    enum sae_st_dtype dtype; /* '<f4' '<f8' '<f2' '<i8' '<i4' '<i2' '|i1' '<u8' ... '|b1' */
    int rank;
    int64_t shape[SAE_ST_MAX_RANK], count;
    const void *data;        /* mapped; may be unaligned for its type */
    size_t bytes;
} sae_npy;

/* SAE_EFORMAT names the file and what was expected and found. The header is the literal that NumPy
 * writes: a dictionary of exactly descr, fortran_order and shape; the data fill the rest of the
 * file. */
int sae_npy_open(sae_npy *a, const char *path, sae_err *err);
void sae_npy_close(sae_npy *a);

#endif
