/* suite/models/lm_arch.h - architectures of Hugging Face checkpoints, as tables.
 *
 * Adding one: a file in suite/models/arch with its sae_lm_arch, and its name in lm_arch.c.
 */
#ifndef SAE_MODELS_LM_ARCH_H
#define SAE_MODELS_LM_ARCH_H

#include "models/lm_config.h"

#include <jansson.h>
#include <stddef.h>

/* How a file stores a part. */
enum sae_lm_form {
    SAE_LM_PLAIN,
    SAE_LM_MINUS_ONE,  /* of a norm, w - 1 */
    SAE_LM_ADJACENT,   /* rows 2 i and 2 i + 1 of a head are our rows i and head / 2 + i */
    SAE_LM_TRANSPOSED, /* (in, out) */
    SAE_LM_THIRD_Q,    /* a third of one tensor, (in, 3 out) */
    SAE_LM_THIRD_K,
    SAE_LM_THIRD_V,
    SAE_LM_MIXED_Q,    /* one tensor (heads x (q, k, v) x head, in) */
    SAE_LM_MIXED_K,
    SAE_LM_MIXED_V
};

typedef struct sae_lm_name {
    const char *name; /* '*' stands for the number of the layer; NULL: no such part */
    enum sae_lm_form form;
} sae_lm_name;

enum sae_lm_key_type {
    SAE_LM_KEY_INT,   /* int64_t */
    SAE_LM_KEY_REAL,  /* double; null keeps the default */
    SAE_LM_KEY_FLAG,  /* int */
    SAE_LM_KEY_ACT,   /* enum sae_lm_act, by name */
    SAE_LM_KEY_OTHER  /* read by complete() */
};
typedef struct sae_lm_key {
    const char *key;
    enum sae_lm_key_type type;
    size_t off; /* in sae_lm_config */
    int needed;
} sae_lm_key;

typedef struct sae_lm_arch {
    const char *name;      /* config.json's model_type */
    const char *inside;    /* key of the object that describes the text model when config.json
                              wraps it, or NULL */
    const char *prefix;    /* what some checkpoints put in front of the tensor names, or NULL */
    sae_lm_config base;    /* defaults of the reference library */
    const sae_lm_key *keys;
    int (*complete)(sae_lm_config *c, const json_t *o, sae_err *err); /* after the keys; or NULL */
    sae_lm_name names[SAE_LM_PARTS];
} sae_lm_arch;

extern const sae_lm_arch *const sae_lm_archs[]; /* NULL-terminated */

/* ---- reading config.json --------------------------------------------------------------------- */

/* The value of a key, NULL when absent or null. */
const json_t *sae_lm_json(const json_t *o, const char *key);
int sae_lm_json_int(const json_t *o, const char *key, int64_t *out, sae_err *err);
int sae_lm_json_real(const json_t *o, const char *key, double *out, sae_err *err);
int sae_lm_json_flag(const json_t *o, const char *key, int *out, sae_err *err);
/* A cap: null means none. */
int sae_lm_json_cap(const json_t *o, const char *key, double *out, sae_err *err);
/* A flag that must have this value, which is also its default. */
int sae_lm_json_must(const json_t *o, const char *key, int value, sae_err *err);
/* layer_types, if present, decides which layers are local. */
int sae_lm_json_layer_types(const json_t *o, sae_lm_config *c, sae_err *err);

/* use_sliding_window, sliding_window, max_window_layers: layers from max_window_layers on are
 * local, unless layer_types says otherwise. */
int sae_lm_json_upper_window(sae_lm_config *c, const json_t *o, sae_err *err);

#define SAE_LM_INT(key_, member, needed_)                                                          \
    {key_, SAE_LM_KEY_INT, offsetof(sae_lm_config, member), needed_}
#define SAE_LM_REAL(key_, member)                                                                  \
    {key_, SAE_LM_KEY_REAL, offsetof(sae_lm_config, member), 0}
#define SAE_LM_FLAG(key_, member)                                                                  \
    {key_, SAE_LM_KEY_FLAG, offsetof(sae_lm_config, member), 0}
#define SAE_LM_ACT(key_) {key_, SAE_LM_KEY_ACT, offsetof(sae_lm_config, act), 0}
#define SAE_LM_OTHER(key_) {key_, SAE_LM_KEY_OTHER, 0, 0}
/* The keys that nearly every architecture calls the same. */
#define SAE_LM_KEYS_COMMON                                                                         \
    SAE_LM_INT("hidden_size", d, 1), SAE_LM_INT("intermediate_size", hidden, 1),                   \
        SAE_LM_INT("num_hidden_layers", layers, 1), SAE_LM_INT("num_attention_heads", heads, 1),   \
        SAE_LM_INT("num_key_value_heads", kv_heads, 0), SAE_LM_INT("head_dim", head, 0),           \
        SAE_LM_INT("vocab_size", vocab, 1), SAE_LM_INT("max_position_embeddings", ctx, 1),         \
        SAE_LM_REAL("rms_norm_eps", eps), SAE_LM_FLAG("tie_word_embeddings", tied),                \
        SAE_LM_OTHER("rope_theta"), SAE_LM_OTHER("rope_scaling"), SAE_LM_OTHER("rope_parameters")
