/* suite/kernels/cuda/walk.cuh - an encoder's output piece by piece (product.cu). */
#ifndef SAE_KERNELS_CUDA_WALK_CUH
#define SAE_KERNELS_CUDA_WALK_CUH

#include "cuda/replay.cuh"

/* A matrix of floats, or of bf16: frozen weights and the rows they are multiplied with. */
typedef struct sae_cuda_operand {
    const void *p;
    int64_t rows, cols, ld;
    int half; /* 1: bf16 */
} sae_cuda_operand;

/* What a walk shows: rows [row, row + live), columns [col, col + cols) of an encoder's output. */
typedef struct sae_cuda_pre {
    const sae_real *p; /* [live x cols] without the bias */
    int64_t ld, row, live, col, cols;
    const sae_real *bias;  /* [n] or NULL */
    const int32_t *subset; /* of all columns, or NULL */

    __device__ int32_t feature(int64_t c) const
    {
        return subset ? subset[col + c] : (int32_t)(col + c);
    }
    /* v of column c with its bias: the one place where it is added. */
    __device__ sae_real biased(sae_real v, int64_t c) const
    {
        return bias ? v + bias[feature(c)] : v;
    }
    /* Row r and column c of the piece. */
    __device__ sae_real at(int64_t r, int64_t c) const
    {
        return biased(p[r * ld + c], c);
    }
} sae_cuda_pre;

/* A walk over an encoder's output, piece by piece; nothing of size B x n exists:
 *     sae_cuda_walk w = sae_cuda_walk_of(e);
 *     while ((rc = sae_cuda_walk_next(dev, &w)) > 0) ... w.pre ...
 * Chunks of rows ascend, panels of columns ascend inside a chunk. The piece is valid until the next
 * call; WS_ROWS, WS_OUT and WS_SHIFT are the walk's. */
typedef struct sae_cuda_walk {
    const sae_encoder *e;
    sae_cuda_pre pre;
    sae_cuda_operand w, x; /* the weights; the chunk, shifted and padded to CHUNK rows */
} sae_cuda_walk;

static inline sae_cuda_walk sae_cuda_walk_of(const sae_encoder *e)
{
    sae_cuda_walk w;
    memset(&w, 0, sizeof w);
    w.e = e;
    return w;
}
/* 1: w shows the next piece; 0: the end; else a status. */
int sae_cuda_walk_next(sae_device *dev, sae_cuda_walk *w);

#endif
