/* suite/kernels/cuda/share.cuh - several devices as one: memory spread over theirs, and the order
 * of what they do. Entries about one device serve those without peers, too. */
#ifndef SAE_KERNELS_CUDA_SHARE_CUH
#define SAE_KERNELS_CUDA_SHARE_CUH

#include "cuda/cuda.cuh"

/* As sae_backend.share and after. */
int sae_cuda_share_memory(sae_device *lead, sae_device *const *peer, int count, sae_err *err);
int sae_cuda_after(sae_device *dev, sae_device *other);
/* Device memory, contents undefined: of a lead in pieces, one on each device, where it is large.
 * NULL when out of memory: dev->why says where, and how much there was. */
void *sae_cuda_spread_take(sae_device *dev, size_t bytes);
void sae_cuda_spread_free(sae_device *dev, void *p); /* NULL-safe; waits for what uses it */
/* How many devices have a piece of p, dev's own memory, in order; *of is left where it is dev's
 * alone. */
int sae_cuda_spread_over(const sae_device *dev, const void *p, sae_device *const **of);
/* cudaMemcpyAsync and cudaMemsetAsync, to 0, in a stream of dev, where memory may be spread: piece
 * by piece. Any thread may call. */
cudaError_t sae_cuda_copy_pieces(const sae_device *dev, void *dst, const void *src, size_t bytes,
                                 cudaMemcpyKind kind, cudaStream_t stream);
cudaError_t sae_cuda_zero_pieces(const sae_device *dev, void *p, size_t bytes);
/* Bytes that can be taken and bytes there are; 0 where nobody knows. */
void sae_cuda_share_room(const sae_device *dev, int64_t *left, int64_t *total);
/* What dev, or the first of its peers that failed, said of it. */
const char *sae_cuda_share_why(const sae_device *dev);
/* When dev closes: it neither leads nor follows any more. */
void sae_cuda_share_close(sae_device *dev);

#endif
