/* suite/models/arch/gpt_neox.c - GPT-NeoX and Pythia (Black et al. 2022; Biderman et al. 2023):
 * attention and MLP side by side, rotary positions on a quarter of a head, untied output. */
#include "core/error.h"
#include "models/lm_arch.h"

static const sae_lm_key keys[] = {
    SAE_LM_INT("hidden_size", d, 1),
    SAE_LM_INT("intermediate_size", hidden, 1),
    SAE_LM_INT("num_hidden_layers", layers, 1),
    SAE_LM_INT("num_attention_heads", heads, 1),
    SAE_LM_INT("vocab_size", vocab, 1),
    SAE_LM_INT("max_position_embeddings", ctx, 1),
    SAE_LM_REAL("layer_norm_eps", eps),
    SAE_LM_ACT("hidden_act"),
    SAE_LM_FLAG("tie_word_embeddings", tied),
    SAE_LM_FLAG("use_parallel_residual", parallel),
    SAE_LM_OTHER("attention_bias"),
    SAE_LM_OTHER("rotary_pct"),
    SAE_LM_OTHER("rotary_emb_base"), /* an old name of rope_theta */
    SAE_LM_OTHER("rope_theta"),
    SAE_LM_OTHER("rope_scaling"),
    SAE_LM_OTHER("rope_parameters"),
    {0},
};

/* The old name and the new one, where both are given, must agree. */
static int get_base(sae_lm_config *c, const json_t *o, sae_err *err)
{
    double base = c->rope[0].theta;
    SAE_TRY(sae_lm_json_real(o, "rotary_emb_base", &base, err));
    if (sae_lm_json(o, "rope_theta") && base != c->rope[0].theta)
        SAE_FAIL(err, SAE_EFORMAT, "rotary_emb_base: expected %g like rope_theta, found %g",
                 c->rope[0].theta, base);
    c->rope[0].theta = base;
    return SAE_OK;
}

static int complete(sae_lm_config *c, const json_t *o, sae_err *err)
{
    double share = 0.25;
    const json_t *newer = sae_lm_json(o, "rope_parameters");
    SAE_TRY(sae_lm_json_flag(o, "attention_bias", &c->bias_qkv, err));
    c->bias_o = c->bias_qkv;
    if (!newer)
        SAE_TRY(get_base(c, o, err));
    SAE_TRY(sae_lm_json_real(o, "rotary_pct", &share, err));
    if (newer)
        SAE_TRY(sae_lm_json_real(newer, "partial_rotary_factor", &share, err));
    if (!(share > 0 && share <= 1))
        SAE_FAIL(err, SAE_EFORMAT, "rotary_pct: expected a share in (0, 1], found %g", share);
    if (c->head <= INT32_MAX) /* beyond, the check of extents refuses it */
        c->rotary = (int64_t)((double)c->head * share);
    return SAE_OK;
}

#define LAYER "gpt_neox.layers.*."

const sae_lm_arch sae_lm_arch_gpt_neox = {
    .name = "gpt_neox",
    .base = {.norm_in = SAE_LM_NORM_LAYER,
             .norm_final = SAE_LM_NORM_LAYER,
             .eps = 1e-5,
             .act = SAE_LM_GELU,
             .parallel = 1,
             .bias_qkv = 1,
             .bias_o = 1,
             .bias_mlp = 1,
             .rope = {{.theta = 10000}}},
    .keys = keys,
    .complete = complete,
    .names =
        {
            [SAE_LM_EMBED] = {"gpt_neox.embed_in.weight", SAE_LM_PLAIN},
            [SAE_LM_NORM_FINAL] = {"gpt_neox.final_layer_norm.weight", SAE_LM_PLAIN},
            [SAE_LM_NORM_FINAL_B] = {"gpt_neox.final_layer_norm.bias", SAE_LM_PLAIN},
            [SAE_LM_HEAD] = {"embed_out.weight", SAE_LM_PLAIN},
            [SAE_LM_NORM_ATTN] = {LAYER "input_layernorm.weight", SAE_LM_PLAIN},
            [SAE_LM_NORM_ATTN_B] = {LAYER "input_layernorm.bias", SAE_LM_PLAIN},
            [SAE_LM_Q] = {LAYER "attention.query_key_value.weight", SAE_LM_MIXED_Q},
            [SAE_LM_K] = {LAYER "attention.query_key_value.weight", SAE_LM_MIXED_K},
            [SAE_LM_V] = {LAYER "attention.query_key_value.weight", SAE_LM_MIXED_V},
            [SAE_LM_Q_B] = {LAYER "attention.query_key_value.bias", SAE_LM_MIXED_Q},
            [SAE_LM_K_B] = {LAYER "attention.query_key_value.bias", SAE_LM_MIXED_K},
            [SAE_LM_V_B] = {LAYER "attention.query_key_value.bias", SAE_LM_MIXED_V},
            [SAE_LM_O] = {LAYER "attention.dense.weight", SAE_LM_PLAIN},
            [SAE_LM_O_B] = {LAYER "attention.dense.bias", SAE_LM_PLAIN},
            [SAE_LM_NORM_MLP] = {LAYER "post_attention_layernorm.weight", SAE_LM_PLAIN},
            [SAE_LM_NORM_MLP_B] = {LAYER "post_attention_layernorm.bias", SAE_LM_PLAIN},
            [SAE_LM_UP] = {LAYER "mlp.dense_h_to_4h.weight", SAE_LM_PLAIN},
            [SAE_LM_UP_B] = {LAYER "mlp.dense_h_to_4h.bias", SAE_LM_PLAIN},
            [SAE_LM_DOWN] = {LAYER "mlp.dense_4h_to_h.weight", SAE_LM_PLAIN},
            [SAE_LM_DOWN_B] = {LAYER "mlp.dense_4h_to_h.bias", SAE_LM_PLAIN},
        },
};
