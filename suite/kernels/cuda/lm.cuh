/* suite/kernels/cuda/lm.cuh - the entries of the table of language models (sae/lm_ops.h). */
#ifndef SAE_KERNELS_CUDA_LM_CUH
#define SAE_KERNELS_CUDA_LM_CUH

#include "cuda/cuda.cuh"

#include <type_traits>

constexpr int WIDEST = 256; /* components of a head; wider ones are SAE_EINVAL */

/* sae_cuda_lm_<op>, of the type that the table's member points to */
#define SAE_CUDA_LM_DECLARE(op) std::remove_pointer_t<decltype(sae_lm_ops::op)> sae_cuda_lm_##op;
SAE_LM_OPS_LIST(SAE_CUDA_LM_DECLARE)
#undef SAE_CUDA_LM_DECLARE

/* The sum of all lanes' s, in every lane, along one tree. */
template <class T> __device__ T lane_sum(T s)
{
    for (int by = WARP / 2; by; by /= 2)
        s += __shfl_xor_sync(~0u, s, by);
    return s;
}

#endif
