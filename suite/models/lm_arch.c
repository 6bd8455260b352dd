/* suite/models/lm_arch.c - the architectures there are. */
#include "models/lm_arch.h"

#define ARCHITECTURES(X)                                                                           \
    X(llama) X(mistral) X(qwen2) X(qwen3) X(gemma2) X(gemma3_text) X(gemma3) X(gpt2) X(gpt_neox)

#define DECLARE(name_) extern const sae_lm_arch sae_lm_arch_##name_;
#define ADDRESS(name_) &sae_lm_arch_##name_,
ARCHITECTURES(DECLARE)
const sae_lm_arch *const sae_lm_archs[] = {ARCHITECTURES(ADDRESS) NULL};
