/* suite/kernels/cuda/lm.cuh - the entries of the table of language models (sae/lm_ops.h). */
#ifndef SAE_KERNELS_CUDA_LM_CUH
#define SAE_KERNELS_CUDA_LM_CUH

#include "cuda/cuda.cuh"

#include <type_traits>

/* In the order of the table. */
#define SAE_CUDA_LM_LIST(X)                                                                        \
    X(embed)                                                                                       \
    X(embed_back)                                                                                  \
    X(norm)                                                                                        \
    X(norm_back)                                                                                   \
    X(mix)                                                                                         \
    X(mix_back)                                                                                    \
    X(add)                                                                                         \
    X(cap)                                                                                         \
    X(position)                                                                                    \
    X(position_back)                                                                               \
    X(attention_room)                                                                              \
    X(attention)                                                                                   \
    X(attention_back)                                                                              \
    X(results)

/* sae_cuda_lm_<op>, of the type that the table's member points to */
#define SAE_CUDA_LM_DECLARE(op) std::remove_pointer_t<decltype(sae_lm_ops::op)> sae_cuda_lm_##op;
SAE_CUDA_LM_LIST(SAE_CUDA_LM_DECLARE)
#undef SAE_CUDA_LM_DECLARE

/* The sum of all lanes' s, in every lane, along one tree. */
template <class T> __device__ T lane_sum(T s)
{
    for (int by = WARP / 2; by; by /= 2)
        s += __shfl_xor_sync(~0u, s, by);
    return s;
}

#endif
