/* suite/models/arch/gemma3.c - Gemma 3, the text model (Gemma team 2025): Gemma 2 with normalised
 * query and key heads instead of caps, one global layer in six, and a rotary base for each kind. */
#include "core/error.h"
#include "models/lm_arch.h"

#include <math.h>

static const sae_lm_key keys[] = {
    SAE_LM_KEYS_COMMON,
    SAE_LM_ACT("hidden_activation"),
    SAE_LM_OTHER("query_pre_attn_scalar"),
    SAE_LM_OTHER("attn_logit_softcapping"), /* the reference library does not apply it */
    SAE_LM_OTHER("final_logit_softcapping"),
    SAE_LM_INT("sliding_window", window, 0),
    SAE_LM_OTHER("sliding_window_pattern"),
    SAE_LM_OTHER("_sliding_window_pattern"),
    SAE_LM_OTHER("layer_types"),
    SAE_LM_OTHER("rope_local_base_freq"),
    {0},
};

static int complete(sae_lm_config *c, const json_t *o, sae_err *err)
{
    double scalar = 256;
    int64_t every = 6;
    SAE_TRY(sae_lm_json_real(o, "query_pre_attn_scalar", &scalar, err));
    SAE_TRY(sae_lm_json_cap(o, "final_logit_softcapping", &c->final_cap, err));
    SAE_TRY(sae_lm_json_int(o, "_sliding_window_pattern", &every, err));
    SAE_TRY(sae_lm_json_int(o, "sliding_window_pattern", &every, err));
    SAE_TRY(sae_lm_json_real(o, "rope_local_base_freq", &c->rope[1].theta, err));
    if (every < 1)
        SAE_FAIL(err, SAE_EFORMAT, "sliding_window_pattern: expected a positive number, found %lld",
                 (long long)every);
    if (!(scalar > 0))
        SAE_FAIL(err, SAE_EFORMAT, "query_pre_attn_scalar: expected a positive number, found %g",
                 scalar);
    c->attn_scale = 1 / sqrt(scalar);
    c->embed_scale = sqrt((double)c->d);
    sae_lm_set_local(c, every);
    return sae_lm_json_layer_types(o, c, err);
}

#define GEMMA3(name_, inside_)                                                                     \
    {                                                                                              \
        .name = name_, .inside = inside_, .prefix = "language_model.",                             \
        .base = {.norm_in = SAE_LM_NORM_RMS,                                                       \
                 .norm_final = SAE_LM_NORM_RMS,                                                    \
                 .eps = 1e-6,                                                                      \
                 .act = SAE_LM_GELU_TANH,                                                          \
                 .gated = 1,                                                                       \
                 .post_norm = 1,                                                                   \
                 .qk_norm = 1,                                                                     \
                 .head = 256,                                                                      \
                 .kv_heads = 4,                                                                    \
                 .rope = {{.theta = 1e6}, {.theta = 1e4}},                                         \
                 .window = 4096,                                                                   \
                 .tied = 1},                                                                       \
        .keys = keys, .complete = complete,                                                        \
        .names = {SAE_LM_NAMES_LLAMA, SAE_LM_NORMS_LLAMA(SAE_LM_MINUS_ONE), SAE_LM_NORMS_GEMMA,    \
                  SAE_LM_NORMS_QK(SAE_LM_MINUS_ONE)},                                              \
    }

const sae_lm_arch sae_lm_arch_gemma3_text = GEMMA3("gemma3_text", NULL);
const sae_lm_arch sae_lm_arch_gemma3 = GEMMA3("gemma3", "text_config");
