/* suite/kernels/cuda/random.cu - random numbers: the bits of the host. */
#include "cuda/cuda.cuh"

#include <sae/rng.h>

/* A thread makes the four normals of a Philox call. */
static __global__ void normals(uint64_t seed, uint32_t stream, uint64_t row0, sae_mat out)
{
    int64_t calls = (out.cols + 3) / 4;
    GRID_FOR(i, out.rows * calls)
    {
        int64_t r = i / calls, c = i % calls * 4;
        double z[4];
        sae_normal4(seed, stream, row0 + (uint64_t)r, (uint32_t)(c / 4), z);
        for (int k = 0; k < 4 && c + k < out.cols; k++)
            out.p[r * out.ld + c + k] = (sae_real)z[k];
    }
}

SAE_DECL_normal_fill(SAE_CUDA(normal_fill))
{
    if (bad_mat(out) || out.cols > UINT32_MAX)
        return SAE_EINVAL;
    return LAUNCH(dev, normals, blocks_for(out.rows * ((out.cols + 3) / 4), BLOCK), BLOCK, seed,
                  stream, row0, out);
}
