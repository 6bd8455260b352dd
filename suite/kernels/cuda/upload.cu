/* suite/kernels/cuda/upload.cu - host memory the device reads at full speed, and copies from it
 * beside what the device computes. */
#include "cuda/upload.cuh"

#include "cuda/share.cuh"

/* Pinned for every device: several may read one batch. */
void *sae_cuda_alloc_host(sae_device *dev, size_t bytes)
{
    void *p = NULL;
    std::lock_guard<std::mutex> alone(sae_cuda_memory);
    cudaError_t rc = sae_cuda_here(dev);
    if (rc == cudaSuccess)
        rc = cudaHostAlloc(&p, bytes ? bytes : 1, cudaHostAllocPortable);
    if (rc == cudaSuccess)
        return p;
    cudaGetLastError(); /* it would be found by the next launch */
    return NULL;
}

void sae_cuda_release_host(sae_device *dev, void *p)
{
    std::lock_guard<std::mutex> alone(sae_cuda_memory);
    sae_cuda_here(dev);
    cudaFreeHost(p);
}

/* On a thread of its own: the current device and the last error are the thread's, the stream is
 * used by nothing else, and dev->why is left to the thread of the device. Kernels that are launched
 * after this has returned find the bytes, in whatever stream. */
int sae_cuda_upload(sae_device *dev, void *dst, const void *src, size_t bytes)
{
    if (!bytes)
        return SAE_OK;
    cudaError_t rc = sae_cuda_here(dev);
    if (rc == cudaSuccess)
        rc = sae_cuda_copy_pieces(dev, dst, src, bytes, cudaMemcpyHostToDevice, dev->uploads);
    if (rc == cudaSuccess)
        rc = cudaStreamSynchronize(dev->uploads);
    if (rc == cudaSuccess)
        return SAE_OK;
    cudaGetLastError();
    return SAE_EBACKEND;
}
