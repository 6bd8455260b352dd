/* suite/kernels/cuda/reduce.cuh - arrays of several devices that become one. */
#ifndef SAE_KERNELS_CUDA_REDUCE_CUH
#define SAE_KERNELS_CUDA_REDUCE_CUH

#include "cuda/cuda.cuh"

int sae_cuda_reduce(sae_device *const *dev, int count, void *const *p, int64_t n,
                    enum sae_reduction how, sae_err *err);
/* When dev closes: it reduces with no other device any more, nor they with it. */
void sae_cuda_ring_close(sae_device *dev);

#endif
