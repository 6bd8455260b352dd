/* suite/models/lm_config.h - the description of a language model: extents and choices.
 *
 * An architecture is a table, not code: what a transformer block may do is a field here, a file in
 * suite/models/arch says which values config.json's keys give to the fields and what the tensors
 * are called, and there is one forward and one backward pass for all of them.
 *
 *   stream   x = embed_scale E[token] (+ P[position])
 *   half     delta = post(W_out norm_mid(mix(W_in norm_in(x) + b_in)) + b_out)
 *   block    x = x + attention(x);  x = x + mlp(x)      (sequential)
 *            x = x + attention(x) + mlp(x)              (parallel)
 *   logits   cap(W_head norm_final(x) + b_head)
 */
#ifndef SAE_MODELS_LM_CONFIG_H
#define SAE_MODELS_LM_CONFIG_H

#include "core/safetensors.h"
#include <sae/lm_ops.h>

enum { SAE_LM_MAX_LAYERS = 1 << 10 };

/* Rotary positions: pair i of a head (components i and rotary/2 + i) turns by position x frequency
 * i, frequency i = theta^(-2 i / rotary), scaled for contexts longer than those of training. */
enum sae_lm_scaling {
    SAE_LM_SCALING_NONE,
    SAE_LM_SCALING_LINEAR, /* frequency / factor */
    SAE_LM_SCALING_LLAMA3  /* / factor for wavelengths beyond original / low, unchanged below
                              original / high, interpolated in frequency between them */
};
typedef struct sae_lm_rope {
    double theta;
    enum sae_lm_scaling scaling;
    double factor, low, high, original;
} sae_lm_rope;

typedef struct sae_lm_config {
    const char *arch;                  /* static string */
    const struct sae_lm_arch *files;   /* names of the tensors; NULL: not a Hugging Face model */
    int64_t d, hidden, layers, vocab, ctx;
    int64_t heads, kv_heads, head;     /* query heads, key/value heads, width of a head */
    enum sae_lm_norm norm_in, norm_mid, norm_final;
    double eps;
    enum sae_lm_act act;
    int gated, parallel;
    int post_norm;                     /* what a half adds is normalised like its input */
    int qk_norm;                       /* every query and key head is RMS-normalised */
    int bias_qkv, bias_o, bias_mlp, bias_head;
    int64_t rotary;                    /* components of a head that turn; 0: none */
    sae_lm_rope rope[2];               /* of global layers, of local layers */
    int learned_positions;             /* a table of positions is added to the embedding */
    int64_t window;                    /* keys a query of a local layer sees, itself included */
    uint64_t local[SAE_LM_MAX_LAYERS / 64]; /* bit l: layer l is local */
    double attn_scale;                 /* factor on scores; 0: 1 / sqrt(head) */
    double attn_cap, final_cap;        /* scores and logits become cap tanh(s / cap); 0: no cap */
    double embed_scale;                /* 0: 1 */
    int tied;                          /* the output matrix is the embedding */
    int32_t bos, eos;                  /* -1: none */
} sae_lm_config;

static inline int sae_lm_is_local(const sae_lm_config *c, int64_t layer)
{
    return (int)(c->local[layer / 64] >> (layer % 64) & 1);
}
/* Layer l is local unless every = 0 or (l + 1) is a multiple of `every`. */
void sae_lm_set_local(sae_lm_config *c, int64_t global_every);

/* Check extents and their relations: SAE_EFORMAT naming the field. Every reader calls it. */
int sae_lm_config_check(const sae_lm_config *c, sae_err *err);
/* The header of a llama2.c version 0 file of `bytes` bytes, checked against that size. */
int sae_lm_config_bin(sae_lm_config *c, const void *p, size_t bytes, sae_err *err);
/* The text of a Hugging Face config.json. A key that is neither understood nor known to have no
 * influence is refused by name, unless its value is null or false. */
int sae_lm_config_json(sae_lm_config *c, const char *text, size_t bytes, sae_err *err);
/* The metadata of a safetensors file with llama's own tensor names. Without block norms among the
 * tensors, the input of every matrix is normalised without a weight (bitllama). */
int sae_lm_config_meta(sae_lm_config *c, const sae_st *st, sae_err *err);

/* ---- parts of the weights -------------------------------------------------------------------- */

enum sae_lm_part {
    SAE_LM_EMBED, /* these once per model */
    SAE_LM_POSITION,
    SAE_LM_NORM_FINAL,
    SAE_LM_NORM_FINAL_B,
    SAE_LM_HEAD,
    SAE_LM_HEAD_B,
    SAE_LM_NORM_ATTN, /* the others once per layer */
    SAE_LM_NORM_ATTN_B,
    SAE_LM_Q,
    SAE_LM_K,
    SAE_LM_V,
    SAE_LM_Q_B,
    SAE_LM_K_B,
    SAE_LM_V_B,
    SAE_LM_Q_NORM,
    SAE_LM_K_NORM,
    SAE_LM_O,
    SAE_LM_O_B,
    SAE_LM_POST_ATTN,
    SAE_LM_NORM_MLP,
    SAE_LM_NORM_MLP_B,
    SAE_LM_GATE,
    SAE_LM_UP,
    SAE_LM_GATE_B,
    SAE_LM_UP_B,
    SAE_LM_DOWN,
    SAE_LM_DOWN_B,
    SAE_LM_POST_MLP,
    SAE_LM_PARTS
};
static inline int sae_lm_part_in_layer(enum sae_lm_part p)
{
    return p >= SAE_LM_NORM_ATTN;
}
static inline int sae_lm_part_is_vector(enum sae_lm_part p)
{
    return p != SAE_LM_EMBED && p != SAE_LM_POSITION && p != SAE_LM_HEAD && p != SAE_LM_Q &&
           p != SAE_LM_K && p != SAE_LM_V && p != SAE_LM_O && p != SAE_LM_GATE && p != SAE_LM_UP &&
           p != SAE_LM_DOWN;
}
/* Shape of a part, matrices (out, in), vectors (1, n); 0 x 0 when the model has no such part. */
void sae_lm_part_shape(const sae_lm_config *c, enum sae_lm_part p, int64_t *rows, int64_t *cols);

#endif
