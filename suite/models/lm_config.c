/* suite/models/lm_config.c - descriptions of models from file headers. */
#include "core/error.h"
#include "models/lm_model.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { BIN_HEADER = 28 };

/* The limits keep every product of extents far inside int64. */
int sae_lm_config_check(const sae_lm_config *c, sae_err *err)
{
    const struct {
        const char *name;
        int64_t value, most;
    } extents[] = {
        {"width", c->d, 1 << 18},           {"hidden width", c->hidden, 1 << 20},
        {"layers", c->layers, 1 << 12},     {"vocabulary", c->vocab, 1 << 24},
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
    if (c->head % 2)
        SAE_FAIL(err, SAE_EFORMAT,
                 "head width: expected an even number for rotary positions, found %lld",
                 (long long)c->head);
    if (!(c->rope_theta > 0) || !isfinite(c->rope_theta))
        SAE_FAIL(err, SAE_EFORMAT, "rope_theta: expected a positive number, found %g",
                 c->rope_theta);
    if (!(c->eps >= 0) || !isfinite(c->eps))
        SAE_FAIL(err, SAE_EFORMAT, "rms_norm_eps: expected a number >= 0, found %g", c->eps);
    return SAE_OK;
}

/* What llama2.c fixes in code rather than in its files. */
static sae_lm_config llama2c(void)
{
    return (sae_lm_config){
        .arch = "llama",
        .norm_in = SAE_LM_NORM_RMS,
        .norm_mid = SAE_LM_NORM_NONE,
        .norm_final = SAE_LM_NORM_RMS,
        .rope = SAE_LM_ROPE_ADJACENT,
        .rope_theta = 10000.0,
        .eps = 1e-5,
        .tied = 1,
        .bos = 1,
        .eos = 2,
    };
}

/* llama2.c has no head width of its own. */
static int head_from_width(sae_lm_config *c, sae_err *err)
{
    if (c->heads < 1 || c->d % c->heads)
        SAE_FAIL(err, SAE_EFORMAT, "width: expected a multiple of the %lld heads, found %lld",
                 (long long)c->heads, (long long)c->d);
    c->head = c->d / c->heads;
    return SAE_OK;
}

/* ---- llama2.c .bin, version 0 ---------------------------------------------------------------- */

int sae_lm_config_bin(sae_lm_config *c, const void *p, size_t bytes, sae_err *err)
{
    int32_t h[BIN_HEADER / 4];
    if (bytes < BIN_HEADER)
        SAE_FAIL(err, SAE_EFORMAT, "header: expected %d bytes, found %zu", BIN_HEADER, bytes);
    memcpy(h, p, sizeof h);
    *c = llama2c();
    c->d = h[0];
    c->hidden = h[1];
    c->layers = h[2];
    c->heads = h[3];
    c->kv_heads = h[4];
    c->vocab = llabs((long long)h[5]);
    c->tied = h[5] > 0;
    c->ctx = h[6];
    SAE_TRY(head_from_width(c, err));
    SAE_TRY(sae_lm_config_check(c, err));
    int64_t expect = BIN_HEADER + 4 * c->ctx * c->head; /* two rotary tables of head / 2 columns */
    for (int i = 0; i < SAE_LM_PARTS; i++) {
        int64_t rows, cols;
        sae_lm_part_shape(c, (enum sae_lm_part)i, &rows, &cols);
        expect += 4 * rows * cols * (sae_lm_part_in_layer((enum sae_lm_part)i) ? c->layers : 1);
    }
    if ((uint64_t)expect != bytes)
        SAE_FAIL(err, SAE_EFORMAT, "size: the header asks for %lld bytes, the file has %zu",
                 (long long)expect, bytes);
    return SAE_OK;
}

/* ---- safetensors metadata -------------------------------------------------------------------- */

int sae_lm_config_meta(sae_lm_config *c, const sae_st *st, sae_err *err)
{
    *c = llama2c();
    const struct {
        const char *key;
        int64_t *out;
    } field[] = {
        {"dim", &c->d},           {"hidden_dim", &c->hidden},   {"n_layers", &c->layers},
        {"n_heads", &c->heads},   {"n_kv_heads", &c->kv_heads}, {"vocab_size", &c->vocab},
        {"seq_len", &c->ctx},
    };
    for (size_t i = 0; i < sizeof field / sizeof field[0]; i++) {
        const char *text = sae_st_meta(st, field[i].key);
        char *end = NULL;
        long long v = text ? strtoll(text, &end, 10) : 0;
        if (!text || end == text || *end)
            SAE_FAIL(err, SAE_EFORMAT, "__metadata__.%s: expected a whole number, found %s",
                     field[i].key, text ? text : "nothing");
        *field[i].out = v;
    }
    if (!sae_st_find(st, "layers.0.attention_norm.weight"))
        c->norm_in = c->norm_mid = SAE_LM_NORM_UNIT;
    c->tied = !sae_st_find(st, "output.weight");
    SAE_TRY(head_from_width(c, err));
    return sae_lm_config_check(c, err);
}

/* ---- config.json ----------------------------------------------------------------------------- */

static const json_t *present(const json_t *o, const char *key)
{
    const json_t *v = json_object_get(o, key);
    return v && !json_is_null(v) ? v : NULL;
}

/* An integer; *out keeps its default when the key is absent and `needed` is 0. */
static int get_int(const json_t *o, const char *key, int needed, int64_t *out, sae_err *err)
{
    const json_t *v = present(o, key);
    if (!v && needed)
        SAE_FAIL(err, SAE_EFORMAT, "%s: missing, expected a whole number", key);
    if (v && !json_is_integer(v))
        SAE_FAIL(err, SAE_EFORMAT, "%s: expected a whole number", key);
    if (v)
        *out = json_integer_value(v);
    return SAE_OK;
}

static int get_real(const json_t *o, const char *key, double *out, sae_err *err)
{
    const json_t *v = present(o, key);
    if (v && !json_is_number(v))
        SAE_FAIL(err, SAE_EFORMAT, "%s: expected a number", key);
    if (v)
        *out = json_number_value(v);
    return SAE_OK;
}

/* A flag, false when absent. */
static int get_bool(const json_t *o, const char *key, int *out, sae_err *err)
{
    const json_t *v = present(o, key);
    if (v && !json_is_boolean(v))
        SAE_FAIL(err, SAE_EFORMAT, "%s: expected true or false", key);
    *out = v && json_is_true(v);
    return SAE_OK;
}

/* A vocabulary id; of a list, the first; -1 when absent. */
static int get_token(const json_t *o, const char *key, int32_t *out, sae_err *err)
{
    const json_t *v = present(o, key);
    *out = -1;
    if (json_is_array(v))
        v = json_array_get(v, 0);
    json_int_t id = json_integer_value(v);
    if (v && (!json_is_integer(v) || id < 0 || id > INT32_MAX))
        SAE_FAIL(err, SAE_EFORMAT, "%s: expected a vocabulary id", key);
    if (v)
        *out = (int32_t)id;
    return SAE_OK;
}

/* A string that must have one value, or be absent. */
static int need_text(const json_t *o, const char *key, const char *expect, sae_err *err)
{
    const json_t *v = present(o, key);
    const char *text = json_string_value(v);
    if (v && (!text || strcmp(text, expect)))
        SAE_FAIL(err, SAE_EFORMAT, "%s: expected \"%s\", found \"%.60s\"", key, expect,
                 text ? text : "(not a string)");
    return SAE_OK;
}

/* Things a llama config may ask for that this forward pass does not do. */
static int refuse_unknown(const json_t *o, sae_err *err)
{
    int bias = 0, mlp_bias = 0;
    if (!present(o, "model_type"))
        SAE_FAIL(err, SAE_EFORMAT, "model_type: missing, expected \"llama\"");
    SAE_TRY(need_text(o, "model_type", "llama", err));
    SAE_TRY(need_text(o, "hidden_act", "silu", err));
    SAE_TRY(get_bool(o, "attention_bias", &bias, err));
    SAE_TRY(get_bool(o, "mlp_bias", &mlp_bias, err));
    if (bias || mlp_bias)
        SAE_FAIL(err, SAE_EFORMAT, "%s: expected false, biases are not supported",
                 bias ? "attention_bias" : "mlp_bias");
    if (present(o, "rope_scaling"))
        SAE_FAIL(err, SAE_EFORMAT,
                 "rope_scaling: expected null, scaled positions are not supported");
    return SAE_OK;
}

static int config_from(sae_lm_config *c, const json_t *o, sae_err *err)
{
    if (!json_is_object(o))
        SAE_FAIL(err, SAE_EFORMAT, "expected an object");
    SAE_TRY(refuse_unknown(o, err));
    *c = llama2c();
    c->rope = SAE_LM_ROPE_HALVES;
    c->eps = 1e-6; /* defaults of transformers' LlamaConfig */
    SAE_TRY(get_int(o, "hidden_size", 1, &c->d, err));
    SAE_TRY(get_int(o, "intermediate_size", 1, &c->hidden, err));
    SAE_TRY(get_int(o, "num_hidden_layers", 1, &c->layers, err));
    SAE_TRY(get_int(o, "num_attention_heads", 1, &c->heads, err));
    SAE_TRY(get_int(o, "vocab_size", 1, &c->vocab, err));
    SAE_TRY(get_int(o, "max_position_embeddings", 1, &c->ctx, err));
    c->kv_heads = c->heads;
    SAE_TRY(get_int(o, "num_key_value_heads", 0, &c->kv_heads, err));
    if (present(o, "head_dim"))
        SAE_TRY(get_int(o, "head_dim", 1, &c->head, err));
    else
        SAE_TRY(head_from_width(c, err));
    SAE_TRY(get_real(o, "rope_theta", &c->rope_theta, err));
    SAE_TRY(get_real(o, "rms_norm_eps", &c->eps, err));
    SAE_TRY(get_bool(o, "tie_word_embeddings", &c->tied, err));
    SAE_TRY(get_token(o, "bos_token_id", &c->bos, err));
    SAE_TRY(get_token(o, "eos_token_id", &c->eos, err));
    SAE_TRY(sae_lm_config_check(c, err));
    if (c->bos >= c->vocab || c->eos >= c->vocab)
        SAE_FAIL(err, SAE_EFORMAT, "%s: expected an id below %lld",
                 c->bos >= c->vocab ? "bos_token_id" : "eos_token_id", (long long)c->vocab);
    return SAE_OK;
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