#define SAE_LM_KEYS_UPPER_WINDOW                                                                   \
    SAE_LM_OTHER("use_sliding_window"), SAE_LM_OTHER("sliding_window"),                            \
        SAE_LM_OTHER("max_window_layers"), SAE_LM_OTHER("layer_types")

/* Tensor names of the llama family. */
#define SAE_LM_LAYER "model.layers.*."
#define SAE_LM_NAMES_LLAMA                                                                         \
    [SAE_LM_EMBED] = {"model.embed_tokens.weight", SAE_LM_PLAIN},                                  \
    [SAE_LM_HEAD] = {"lm_head.weight", SAE_LM_PLAIN},                                              \
    [SAE_LM_Q] = {SAE_LM_LAYER "self_attn.q_proj.weight", SAE_LM_PLAIN},                           \
    [SAE_LM_K] = {SAE_LM_LAYER "self_attn.k_proj.weight", SAE_LM_PLAIN},                           \
    [SAE_LM_V] = {SAE_LM_LAYER "self_attn.v_proj.weight", SAE_LM_PLAIN},                           \
    [SAE_LM_Q_B] = {SAE_LM_LAYER "self_attn.q_proj.bias", SAE_LM_PLAIN},                           \
    [SAE_LM_K_B] = {SAE_LM_LAYER "self_attn.k_proj.bias", SAE_LM_PLAIN},                           \
    [SAE_LM_V_B] = {SAE_LM_LAYER "self_attn.v_proj.bias", SAE_LM_PLAIN},                           \
    [SAE_LM_O] = {SAE_LM_LAYER "self_attn.o_proj.weight", SAE_LM_PLAIN},                           \
    [SAE_LM_O_B] = {SAE_LM_LAYER "self_attn.o_proj.bias", SAE_LM_PLAIN},                           \
    [SAE_LM_GATE] = {SAE_LM_LAYER "mlp.gate_proj.weight", SAE_LM_PLAIN},                           \
    [SAE_LM_UP] = {SAE_LM_LAYER "mlp.up_proj.weight", SAE_LM_PLAIN},                               \
    [SAE_LM_GATE_B] = {SAE_LM_LAYER "mlp.gate_proj.bias", SAE_LM_PLAIN},                           \
    [SAE_LM_UP_B] = {SAE_LM_LAYER "mlp.up_proj.bias", SAE_LM_PLAIN},                               \
    [SAE_LM_DOWN] = {SAE_LM_LAYER "mlp.down_proj.weight", SAE_LM_PLAIN},                           \
    [SAE_LM_DOWN_B] = {SAE_LM_LAYER "mlp.down_proj.bias", SAE_LM_PLAIN}
/* Two norms a layer, where the second has a misleading name; a norm before and after each half. */
#define SAE_LM_NORMS_TWO                                                                           \
    [SAE_LM_NORM_MLP] = {SAE_LM_LAYER "post_attention_layernorm.weight", SAE_LM_PLAIN}
#define SAE_LM_NORMS_GEMMA                                                                         \
    [SAE_LM_POST_ATTN] = {SAE_LM_LAYER "post_attention_layernorm.weight", SAE_LM_MINUS_ONE},       \
    [SAE_LM_NORM_MLP] = {SAE_LM_LAYER "pre_feedforward_layernorm.weight", SAE_LM_MINUS_ONE},       \
    [SAE_LM_POST_MLP] = {SAE_LM_LAYER "post_feedforward_layernorm.weight", SAE_LM_MINUS_ONE}
/* Their norms, stored as w or as w - 1. */
#define SAE_LM_NORMS_LLAMA(form_)                                                                  \
    [SAE_LM_NORM_FINAL] = {"model.norm.weight", form_},                                            \
    [SAE_LM_NORM_ATTN] = {SAE_LM_LAYER "input_layernorm.weight", form_}
#define SAE_LM_NORMS_QK(form_)                                                                     \
    [SAE_LM_Q_NORM] = {SAE_LM_LAYER "self_attn.q_norm.weight", form_},                             \
    [SAE_LM_K_NORM] = {SAE_LM_LAYER "self_attn.k_norm.weight", form_}

#endif
