/* suite/kernels/cuda/sort.cuh - a stable sort of pairs. */
#ifndef SAE_KERNELS_CUDA_SORT_CUH
#define SAE_KERNELS_CUDA_SORT_CUH

#include "cuda/cuda.cuh"

#include <cub/cub.cuh>

/* count pairs by the lowest `bits` bits of their keys, ascending; works in WS_CUB. */
template <class K, class V>
int sae_cuda_sort(sae_device *dev, int64_t count, int bits, const K *keys, const V *values,
                  K *keys_out, V *values_out)
{
    size_t bytes = 0;
    void *room = nullptr;
    for (int pass = 0; pass < 2; pass++) { /* first asks how much room it wants */
        TRY(sae_cuda_check(dev, cub::DeviceRadixSort::SortPairs(room, bytes, keys, keys_out, values,
                                                                values_out, count, 0, bits,
                                                                dev->stream)));
        if (!room && !(room = sae_cuda_ws(dev, WS_CUB, (int64_t)bytes, 1)))
            return SAE_ENOMEM;
    }
    return SAE_OK;
}

#endif
