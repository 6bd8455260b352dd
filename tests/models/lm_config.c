/* tests/models/lm_config.c - config.json of every architecture with one key changed: what
 * contradicts the others or the weights is refused by name. */
#include "lm_checkpoint.h"

#include "models/lm_model.h"

/* ---- config.json ----------------------------------------------------------------------------- */

/* A key of config.json with another value; the error. NULL words: it loads. A NULL value removes
 * the key. */
typedef struct change {
    const char *model, *key, *value, *words;
} change;

static void apply(const change *c)
{
    if (c->value)
        json_object_set_new(m.config, c->key, json_loads(c->value, JSON_DECODE_ANY, NULL));
    else
        json_object_del(m.config, c->key);
}

static void try_change(const change *c)
{
    take(c->model);
    write_single(-1);
    apply(c);
    put_json("config.json", m.config);
    if (c->words) {
        refuse(SAE_EFORMAT, c->words);
    } else {
        ck_assert_msg(try_open() >= 0, "%s %s: %s", c->model, c->key, f.err.msg);
        sae_lm_close(&f.lm);
    }
}

/* What every architecture refuses, whatever it calls its keys. */
START_TEST(any_config)
{
    const char *model = models[_i % MODELS];
    int old = !strcmp(model, "gpt2");
    const char *heads = old ? "n_head" : "num_attention_heads",
               *width = old ? "n_embd" : "hidden_size";
    const char *layers = old ? "n_layer" : "num_hidden_layers";
    const change cases[] = {
        {model, "frobnicate", "1", "frobnicate: not a key of "},
        {model, "frobnicate", "{\"a\": 1}", "frobnicate: not a key of "},
        {model, "frobnicate", "null", NULL},
        {model, "frobnicate", "false", NULL},
        {model, "model_type", "\"frob\"", "found \"frob\""},
        {model, "model_type", NULL, "model_type: expected one of "},
        {model, heads, "0", "heads"},
        {model, heads, "-2", "heads"},
        {model, heads, NULL, "missing, expected a whole number"},
        {model, width, "0", "width: expected "},
        {model, width, "\"16\"", "expected a whole number"},
        {model, width, "1e3", "expected a whole number"},
        {model, width, "4611686018427387904", "width: expected "},
        {model, width, "9223372036854775806", "width: expected "},
        {model, layers, "0", "layers: expected 1 to 1024, found 0"},
        {model, layers, "5", "is missing"},
        {model, "vocab_size", "0", "vocabulary: expected "},
        {model, "vocab_size", "41", "expected shape [41, "},
        {model, "bos_token_id", "40", "bos_token_id: expected an id below 40, found 40"},
        {model, "bos_token_id", "-1", "bos_token_id: expected a vocabulary id"},
        {model, "eos_token_id", "[64, 1]", "eos_token_id: expected an id below 40, found 64"},
        {model, "eos_token_id", "\"</s>\"", "eos_token_id: expected a vocabulary id"},
        {model, "tie_word_embeddings", "1", "tie_word_embeddings: expected true or false"},
    };
    const int count = sizeof cases / sizeof cases[0];
    for (int i = _i / MODELS; i < count; i += 2) { /* halves, for the time limit of a test */
        if (i > 1)
            release();
        try_change(&cases[i]);
    }
}
END_TEST

#define LLAMA3 "{\"rope_type\": \"llama3\", \"factor\": 8, \"high_freq_factor\": 4, "

