/* suite/kernels/cuda/upload.cuh - entries of the backend that another thread's loading needs. */
#ifndef SAE_KERNELS_CUDA_UPLOAD_CUH
#define SAE_KERNELS_CUDA_UPLOAD_CUH

#include "cuda/cuda.cuh"

void *sae_cuda_alloc_host(sae_device *dev, size_t bytes);
void sae_cuda_release_host(sae_device *dev, void *p);
int sae_cuda_upload(sae_device *dev, void *dst, const void *src, size_t bytes);

#endif
