/* suite/models/lm_config_json.c - Hugging Face's config.json, by the tables of architectures. */
#include "core/error.h"
#include "models/lm_arch.h"

#include <stdio.h>
#include <string.h>

/* ---- values ---------------------------------------------------------------------------------- */

const json_t *sae_lm_json(const json_t *o, const char *key)
{
    const json_t *v = json_object_get(o, key);
    return v && !json_is_null(v) ? v : NULL;
}

int sae_lm_json_int(const json_t *o, const char *key, int64_t *out, sae_err *err)
{
    const json_t *v = sae_lm_json(o, key);
    if (v && !json_is_integer(v))
        SAE_FAIL(err, SAE_EFORMAT, "%s: expected a whole number", key);
    if (v)
        *out = json_integer_value(v);
    return SAE_OK;
}

int sae_lm_json_real(const json_t *o, const char *key, double *out, sae_err *err)
{
    const json_t *v = sae_lm_json(o, key);
    if (v && !json_is_number(v))
        SAE_FAIL(err, SAE_EFORMAT, "%s: expected a number", key);
    if (v)
        *out = json_number_value(v);
    return SAE_OK;
}

int sae_lm_json_cap(const json_t *o, const char *key, double *out, sae_err *err)
{
    if (json_is_null(json_object_get(o, key)))
        *out = 0;
    SAE_TRY(sae_lm_json_real(o, key, out, err));
    if (sae_lm_json(o, key) && !(*out > 0))
        SAE_FAIL(err, SAE_EFORMAT, "%s: expected a positive number or null, found %g", key, *out);
    return SAE_OK;
}

int sae_lm_json_flag(const json_t *o, const char *key, int *out, sae_err *err)
{
    const json_t *v = sae_lm_json(o, key);
    if (v && !json_is_boolean(v))
        SAE_FAIL(err, SAE_EFORMAT, "%s: expected true or false", key);
    if (v)
        *out = json_is_true(v);
    return SAE_OK;
}

int sae_lm_json_must(const json_t *o, const char *key, int value, sae_err *err)
{
    int found = value;
    SAE_TRY(sae_lm_json_flag(o, key, &found, err));
    if (found != value)
        SAE_FAIL(err, SAE_EFORMAT, "%s: expected %s, the other is not supported", key,
                 value ? "true" : "false");
    return SAE_OK;
}

static int read_act(const json_t *o, const char *key, enum sae_lm_act *out, sae_err *err)
{
    static const struct {
        const char *name;
        enum sae_lm_act act;
    } names[] = {
        {"silu", SAE_LM_SILU},          {"swish", SAE_LM_SILU},
        {"gelu", SAE_LM_GELU},          {"gelu_new", SAE_LM_GELU_TANH},
        {"gelu_fast", SAE_LM_GELU_TANH}, {"gelu_pytorch_tanh", SAE_LM_GELU_TANH},
        {"relu", SAE_LM_RELU},
    };
    const json_t *v = sae_lm_json(o, key);
    const char *text = json_string_value(v);
    for (size_t i = 0; text && i < sizeof names / sizeof names[0]; i++)
        if (strcmp(text, names[i].name) == 0) {
            *out = names[i].act;
            return SAE_OK;
        }
    if (v)
        SAE_FAIL(err, SAE_EFORMAT, "%s: expected silu, gelu, gelu_new, gelu_pytorch_tanh or relu, "
                                   "found \"%.60s\"", key, text ? text : "(not a string)");
    return SAE_OK;
}

/* A vocabulary id; of a list, the first; -1 when absent. */
static int get_token(const json_t *o, const char *key, int64_t vocab, int32_t *out, sae_err *err)
{
    const json_t *v = sae_lm_json(o, key);
    *out = -1;
    if (json_is_array(v))
        v = json_array_get(v, 0);
    json_int_t id = json_integer_value(v);
    if (v && (!json_is_integer(v) || id < 0))
        SAE_FAIL(err, SAE_EFORMAT, "%s: expected a vocabulary id", key);
    if (v && id >= vocab)
        SAE_FAIL(err, SAE_EFORMAT, "%s: expected an id below %lld, found %lld", key,
                 (long long)vocab, (long long)id);
    if (v)
        *out = (int32_t)id;
    return SAE_OK;
}