static const change changes[] = {
    {"gpt2", "n_ctx", "25", "n_ctx: expected 24 like n_positions, found 25"},
    {"gpt2", "n_ctx", NULL, NULL},
    {"gpt2", "n_positions", "25", "n_ctx: expected 25 like n_positions, found 24"},
    {"gpt2", "n_inner", "63", "c_fc.weight\": expected shape [16, 63], found [16, 64]"},
    {"gpt2", "n_head", "3", "width: expected a multiple of the 3 heads, found 16"},
    {"gpt2", "scale_attn_weights", "false", "scale_attn_weights: expected true"},
    {"gpt2", "scale_attn_by_inverse_layer_idx", "true", "inverse_layer_idx: expected false"},
    {"gpt2", "activation_function", "\"mish\"", "found \"mish\""},
    {"gpt2", "layer_norm_epsilon", "-1", "norm eps: expected a number >= 0, found -1"},
    {"gpt2", "layer_norm_epsilon", "\"small\"", "layer_norm_epsilon: expected a number"},
    {"gpt2", "rope_theta", "10000", "rope_theta: not a key of gpt2 models"},
    {"gpt2", "tie_word_embeddings", "false", "lm_head.weight\" is missing"},
    {"gpt_neox", "rotary_pct", "0", "rotary_pct: expected a share in (0, 1], found 0"},
    {"gpt_neox", "rotary_pct", "1.5", "rotary_pct: expected a share in (0, 1], found 1.5"},
    {"gpt_neox", "rotary_pct", "-0.25", "rotary_pct: expected a share"},
    {"gpt_neox", "rotary_pct", "0.2", "expected an even number for rotary positions, found 3"},
    {"gpt_neox", "rotary_pct", "\"a\"", "rotary_pct: expected a number"},
    {"gpt_neox", "rotary_emb_base", "0", "rope_theta: expected a positive number, found 0"},
    {"gpt_neox", "rope_theta", "500", "rotary_emb_base: expected 500 like rope_theta"},
    {"gpt_neox", "rope_theta", "10000", NULL},
    {"gpt_neox", "use_parallel_residual", "\"no\"", "use_parallel_residual: expected true or"},
    {"gpt_neox", "hidden_act", "\"gelu2\"", "found \"gelu2\""},
    {"gpt_neox", "intermediate_size", "23", "expected shape [23, 32], found [24, 32]"},
    {"gpt_neox", "rope_parameters", "{\"partial_rotary_factor\": 2}", "expected a share in (0, 1]"},
    {"gpt_neox", "rope_parameters", "[]", "rope_scaling: expected an object"},
    {"gpt_neox", "num_key_value_heads", "1", "num_key_value_heads: not a key of gpt_neox"},
    {"llama", "num_key_value_heads", "0", "key/value heads: expected 1 to"},
    {"llama", "num_key_value_heads", "3", "expected a multiple of the 3 key/value heads"},
    {"llama", "head_dim", "0", "head width: expected 1 to"},
    {"llama", "head_dim", "-4", "head width: expected 1 to"},
    {"llama", "rope_theta", "0", "rope_theta: expected a positive number"},
    {"llama", "rope_scaling", "{\"rope_type\": \"yarn\", \"factor\": 2}", "found \"yarn\""},
    {"llama", "rope_scaling", "{\"rope_type\": 3}", "found \"(not a string)\""},
    {"llama", "rope_scaling", "{\"rope_type\": \"linear\", \"factor\": 0.5}", "number >= 1"},
    {"llama", "rope_scaling", "{\"rope_type\": \"linear\", \"factor\": \"2\"}",
     "factor: expected a number"},
    {"llama", "rope_scaling", "{\"type\": \"linear\", \"factor\": 2, \"beta_fast\": 32}",
     "rope_scaling.beta_fast: not a key of llama"},
    {"llama", "rope_parameters", "{\"partial_rotary_factor\": 0.5}",
     "rope_scaling.partial_rotary_factor: not a key of llama"},
    {"mistral", "rope_parameters", "{\"rope_theta\": 7}", "rope_theta: expected 7 like"},
    {"llama", "layer_types", "[\"full_attention\"]", "layer_types: not a key of llama"},
    {"llama", "attention_bias", "true", "bias\" is missing"},
    {"llama", "mlp_bias", "true", "bias\" is missing"},
    {"llama3", "rope_scaling", LLAMA3 "\"low_freq_factor\": 4}", "0 < low_freq_factor < high"},
    {"llama3", "rope_scaling", LLAMA3 "\"low_freq_factor\": 0}", "0 < low_freq_factor < high"},
    {"llama3", "rope_scaling", LLAMA3 "\"low_freq_factor\": 1}", NULL},
    {"llama3", "rope_scaling",
     LLAMA3 "\"low_freq_factor\": 1, \"original_max_position_embeddings\": 0}",
     "original_max_position_embeddings >= 1"},
    {"llama3", "rope_parameters", "{}", "rope_scaling and rope_parameters contradict"},
    {"llama_linear", "rope_parameters", "{}", "rope_scaling and rope_parameters contradict"},
    {"mistral", "sliding_window", "-1", "window: expected a number of positions, found -1"},
    {"mistral", "sliding_window", "0", "sliding_window: layer 0 is local, expected a positive"},
    {"mistral", "sliding_window", "null", NULL},
    {"mistral", "sliding_window", "2.5", "sliding_window: expected a whole number"},
    {"mistral", "head_dim", "5", "expected an even number for rotary positions"},
    {"mistral", "attention_bias", "true", "attention_bias: not a key of mistral"},
    {"qwen2", "layer_types", "[\"full_attention\"]", "layer_types: expected a list of 2 names"},
    {"qwen2", "layer_types", "7", "layer_types: expected a list of 2 names"},
    {"qwen2", "layer_types", "[\"full_attention\", \"linear_attention\"]",
     "layer_types[1]: expected full_attention or sliding_attention, found \"linear_attention\""},
    {"qwen2", "layer_types", "[\"full_attention\", \"sliding_attention\"]",
     "sliding_window: layer 1 is local"},
    {"qwen2", "use_sliding_window", "true", NULL},
    {"qwen2", "use_sliding_window", "1", "use_sliding_window: expected true or false"},
    {"qwen3", "use_sliding_window", "\"yes\"", "use_sliding_window: expected true or false"},
    {"qwen3", "layer_types", "[]", "layer_types: expected a list of"},
    {"qwen3", "head_dim", "7", "expected an even number for rotary positions"},
    {"gemma2", "sliding_window", "-3", "window: expected a number of positions, found -3"},
    {"gemma2", "sliding_window", "0", "sliding_window: layer 0 is local"},
    {"gemma2", "layer_types", "[\"full_attention\"]", "layer_types: expected a list of 2 names"},
    {"gemma2", "query_pre_attn_scalar", "0", "query_pre_attn_scalar: expected a positive"},
    {"gemma2", "attn_logit_softcapping", "-50", "attn_logit_softcapping: expected a positive"},
    {"gemma2", "final_logit_softcapping", "0", "final_logit_softcapping: expected a positive"},
    {"gemma2", "final_logit_softcapping", "null", NULL},
    {"gemma2", "hidden_activation", "\"gelu_quick\"", "found \"gelu_quick\""},
    {"gemma3", "sliding_window_pattern", "0", "sliding_window_pattern: expected a positive"},
    {"gemma3", "rope_local_base_freq", "-1", "rope_theta: expected a positive number, found -1"},
    {"gemma3", "layer_types", "[\"full_attention\"]", "layer_types: expected a list of 4 names"},
    {"gemma3", "query_pre_attn_scalar", "-20", "query_pre_attn_scalar: expected a positive"},
    {"gemma3", "use_bidirectional_attention", "true", "use_bidirectional_attention: not a key"},
    {"gemma3", "model_type", "\"gemma3\"", "text_config: missing, expected an object"},
};
enum { CHANGES = sizeof changes / sizeof changes[0] };

