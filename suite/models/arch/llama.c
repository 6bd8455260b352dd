/* suite/models/arch/llama.c - Llama 2 and 3 (Touvron et al. 2023; Llama team 2024): RMS norms,
 * SwiGLU, rotary positions with optional scaling, grouped-query attention. */
#include "models/lm_arch.h"

static const sae_lm_key keys[] = {
    SAE_LM_KEYS_COMMON,
    SAE_LM_ACT("hidden_act"),
    SAE_LM_OTHER("attention_bias"),
    SAE_LM_FLAG("mlp_bias", bias_mlp),
    {0},
};

static int complete(sae_lm_config *c, const json_t *o, sae_err *err)
{
    if (sae_lm_json_flag(o, "attention_bias", &c->bias_qkv, err) < 0)
        return SAE_EFORMAT;
    c->bias_o = c->bias_qkv;
    return SAE_OK;
}

const sae_lm_arch sae_lm_arch_llama = {
    .name = "llama",
    .base = {.norm_in = SAE_LM_NORM_RMS,
             .norm_final = SAE_LM_NORM_RMS,
             .eps = 1e-6,
             .act = SAE_LM_SILU,
             .gated = 1,
             .rope = {{.theta = 10000}}},
    .keys = keys,
    .complete = complete,
    .names = {SAE_LM_NAMES_LLAMA, SAE_LM_NORMS_LLAMA(SAE_LM_PLAIN), SAE_LM_NORMS_TWO},
};
