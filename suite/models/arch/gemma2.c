/* suite/models/arch/gemma2.c - Gemma 2 (Gemma team 2024): norms before and after each half, capped
 * scores and logits, every other layer local, scaled embedding. */
#include "core/error.h"
#include "models/lm_arch.h"

#include <math.h>

static const sae_lm_key keys[] = {
    SAE_LM_KEYS_COMMON,
    SAE_LM_OTHER("hidden_act"), /* overruled by hidden_activation */
    SAE_LM_ACT("hidden_activation"),
    SAE_LM_OTHER("query_pre_attn_scalar"),
    SAE_LM_OTHER("attn_logit_softcapping"),
    SAE_LM_OTHER("final_logit_softcapping"),
    SAE_LM_INT("sliding_window", window, 0),
    SAE_LM_OTHER("layer_types"),
    {0},
};

static int complete(sae_lm_config *c, const json_t *o, sae_err *err)
{
    double scalar = 256;
    SAE_TRY(sae_lm_json_real(o, "query_pre_attn_scalar", &scalar, err));
    SAE_TRY(sae_lm_json_cap(o, "attn_logit_softcapping", &c->attn_cap, err));
    SAE_TRY(sae_lm_json_cap(o, "final_logit_softcapping", &c->final_cap, err));
    if (!(scalar > 0))
        SAE_FAIL(err, SAE_EFORMAT, "query_pre_attn_scalar: expected a positive number, found %g",
                 scalar);
    c->attn_scale = 1 / sqrt(scalar);
    c->embed_scale = sqrt((double)c->d);
    sae_lm_set_local(c, 2);
    return sae_lm_json_layer_types(o, c, err);
}

const sae_lm_arch sae_lm_arch_gemma2 = {
    .name = "gemma2",
    .base = {.norm_in = SAE_LM_NORM_RMS,
             .norm_final = SAE_LM_NORM_RMS,
             .eps = 1e-6,
             .act = SAE_LM_GELU_TANH,
             .gated = 1,
             .post_norm = 1,
             .head = 256,
             .kv_heads = 4,
             .rope = {{.theta = 10000}},
             .window = 4096,
             .attn_cap = 50,
             .final_cap = 30,
             .tied = 1},
    .keys = keys,
    .complete = complete,
    .names = {SAE_LM_NAMES_LLAMA, SAE_LM_NORMS_LLAMA(SAE_LM_MINUS_ONE), SAE_LM_NORMS_GEMMA},
};