START_TEST(contradictions)
{
    try_change(&changes[_i]);
}
END_TEST

/* A window that is asked for and null is none, as in the reference library; absent, it is the
 * default of 4096. */
START_TEST(window_of_null)
{
    static const struct {
        const char *value;
        int64_t window;
    } cases[] = {{"null", 0}, {"3", 3}, {NULL, 4096}};
    take("qwen2");
    write_single(-1);
    apply(&(change){NULL, "use_sliding_window", "true", NULL});
    for (int i = 0; i < 3; i++) {
        apply(&(change){NULL, "sliding_window", cases[i].value, NULL});
        put_json("config.json", m.config);
        ck_assert_ok(try_open(), f.err);
        const sae_lm_config *c = &((const sae_lm_model *)f.lm->self)->cfg;
        ck_assert_int_eq(c->window, cases[i].window);
        ck_assert_int_eq(sae_lm_is_local(c, 0), 0);
        ck_assert_int_eq(sae_lm_is_local(c, 1), cases[i].window > 0);
        sae_lm_close(&f.lm);
    }
}
END_TEST

Suite *suite_lm_config(void)
{
    Suite *s = suite_create("lm_config");
    TCase *t = tcase_create("lm_config");
    tcase_set_timeout(t, 120);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_loop_test(t, any_config, 0, 2 * MODELS);
    tcase_add_loop_test(t, contradictions, 0, CHANGES);
    tcase_add_test(t, window_of_null);
    suite_add_tcase(s, t);
    return s;
}
