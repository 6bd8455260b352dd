/* suite/models/arch/qwen3.c - Qwen3 (Yang et al. 2025): llama with normalised query and key heads
 * and a head width of its own. */
#include "core/error.h"
#include "models/lm_arch.h"

static const sae_lm_key keys[] = {
    SAE_LM_KEYS_COMMON,
    SAE_LM_ACT("hidden_act"),
    SAE_LM_OTHER("attention_bias"),
    SAE_LM_KEYS_UPPER_WINDOW,
    {0},
};

static int complete(sae_lm_config *c, const json_t *o, sae_err *err)
{
    SAE_TRY(sae_lm_json_flag(o, "attention_bias", &c->bias_qkv, err));
    c->bias_o = c->bias_qkv;
    return sae_lm_json_upper_window(c, o, err);
}

const sae_lm_arch sae_lm_arch_qwen3 = {
    .name = "qwen3",
    .base = {.norm_in = SAE_LM_NORM_RMS,
             .norm_final = SAE_LM_NORM_RMS,
             .eps = 1e-6,
             .act = SAE_LM_SILU,
             .gated = 1,
             .qk_norm = 1,
             .head = 128,
             .rope = {{.theta = 10000}}},
    .keys = keys,
    .complete = complete,
    .names = {SAE_LM_NAMES_LLAMA, SAE_LM_NORMS_LLAMA(SAE_LM_PLAIN), SAE_LM_NORMS_TWO,
              SAE_LM_NORMS_QK(SAE_LM_PLAIN)},
};
