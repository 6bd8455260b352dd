/* tests/models/lm_models.h - small models with random weights that use everything a description can
 * ask for. */
#ifndef SAE_TESTS_LM_MODELS_H
#define SAE_TESTS_LM_MODELS_H

#include "models/lm_model.h"

#include <math.h>
#include <sae/rng.h>

enum { LM_CONFIGS = 8 };

/* Llama, bitllama, extents that divide nothing, and the shapes of GPT-2, NeoX, Qwen3 with a window,
 * Gemma 2 and Gemma 3. */
static inline sae_lm_config lm_config(int i)
{
    const enum sae_lm_norm rms = SAE_LM_NORM_RMS, unit = SAE_LM_NORM_UNIT;
    const enum sae_lm_norm layer = SAE_LM_NORM_LAYER;
    const sae_lm_rope plain = {.theta = 10000};
    const sae_lm_rope llama3 = {500, SAE_LM_SCALING_LLAMA3, 4, 1, 4, 16};
    const sae_lm_rope linear = {10000, SAE_LM_SCALING_LINEAR, 8, 0, 0, 0};
    const sae_lm_config configs[LM_CONFIGS] = {
        {.d = 24, .hidden = 40, .layers = 3, .vocab = 50, .ctx = 64, .heads = 6, .kv_heads = 3,
         .head = 4, .rotary = 4, .norm_in = rms, .norm_final = rms, .eps = 1e-5, .gated = 1,
         .rope = {plain, plain}, .tied = 1, .bos = 1, .eos = 2},
        {.d = 32, .hidden = 32, .layers = 2, .vocab = 50, .ctx = 64, .heads = 4, .kv_heads = 1,
         .head = 8, .rotary = 8, .norm_in = unit, .norm_mid = unit, .norm_final = rms, .eps = 1e-5,
         .gated = 1, .rope = {plain, plain}, .tied = 1, .bos = 1, .eos = 2},
        {.d = 17, .hidden = 29, .layers = 2, .vocab = 37, .ctx = 64, .heads = 5, .kv_heads = 5,
         .head = 6, .rotary = 6, .norm_in = rms, .norm_final = rms, .eps = 1e-6, .gated = 1,
         .rope = {llama3, llama3}, .bos = -1, .eos = -1},
        {.d = 20, .hidden = 33, .layers = 2, .vocab = 41, .ctx = 64, .heads = 4, .kv_heads = 4,
         .head = 5, .norm_in = layer, .norm_final = layer, .eps = 1e-5, .act = SAE_LM_GELU_TANH,
         .bias_qkv = 1, .bias_o = 1, .bias_mlp = 1, .bias_head = 1, .learned_positions = 1,
         .bos = -1, .eos = -1},
        {.d = 24, .hidden = 31, .layers = 2, .vocab = 41, .ctx = 64, .heads = 3, .kv_heads = 3,
         .head = 8, .rotary = 2, .norm_in = layer, .norm_final = layer, .eps = 1e-5,
         .act = SAE_LM_GELU, .parallel = 1, .bias_qkv = 1, .bias_o = 1, .bias_mlp = 1,
         .rope = {plain, plain}, .bos = 0, .eos = 0},
        {.d = 16, .hidden = 24, .layers = 2, .vocab = 41, .ctx = 64, .heads = 4, .kv_heads = 2,
         .head = 6, .rotary = 6, .norm_in = rms, .norm_final = rms, .eps = 1e-6, .gated = 1,
         .qk_norm = 1, .rope = {linear, linear}, .window = 7, .local = {2}, .bos = -1, .eos = -1},
        {.d = 16, .hidden = 24, .layers = 3, .vocab = 41, .ctx = 64, .heads = 4, .kv_heads = 2,
         .head = 4, .rotary = 4, .norm_in = rms, .norm_final = rms, .eps = 1e-6, .gated = 1,
         .act = SAE_LM_GELU_TANH, .post_norm = 1, .rope = {plain, plain}, .window = 20,
         .local = {5}, .attn_scale = 0.3, .attn_cap = 1.5, .final_cap = 2, .embed_scale = 4,
         .tied = 1, .bos = 1, .eos = 2},
        {.d = 16, .hidden = 24, .layers = 2, .vocab = 41, .ctx = 64, .heads = 4, .kv_heads = 1,
         .head = 8, .rotary = 8, .norm_in = rms, .norm_final = rms, .eps = 1e-6, .gated = 1,
         .act = SAE_LM_RELU, .post_norm = 1, .qk_norm = 1, .rope = {linear, plain}, .window = 16,
         .local = {1}, .embed_scale = 4, .tied = 1, .bos = 1, .eos = 2},
    };
    sae_lm_config c = configs[i];
    c.arch = "random";
    return c;
}

/* Rows of matrices have unit length, norm weights and biases are normal. */
static inline int lm_random_part(void *self, const sae_lm_config *c, enum sae_lm_part p,
                                 int64_t layer, sae_real *out, sae_err *err)
{
    (void)self, (void)err;
    int64_t rows, cols;
    sae_lm_part_shape(c, p, &rows, &cols);
    for (int64_t i = 0; out && i < rows * cols; i++)
        out[i] = (sae_real)(sae_normal(7, SAE_STREAM_SYNTHETIC,
                                       (uint64_t)(layer * SAE_LM_PARTS + (int64_t)p),
                                       (uint32_t)i) /
                            sqrt(sae_lm_part_is_vector(p) ? 1.0 : (double)cols));
    return SAE_OK;
}

#endif
