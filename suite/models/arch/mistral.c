/* suite/models/arch/mistral.c - Mistral 7B (Jiang et al. 2023): llama with a sliding window in
 * every layer. */
#include "models/lm_arch.h"

static const sae_lm_key keys[] = {
    SAE_LM_KEYS_COMMON,
    SAE_LM_ACT("hidden_act"),
    SAE_LM_INT("sliding_window", window, 0),
    {0},
};

static int complete(sae_lm_config *c, const json_t *o, sae_err *err)
{
    (void)err;
    if (json_is_null(json_object_get(o, "sliding_window")))
        c->window = 0; /* absent: the default; null: none */
    else
        sae_lm_set_local(c, INT64_MAX);
    return SAE_OK;
}

const sae_lm_arch sae_lm_arch_mistral = {
    .name = "mistral",
    .base = {.norm_in = SAE_LM_NORM_RMS,
             .norm_final = SAE_LM_NORM_RMS,
             .eps = 1e-6,
             .act = SAE_LM_SILU,
             .gated = 1,
             .kv_heads = 8,
             .window = 4096,
             .rope = {{.theta = 10000}}},
    .keys = keys,
    .complete = complete,
    .names = {SAE_LM_NAMES_LLAMA, SAE_LM_NORMS_LLAMA(SAE_LM_PLAIN), SAE_LM_NORMS_TWO},
};