/* ---- positions and windows ------------------------------------------------------------------- */

static const sae_lm_key *find_key(const sae_lm_arch *a, const char *name)
{
    for (const sae_lm_key *k = a->keys; k->key; k++)
        if (strcmp(k->key, name) == 0)
            return k;
    return NULL;
}

static int check_rope_keys(const sae_lm_config *c, json_t *o, sae_err *err)
{
    static const char *const known[] = {
        "rope_type", "type", "rope_theta", "factor", "low_freq_factor", "high_freq_factor",
        "original_max_position_embeddings",
    };
    const char *key;
    json_t *v;
    json_object_foreach(o, key, v) {
        int good = json_is_null(v) || /* where it is the new name of rotary_pct */
                   (!strcmp(key, "partial_rotary_factor") && find_key(c->files, "rotary_pct"));
        for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
            good |= !strcmp(key, known[i]);
        if (!good)
            SAE_FAIL(err, SAE_EFORMAT,
                     "rope_scaling.%.60s: not a key of %s models, expected it absent or null",
                     key, c->arch);
    }
    return SAE_OK;
}

/* One description of rotary positions: {rope_type, rope_theta, factor, ...}. */
static int get_rope(const sae_lm_config *c, json_t *o, sae_lm_rope *r, sae_err *err)
{
    static const struct {
        const char *name;
        enum sae_lm_scaling scaling;
    } kinds[] = {{"default", SAE_LM_SCALING_NONE},
                 {"linear", SAE_LM_SCALING_LINEAR},
                 {"llama3", SAE_LM_SCALING_LLAMA3}};
    const json_t *type = sae_lm_json(o, "rope_type");
    if (!json_is_object(o))
        SAE_FAIL(err, SAE_EFORMAT, "rope_scaling: expected an object");
    if (!type)
        type = sae_lm_json(o, "type"); /* an older name */
    const char *name = type ? json_string_value(type) : "default";
    size_t i = 0;
    while (i < 3 && (!name || strcmp(name, kinds[i].name)))
        i++;
    if (i == 3)
        SAE_FAIL(err, SAE_EFORMAT, "rope_scaling.rope_type: expected default, linear or llama3, "
                                   "found \"%.60s\"", name ? name : "(not a string)");
    SAE_TRY(check_rope_keys(c, o, err));
    r->scaling = kinds[i].scaling;
    SAE_TRY(sae_lm_json_real(o, "rope_theta", &r->theta, err));
    SAE_TRY(sae_lm_json_real(o, "factor", &r->factor, err));
    SAE_TRY(sae_lm_json_real(o, "low_freq_factor", &r->low, err));
    SAE_TRY(sae_lm_json_real(o, "high_freq_factor", &r->high, err));
    return sae_lm_json_real(o, "original_max_position_embeddings", &r->original, err);
}

/* rope_theta, rope_scaling (or rope_parameters, which holds both) into rope[0]. */
static int read_rope(const json_t *o, sae_lm_config *c, sae_err *err)
{
    json_t *scaling = json_object_get(o, "rope_scaling");
    json_t *newer = json_object_get(o, "rope_parameters");
    int has_scaling = scaling && !json_is_null(scaling), has_newer = newer && !json_is_null(newer);
    c->rope[0].original = (double)c->ctx;
    SAE_TRY(sae_lm_json_real(o, "rope_theta", &c->rope[0].theta, err));
    if (has_scaling && has_newer)
        SAE_FAIL(err, SAE_EFORMAT, "rope_scaling and rope_parameters contradict each other: "
                                   "expected one of them");
    if (has_scaling)
        return get_rope(c, scaling, &c->rope[0], err);
    if (!has_newer)
        return SAE_OK;
    json_t *global = json_object_get(newer, "full_attention");
    json_t *local = global ? json_object_get(newer, "sliding_attention") : NULL;
    double alone = c->rope[0].theta;
    SAE_TRY(get_rope(c, global ? global : newer, &c->rope[0], err));
    if (sae_lm_json(o, "rope_theta") && alone != c->rope[0].theta)
        SAE_FAIL(err, SAE_EFORMAT, "rope_theta: expected %g like rope_parameters, found %g",
                 c->rope[0].theta, alone);
    return local ? get_rope(c, local, &c->rope[1], err) : SAE_OK;
}

