/* suite/kernels/cuda/random.cu - random numbers: the bits of the host. */
#include "cuda/cuda.cuh"

#include <sae/rng.h>

static __global__ void normals(uint64_t seed, uint32_t stream, uint64_t row0, sae_mat out)
{
    GRID_FOR(i, out.rows * out.cols)
    {
        int64_t r = i / out.cols, c = i % out.cols;
        out.p[r * out.ld + c] = (sae_real)sae_normal(seed, stream, row0 + (uint64_t)r, (uint32_t)c);
    }
}

SAE_DECL_normal_fill(SAE_CUDA(normal_fill))
{
    if (bad_mat(out) || out.cols > UINT32_MAX)
        return SAE_EINVAL;
    return LAUNCH(dev, normals, blocks_for(out.rows * out.cols, BLOCK), BLOCK, seed, stream, row0,
                  out);
}
