/* suite/kernels/cuda/each.cuh - matrices element by element. */
#ifndef SAE_KERNELS_CUDA_EACH_CUH
#define SAE_KERNELS_CUDA_EACH_CUH

#include "cuda/cuda.cuh"

/* Elements of a thread, one below the other: read before the first is written, since the compiler
 * must suppose that they overlap. */
constexpr int EACH_DEEP = 4;

/* A block has 2^shift columns and BLOCK / 2^shift threads below each other. */
template <class F>
__global__ void each(sae_mat out, int shift, int64_t across, int64_t tiles, F value)
{
    int64_t high = BLOCK >> shift, x = threadIdx.x & ((1u << shift) - 1), y = threadIdx.x >> shift;
    for (int64_t tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
        int64_t c = (tile % across << shift) + x, r = tile / across * high * EACH_DEEP + y;
        sae_real v[EACH_DEEP] = {0};
        for (int i = 0; i < EACH_DEEP; i++)
            if (c < out.cols && r + i * high < out.rows)
                v[i] = value(r + i * high, c);
        for (int i = 0; i < EACH_DEEP; i++)
            if (c < out.cols && r + i * high < out.rows)
                out.p[(r + i * high) * out.ld + c] = v[i];
    }
}

/* out[r, c] = value(r, c) */
template <class F> int fill(sae_device *dev, sae_mat out, F value)
{
    int shift = 0;
    while (BLOCK >> shift > 1 && (int64_t)1 << shift < out.cols)
        shift++;
    int64_t high = (int64_t)(BLOCK >> shift) * EACH_DEEP;
    int64_t across = (out.cols + (1 << shift) - 1) >> shift, down = (out.rows + high - 1) / high;
    return LAUNCH(dev, (each<F>), blocks_for(across * down, 1), BLOCK, out, shift, across,
                  across * down, value);
}

#endif
