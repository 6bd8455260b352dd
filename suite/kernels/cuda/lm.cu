/* suite/kernels/cuda/lm.cu - the table of what the passes of language models compute. */
#include "cuda/lm.cuh"

#define ENTRY(op) sae_cuda_lm_##op,
const sae_lm_ops sae_cuda_lm = {SAE_LM_OPS_ABI, sizeof(sae_lm_ops), WIDEST, SAE_LM_OPS_LIST(ENTRY)};
#undef ENTRY
