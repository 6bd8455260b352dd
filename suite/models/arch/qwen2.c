/* suite/models/arch/qwen2.c - Qwen2 and Qwen2.5 (Yang et al. 2024): llama with biases on queries,
 * keys and values; the upper layers may have a sliding window. */
#include "models/lm_arch.h"

static const sae_lm_key keys[] = {
    SAE_LM_KEYS_COMMON,
    SAE_LM_ACT("hidden_act"),
    SAE_LM_KEYS_UPPER_WINDOW,
    {0},
};

const sae_lm_arch sae_lm_arch_qwen2 = {
    .name = "qwen2",
    .base = {.norm_in = SAE_LM_NORM_RMS,
             .norm_final = SAE_LM_NORM_RMS,
             .eps = 1e-6,
             .act = SAE_LM_SILU,
             .gated = 1,
             .bias_qkv = 1,
             .rope = {{.theta = 10000}}},
    .keys = keys,
    .complete = sae_lm_json_upper_window,
    .names = {SAE_LM_NAMES_LLAMA, SAE_LM_NORMS_LLAMA(SAE_LM_PLAIN), SAE_LM_NORMS_TWO},
};
