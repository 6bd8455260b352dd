/* suite/models/arch/gpt2.c - GPT-2 (Radford et al. 2019): layer norms with bias, learned positions,
 * matrices stored transposed, one tensor for queries, keys and values. */
#include "core/error.h"
#include "models/lm_arch.h"

static const sae_lm_key keys[] = {
    SAE_LM_INT("n_embd", d, 1),
    SAE_LM_INT("n_inner", hidden, 0),
    SAE_LM_INT("n_layer", layers, 1),
    SAE_LM_INT("n_head", heads, 1),
    SAE_LM_INT("vocab_size", vocab, 1),
    SAE_LM_INT("n_positions", ctx, 1),
    SAE_LM_REAL("layer_norm_epsilon", eps),
    SAE_LM_ACT("activation_function"),
    SAE_LM_FLAG("tie_word_embeddings", tied),
    SAE_LM_OTHER("n_ctx"), /* an old name of n_positions */
    SAE_LM_OTHER("scale_attn_weights"),
    SAE_LM_OTHER("scale_attn_by_inverse_layer_idx"),
    {0},
};

static int complete(sae_lm_config *c, const json_t *o, sae_err *err)
{
    SAE_TRY(sae_lm_json_must(o, "scale_attn_weights", 1, err));
    SAE_TRY(sae_lm_json_must(o, "scale_attn_by_inverse_layer_idx", 0, err));
    if (!sae_lm_json(o, "n_inner") && __builtin_mul_overflow(c->d, 4, &c->hidden))
        c->hidden = INT64_MAX; /* the check of extents refuses it */
    int64_t old = c->ctx;
    SAE_TRY(sae_lm_json_int(o, "n_ctx", &old, err));
    if (old != c->ctx)
        SAE_FAIL(err, SAE_EFORMAT, "n_ctx: expected %lld like n_positions, found %lld",
                 (long long)c->ctx, (long long)old);
    return SAE_OK;
}

#define LAYER "h.*."

const sae_lm_arch sae_lm_arch_gpt2 = {
    .name = "gpt2",
    .prefix = "transformer.",
    .base = {.norm_in = SAE_LM_NORM_LAYER,
             .norm_final = SAE_LM_NORM_LAYER,
             .eps = 1e-5,
             .act = SAE_LM_GELU_TANH,
             .bias_qkv = 1,
             .bias_o = 1,
             .bias_mlp = 1,
             .learned_positions = 1,
             .tied = 1},
    .keys = keys,
    .complete = complete,
    .names =
        {
            [SAE_LM_EMBED] = {"wte.weight", SAE_LM_PLAIN},
            [SAE_LM_POSITION] = {"wpe.weight", SAE_LM_PLAIN},
            [SAE_LM_NORM_FINAL] = {"ln_f.weight", SAE_LM_PLAIN},
            [SAE_LM_NORM_FINAL_B] = {"ln_f.bias", SAE_LM_PLAIN},
            [SAE_LM_HEAD] = {"lm_head.weight", SAE_LM_PLAIN},
            [SAE_LM_NORM_ATTN] = {LAYER "ln_1.weight", SAE_LM_PLAIN},
            [SAE_LM_NORM_ATTN_B] = {LAYER "ln_1.bias", SAE_LM_PLAIN},
            [SAE_LM_Q] = {LAYER "attn.c_attn.weight", SAE_LM_THIRD_Q},
            [SAE_LM_K] = {LAYER "attn.c_attn.weight", SAE_LM_THIRD_K},
            [SAE_LM_V] = {LAYER "attn.c_attn.weight", SAE_LM_THIRD_V},
            [SAE_LM_Q_B] = {LAYER "attn.c_attn.bias", SAE_LM_THIRD_Q},
            [SAE_LM_K_B] = {LAYER "attn.c_attn.bias", SAE_LM_THIRD_K},
            [SAE_LM_V_B] = {LAYER "attn.c_attn.bias", SAE_LM_THIRD_V},
            [SAE_LM_O] = {LAYER "attn.c_proj.weight", SAE_LM_TRANSPOSED},
            [SAE_LM_O_B] = {LAYER "attn.c_proj.bias", SAE_LM_PLAIN},
            [SAE_LM_NORM_MLP] = {LAYER "ln_2.weight", SAE_LM_PLAIN},
            [SAE_LM_NORM_MLP_B] = {LAYER "ln_2.bias", SAE_LM_PLAIN},
            [SAE_LM_UP] = {LAYER "mlp.c_fc.weight", SAE_LM_TRANSPOSED},
            [SAE_LM_UP_B] = {LAYER "mlp.c_fc.bias", SAE_LM_PLAIN},
            [SAE_LM_DOWN] = {LAYER "mlp.c_proj.weight", SAE_LM_TRANSPOSED},
            [SAE_LM_DOWN_B] = {LAYER "mlp.c_proj.bias", SAE_LM_PLAIN},
        },
};
