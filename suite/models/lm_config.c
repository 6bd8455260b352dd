/* suite/models/lm_config.c - what a description must fulfil, and the shapes that follow from it. */
#include "models/lm_config.h"

#include "core/error.h"

#include <math.h>

void sae_lm_set_local(sae_lm_config *c, int64_t global_every)
{
    for (int64_t l = 0; l < SAE_LM_MAX_LAYERS; l++) {
        uint64_t bit = UINT64_C(1) << (l % 64);
        int local = global_every > 0 && (l + 1) % global_every != 0;
        c->local[l / 64] = local ? c->local[l / 64] | bit : c->local[l / 64] & ~bit;
    }
}

static int check_extents(const sae_lm_config *c, sae_err *err)
{
    /* The limits keep every product of extents far inside int64. */
    const struct {
        const char *name;
        int64_t value, most;
    } extents[] = {
        {"width", c->d, 1 << 18},           {"hidden width", c->hidden, 1 << 20},
        {"layers", c->layers, SAE_LM_MAX_LAYERS}, {"vocabulary", c->vocab, 1 << 24},
        {"context", c->ctx, 1 << 24},       {"heads", c->heads, 1 << 12},
        {"key/value heads", c->kv_heads, 1 << 12}, {"head width", c->head, 1 << 12},
    };
    for (size_t i = 0; i < sizeof extents / sizeof extents[0]; i++)
        if (extents[i].value < 1 || extents[i].value > extents[i].most)
            SAE_FAIL(err, SAE_EFORMAT, "%s: expected 1 to %lld, found %lld", extents[i].name,
                     (long long)extents[i].most, (long long)extents[i].value);
    if (c->heads % c->kv_heads)
        SAE_FAIL(err, SAE_EFORMAT,
                 "heads: expected a multiple of the %lld key/value heads, found %lld",
                 (long long)c->kv_heads, (long long)c->heads);
    if (c->window < 0)
        SAE_FAIL(err, SAE_EFORMAT, "window: expected a number of positions, found %lld",
                 (long long)c->window);
    return SAE_OK;
}

static int check_rope(const sae_lm_config *c, int local, sae_err *err)
{
    const sae_lm_rope *r = &c->rope[local];
    if (!(r->theta > 0) || !isfinite(r->theta))
        SAE_FAIL(err, SAE_EFORMAT, "rope_theta: expected a positive number, found %g", r->theta);
    if (r->scaling != SAE_LM_SCALING_NONE && (!(r->factor >= 1) || !isfinite(r->factor)))
        SAE_FAIL(err, SAE_EFORMAT, "rope_scaling.factor: expected a number >= 1, found %g",
                 r->factor);
    if (r->scaling == SAE_LM_SCALING_LLAMA3 &&
        (!(r->low > 0) || !(r->high > r->low) || !(r->original >= 1) || !isfinite(r->high) ||
         !isfinite(r->original)))
        SAE_FAIL(err, SAE_EFORMAT,
                 "rope_scaling: expected 0 < low_freq_factor < high_freq_factor and "
                 "original_max_position_embeddings >= 1, found %g, %g and %g", r->low, r->high,
                 r->original);
    return SAE_OK;
}

int sae_lm_config_check(const sae_lm_config *c, sae_err *err)
{
    SAE_TRY(check_extents(c, err));
    if (c->rotary < 0 || c->rotary % 2 || c->rotary > c->head)
        SAE_FAIL(err, SAE_EFORMAT,
                 "head width: expected an even number for rotary positions, found %lld of %lld",
                 (long long)c->rotary, (long long)c->head);
    for (int64_t l = 0; c->rotary > 0 && l < c->layers; l++)
        SAE_TRY(check_rope(c, sae_lm_is_local(c, l), err));
    for (int64_t l = 0; l < c->layers; l++)
        if (sae_lm_is_local(c, l) && c->window < 1)
            SAE_FAIL(err, SAE_EFORMAT, "sliding_window: layer %lld is local, expected a positive "
                                       "number of positions", (long long)l);
    if (!(c->eps >= 0) || !isfinite(c->eps))
        SAE_FAIL(err, SAE_EFORMAT, "norm eps: expected a number >= 0, found %g", c->eps);
    if (!(c->attn_cap >= 0) || !(c->final_cap >= 0) || !isfinite(c->attn_cap) ||
        !isfinite(c->final_cap))
        SAE_FAIL(err, SAE_EFORMAT, "softcapping: expected positive numbers, found %g and %g",
                 c->attn_cap, c->final_cap);
    return SAE_OK;
}

void sae_lm_part_shape(const sae_lm_config *c, enum sae_lm_part p, int64_t *rows, int64_t *cols)
{
    int64_t q = c->heads * c->head, kv = c->kv_heads * c->head, d = c->d, hidden = c->hidden;
    int in = c->norm_in == SAE_LM_NORM_RMS || c->norm_in == SAE_LM_NORM_LAYER;
    int in_b = c->norm_in == SAE_LM_NORM_LAYER, final_b = c->norm_final == SAE_LM_NORM_LAYER;
    const struct {
        int there;
        int64_t rows, cols;
    } shape[SAE_LM_PARTS] = {
        [SAE_LM_EMBED] = {1, c->vocab, d},
        [SAE_LM_POSITION] = {c->learned_positions, c->ctx, d},
        [SAE_LM_NORM_FINAL] = {c->norm_final != SAE_LM_NORM_NONE, 1, d},
        [SAE_LM_NORM_FINAL_B] = {final_b, 1, d},
        [SAE_LM_HEAD] = {!c->tied, c->vocab, d},
        [SAE_LM_HEAD_B] = {c->bias_head, 1, c->vocab},
        [SAE_LM_NORM_ATTN] = {in, 1, d},
        [SAE_LM_NORM_ATTN_B] = {in_b, 1, d},
        [SAE_LM_Q] = {1, q, d},
        [SAE_LM_K] = {1, kv, d},
        [SAE_LM_V] = {1, kv, d},
        [SAE_LM_Q_B] = {c->bias_qkv, 1, q},
        [SAE_LM_K_B] = {c->bias_qkv, 1, kv},
        [SAE_LM_V_B] = {c->bias_qkv, 1, kv},
        [SAE_LM_Q_NORM] = {c->qk_norm, 1, c->head},
        [SAE_LM_K_NORM] = {c->qk_norm, 1, c->head},
        [SAE_LM_O] = {1, d, q},
        [SAE_LM_O_B] = {c->bias_o, 1, d},
        [SAE_LM_POST_ATTN] = {c->post_norm, 1, d},
        [SAE_LM_NORM_MLP] = {in, 1, d},
        [SAE_LM_NORM_MLP_B] = {in_b, 1, d},
        [SAE_LM_GATE] = {c->gated, hidden, d},
        [SAE_LM_UP] = {1, hidden, d},
        [SAE_LM_GATE_B] = {c->gated && c->bias_mlp, 1, hidden},
        [SAE_LM_UP_B] = {c->bias_mlp, 1, hidden},
        [SAE_LM_DOWN] = {1, d, hidden},
        [SAE_LM_DOWN_B] = {c->bias_mlp, 1, d},
        [SAE_LM_POST_MLP] = {c->post_norm, 1, d},
    };
    *rows = shape[p].there ? shape[p].rows : 0;
    *cols = shape[p].there ? shape[p].cols : 0;
}