int sae_lm_json_layer_types(const json_t *o, sae_lm_config *c, sae_err *err)
{
    const json_t *list = sae_lm_json(o, "layer_types"), *v;
    size_t l;
    if (!list)
        return SAE_OK;
    if (!json_is_array(list) || (int64_t)json_array_size(list) != c->layers)
        SAE_FAIL(err, SAE_EFORMAT, "layer_types: expected a list of %lld names",
                 (long long)c->layers);
    if (c->layers > SAE_LM_MAX_LAYERS)
        return SAE_OK; /* the check of extents says so */
    memset(c->local, 0, sizeof c->local);
    json_array_foreach(list, l, v) {
        const char *name = json_is_string(v) ? json_string_value(v) : "(not a string)";
        int local = strcmp(name, "sliding_attention") == 0;
        if (!local && strcmp(name, "full_attention"))
            SAE_FAIL(err, SAE_EFORMAT, "layer_types[%zu]: expected full_attention or "
                                       "sliding_attention, found \"%.60s\"", l, name);
        c->local[l / 64] |= (uint64_t)local << (l % 64);
    }
    return SAE_OK;
}

int sae_lm_json_upper_window(sae_lm_config *c, const json_t *o, sae_err *err)
{
    int used = 0;
    int64_t first = 28, window = 4096;
    SAE_TRY(sae_lm_json_flag(o, "use_sliding_window", &used, err));
    SAE_TRY(sae_lm_json_int(o, "sliding_window", &window, err));
    SAE_TRY(sae_lm_json_int(o, "max_window_layers", &first, err));
    used &= !json_is_null(json_object_get(o, "sliding_window"));
    c->window = used ? window : 0;
    for (int64_t l = first < 0 ? 0 : first; used && l < c->layers && l < SAE_LM_MAX_LAYERS; l++)
        c->local[l / 64] |= UINT64_C(1) << (l % 64);
    return sae_lm_json_layer_types(o, c, err);
}

/* ---- keys ------------------------------------------------------------------------------------ */

/* Keys of published files that do not change what the model computes. */
static const char *const inert_keys[] = {
    "architectures", "attention_dropout", "attn_implementation", "attn_pdrop", "bad_words_ids",
    "begin_suppress_tokens", "bos_token_id", "cache_implementation", "chunk_size_feed_forward",
    "classifier_dropout", "decoder_start_token_id", "diversity_penalty", "do_sample", "dtype",
    "early_stopping", "embd_pdrop", "eos_token_id", "finetuning_task", "forced_bos_token_id",
    "forced_eos_token_id", "gradient_checkpointing", "hidden_dropout", "hidden_dropout_prob",
    "id2label", "initializer_factor", "initializer_range", "is_decoder", "label2id",
    "length_penalty", "max_length", "min_length", "model_type", "n_special",
    "no_repeat_ngram_size", "num_beam_groups", "num_beams", "num_return_sequences",
    "output_attentions", "output_hidden_states", "output_scores", "pad_token_id",
    "predict_special_tokens", "prefix", "pretraining_tp", "problem_type", "pruned_heads",
    "reorder_and_upcast_attn", "repetition_penalty", "resid_pdrop", "return_dict",
    "return_dict_in_generate", "sep_token_id", "summary_activation", "summary_first_dropout",
    "summary_proj_to_labels", "summary_type", "summary_use_proj", "suppress_tokens",
    "task_specific_params", "temperature", "tf_legacy_loss", "tokenizer_class", "top_k", "top_p",
    "torch_dtype", "torchscript", "transformers_version", "typical_p", "unk_token_id",
    "use_bfloat16", "use_cache", "_name_or_path", "_attn_implementation_autoset",
    "encoder_no_repeat_ngram_size", "exponential_decay_length_penalty",
    "remove_invalid_values", "tie_encoder_decoder", "cross_attention_hidden_size",
};

static int is_inert(const char *key, const json_t *value)
{
    if (json_is_null(value) || json_is_false(value))
        return 1;
    for (size_t i = 0; i < sizeof inert_keys / sizeof inert_keys[0]; i++)
        if (strcmp(key, inert_keys[i]) == 0)
            return 1;
    return 0;
}

static int refuse_unknown(const sae_lm_arch *a, json_t *o, sae_err *err)
{
    const char *key;
    json_t *v;
    json_object_foreach(o, key, v)
        if (!find_key(a, key) && !is_inert(key, v))
            SAE_FAIL(err, SAE_EFORMAT,
                     "%.80s: not a key of %s models, expected it absent, null or false", key,
                     a->name);
    return SAE_OK;
}

static int read_key(const sae_lm_key *k, const json_t *o, sae_lm_config *c, sae_err *err)
{
    void *to = (char *)c + k->off;
    if (k->needed && !sae_lm_json(o, k->key))
        SAE_FAIL(err, SAE_EFORMAT, "%s: missing, expected a whole number", k->key);
    switch (k->type) {
    case SAE_LM_KEY_INT: return sae_lm_json_int(o, k->key, to, err);
    case SAE_LM_KEY_REAL: return sae_lm_json_real(o, k->key, to, err);
    case SAE_LM_KEY_FLAG: return sae_lm_json_flag(o, k->key, to, err);
    case SAE_LM_KEY_ACT: return read_act(o, k->key, to, err);
    case SAE_LM_KEY_OTHER: break;
    }
    return SAE_OK;
}

/* ---- config.json ----------------------------------------------------------------------------- */

static int find_arch(const json_t *o, const sae_lm_arch **out, sae_err *err)
{
    const char *name = json_string_value(sae_lm_json(o, "model_type"));
    char known[240] = "";
    for (size_t i = 0, n = 0; sae_lm_archs[i]; i++) {
        *out = sae_lm_archs[i];
        if (name && strcmp(name, sae_lm_archs[i]->name) == 0)
            return SAE_OK;
        n += (size_t)snprintf(known + n, sizeof known - n, "%s%s", i ? ", " : "", (*out)->name);
    }
    SAE_FAIL(err, SAE_EFORMAT, "model_type: expected one of %s, found \"%.60s\"", known,
             name ? name : "(nothing)");
}

/* Widths that follow from others when the file does not give them. */
static int derive(sae_lm_config *c, const json_t *o, sae_err *err)
{
    if (c->kv_heads == 0 && !sae_lm_json(o, "num_key_value_heads"))
        c->kv_heads = c->heads;
    if (c->head != 0 || sae_lm_json(o, "head_dim"))
        return SAE_OK;
    if (c->heads < 1 || c->d % c->heads)
        SAE_FAIL(err, SAE_EFORMAT, "width: expected a multiple of the %lld heads, found %lld",
                 (long long)c->heads, (long long)c->d);
    c->head = c->d / c->heads;
    return SAE_OK;
}

static int config_from(sae_lm_config *c, json_t *o, sae_err *err)
{
    const sae_lm_arch *a = NULL;
    if (!json_is_object(o))
        SAE_FAIL(err, SAE_EFORMAT, "expected an object");
    SAE_TRY(find_arch(o, &a, err));
    if (a->inside && !json_is_object(o = json_object_get(o, a->inside)))
        SAE_FAIL(err, SAE_EFORMAT, "%s: missing, expected an object", a->inside);
    SAE_TRY(refuse_unknown(a, o, err));
    *c = a->base;
    c->arch = a->name;
    c->files = a;
    for (const sae_lm_key *k = a->keys; k->key; k++)
        SAE_TRY(read_key(k, o, c, err));
    SAE_TRY(derive(c, o, err));
    if (!c->learned_positions) {
        c->rotary = c->head;
        SAE_TRY(read_rope(o, c, err));
    }
    if (a->complete)
        SAE_TRY(a->complete(c, o, err));
    if (c->rope[1].theta == 0)
        c->rope[1] = c->rope[0];
    SAE_TRY(sae_lm_config_check(c, err));
    SAE_TRY(get_token(o, "bos_token_id", c->vocab, &c->bos, err));
    return get_token(o, "eos_token_id", c->vocab, &c->eos, err);
}

int sae_lm_config_json(sae_lm_config *c, const char *text, size_t bytes, sae_err *err)
{
    json_error_t bad;
    json_t *o = json_loadb(text, bytes, JSON_REJECT_DUPLICATES, &bad);
    if (!o)
        SAE_FAIL(err, SAE_EFORMAT, "line %d: %s", bad.line, bad.text);
    int rc = config_from(c, o, err);
    json_decref(o);
    return rc;
}
