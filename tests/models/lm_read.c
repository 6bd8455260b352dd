/* tests/models/lm_read.c - the same small model written in every format reads back as the same
 * model; broken files are refused by name. */
#include "lm_util.h"

#include "core/file.h"
#include "core/hash.h"
#include "core/memory.h"
#include "core/safetensors.h"
#include "models/lm_model.h"
#include <sae/rng.h>

#include <math.h>
#include <string.h>

enum { D = 24, HIDDEN = 20, LAYERS = 2, HEADS = 4, KV = 2, HEAD = 6, VOCAB = 11, CTX = 16 };

static const sae_lm_config tiny = {
    .arch = "llama", .d = D, .hidden = HIDDEN, .layers = LAYERS, .heads = HEADS, .kv_heads = KV,
    .head = HEAD, .vocab = VOCAB, .ctx = CTX, .norm_in = SAE_LM_NORM_RMS,
    .norm_final = SAE_LM_NORM_RMS, .gated = 1, .tied = 0,
};

/* Weights with few mantissa bits, so that all storage types hold them exactly. */
static float weight(enum sae_lm_part p, int64_t layer, int64_t i)
{
    uint64_t row = (uint64_t)(layer * SAE_LM_PARTS + (int64_t)p);
    uint32_t u = sae_philox(9, SAE_STREAM_SYNTHETIC, row, (uint32_t)i).v[0];
    return (float)((int)(u % 127) - 63) / 128;
}

/* ---- writing --------------------------------------------------------------------------------- */

static void put(FILE *f, enum sae_lm_part p, int64_t layers)
{
    int64_t rows, cols;
    sae_lm_part_shape(&tiny, p, &rows, &cols);
    for (int64_t l = 0; l < layers; l++)
        for (int64_t i = 0; i < rows * cols; i++) {
            float w = weight(p, l, i);
            ck_assert_int_eq((int)fwrite(&w, sizeof w, 1, f), 1);
        }
}

/* llama2.c form; `cut` bytes are left away at the end. */
static void write_bin(const char *path, int tied, long cut)
{
    static const enum sae_lm_part order[] = {SAE_LM_NORM_ATTN, SAE_LM_Q,    SAE_LM_K,
                                             SAE_LM_V,         SAE_LM_O,    SAE_LM_NORM_MLP,
                                             SAE_LM_GATE,      SAE_LM_DOWN, SAE_LM_UP};
    int32_t h[7] = {D, HIDDEN, LAYERS, HEADS, KV, tied ? VOCAB : -VOCAB, CTX};
    float rope[CTX * HEAD] = {0}; /* readers make their own */
    char *buf = NULL;
    size_t bytes = 0;
    FILE *f = open_memstream(&buf, &bytes);
    fwrite(h, sizeof h, 1, f);
    put(f, SAE_LM_EMBED, 1);
    for (size_t i = 0; i < sizeof order / sizeof order[0]; i++)
        put(f, order[i], LAYERS);
    put(f, SAE_LM_NORM_FINAL, 1);
    fwrite(rope, sizeof rope, 1, f);
    if (!tied)
        put(f, SAE_LM_HEAD, 1);
    fclose(f);
    ck_assert_int_eq(sae_file_write(path, buf, bytes - (size_t)cut, NULL), SAE_OK);
    free(buf);
}

static const char *const hf[SAE_LM_PARTS] = {
    [SAE_LM_EMBED] = "model.embed_tokens", [SAE_LM_NORM_FINAL] = "model.norm",
    [SAE_LM_HEAD] = "lm_head", [SAE_LM_NORM_ATTN] = "input_layernorm",
    [SAE_LM_Q] = "self_attn.q_proj", [SAE_LM_K] = "self_attn.k_proj",
    [SAE_LM_V] = "self_attn.v_proj", [SAE_LM_O] = "self_attn.o_proj",
    [SAE_LM_NORM_MLP] = "post_attention_layernorm", [SAE_LM_GATE] = "mlp.gate_proj",
    [SAE_LM_UP] = "mlp.up_proj", [SAE_LM_DOWN] = "mlp.down_proj"};
static const char *const meta[SAE_LM_PARTS] = {
    [SAE_LM_EMBED] = "tok_embeddings", [SAE_LM_NORM_FINAL] = "norm", [SAE_LM_HEAD] = "output",
    [SAE_LM_NORM_ATTN] = "attention_norm", [SAE_LM_Q] = "attention.wq",
    [SAE_LM_K] = "attention.wk", [SAE_LM_V] = "attention.wv", [SAE_LM_O] = "attention.wo",
    [SAE_LM_NORM_MLP] = "ffn_norm", [SAE_LM_GATE] = "feed_forward.w1",
    [SAE_LM_UP] = "feed_forward.w3", [SAE_LM_DOWN] = "feed_forward.w2"};

/* What to write, and how to spoil it. */
typedef struct form {
    const char *const *names;
    enum sae_st_dtype dtype;
    int halves;            /* rows of q and k in half-split order */
    int tied;
    enum sae_lm_part skip; /* a part to leave out, SAE_LM_PARTS: none */
    int nan;               /* a NaN in w2 of layer 1, index 5 */
} form;

/* Row r of q and k in the order of the form: within a head, the first members of all adjacent pairs
 * come before the second ones. */
static int64_t source_row(const form *f, enum sae_lm_part p, int64_t r)
{
    if (!f->halves || (p != SAE_LM_Q && p != SAE_LM_K))
        return r;
    int64_t i = r % HEAD;
    return r - i + (i < HEAD / 2 ? 2 * i : 2 * (i - HEAD / 2) + 1);
}

static void tensor(sae_st_writer *w, const form *f, enum sae_lm_part p, int64_t layer, int declare)
{
    int64_t shape[2];
    char name[96];
    sae_lm_part_shape(&tiny, p, &shape[0], &shape[1]);
    if (!f->names[p] || p == f->skip || (p == SAE_LM_HEAD && f->tied))
        return;
    const char *prefix = f->names == hf ? "model.layers" : "layers";
    if (sae_lm_part_in_layer(p))
        snprintf(name, sizeof name, "%s.%d.%s.weight", prefix, (int)layer, f->names[p]);
    else
        snprintf(name, sizeof name, "%s.weight", f->names[p]);
    int vector = shape[0] == 1;
    if (declare) {
        ck_assert_int_eq(
            sae_st_writer_add(w, name, f->dtype, vector ? 1 : 2, shape + vector, NULL), SAE_OK);
        return;
    }
    int64_t count = shape[0] * shape[1];
    float *v = calloc((size_t)count, sizeof *v);
    for (int64_t i = 0; i < count; i++)
        v[i] = weight(p, layer, source_row(f, p, i / shape[1]) * shape[1] + i % shape[1]);
    if (f->nan && p == SAE_LM_DOWN && layer == 1)
        v[5] = NAN;
    size_t bytes = (size_t)count * sae_st_dtype_size(f->dtype);
    void *raw = calloc(1, bytes);
    sae_st_from_f32(f->dtype, v, count, raw);
    ck_assert_int_eq(sae_st_writer_data(w, raw, bytes, NULL), SAE_OK);
    free(raw);
    free(v);
}

static void write_safetensors(const char *path, const form *f)
{
    static const char *const extents[][2] = {
        {"dim", "24"},    {"hidden_dim", "20"}, {"n_layers", "2"}, {"n_heads", "4"},
        {"n_kv_heads", "2"}, {"vocab_size", "11"}, {"seq_len", "16"}};
    sae_st_writer *w = NULL;
    ck_assert_int_eq(sae_st_writer_open(&w, path, NULL), SAE_OK);
    for (int i = 0; f->names == meta && i < 7; i++)
        ck_assert_int_eq(sae_st_writer_meta(w, extents[i][0], extents[i][1], NULL), SAE_OK);
    for (int declare = 1; declare >= 0; declare--) {
        for (int p = 0; p < SAE_LM_NORM_ATTN; p++)
            tensor(w, f, (enum sae_lm_part)p, 0, declare);
        for (int64_t l = 0; l < LAYERS; l++)
            for (int p = SAE_LM_NORM_ATTN; p < SAE_LM_PARTS; p++)
                tensor(w, f, (enum sae_lm_part)p, l, declare);
        if (declare)
            ck_assert_int_eq(sae_st_writer_begin(w, NULL), SAE_OK);
    }
    ck_assert_int_eq(sae_st_writer_commit(&w, NULL), SAE_OK);
}

#define CONFIG_HEAD "\"model_type\": \"llama\", \"hidden_act\": \"silu\", \"hidden_size\": 24, "
#define CONFIG_TAIL                                                                                \
    "\"num_hidden_layers\": 2, \"num_attention_heads\": 4, \"num_key_value_heads\": 2, "           \
    "\"vocab_size\": 11, \"max_position_embeddings\": 16, \"bos_token_id\": 1, "                   \
    "\"eos_token_id\": [2, 3], \"rope_theta\": 10000.0, \"rms_norm_eps\": 1e-05"
#define CONFIG CONFIG_HEAD "\"intermediate_size\": 20, " CONFIG_TAIL

static const char *join(char out[512], const char *name)
{
    snprintf(out, 512, "%s/%s", test_dir(), name);
    return out;
}

/* A directory with a checkpoint, as a path. */
static const char *write_hf(char out[512], const char *name, const form *f, const char *config)
{
    char path[600];
    join(out, name);
    ck_assert_int_eq(sae_dir_make(out, NULL), SAE_OK);
    snprintf(path, sizeof path, "%s/config.json", out);
    ck_assert_int_eq(sae_file_write(path, config, strlen(config), NULL), SAE_OK);
    snprintf(path, sizeof path, "%s/model.safetensors", out);
    write_safetensors(path, f);
    return out;
}

/* ---- reading --------------------------------------------------------------------------------- */

static void logits(const char *path, float out[CTX * VOCAB], lm_fixture *keep)
{
    lm_fixture f;
    int64_t start[2] = {0, CTX};
    int32_t tok[CTX];
    sae_lm_pass *pass = NULL;
    lm_setup(&f, path, "");
    for (int i = 0; i < CTX; i++)
        tok[i] = i * 7 % VOCAB;
    sae_contexts c = {1, start, tok};
    ck_assert_ok(f.lm->begin(f.lm->self, "resid_pre.0", &c, &pass, &f.err), f.err);
    ck_assert_ok(f.lm->finish(pass, NULL, &(sae_lm_out){.logits = out}, &f.err), f.err);
    f.lm->end(&pass);
    if (keep)
        *keep = f;
    else
        lm_teardown(&f);
}

START_TEST(every_form_is_the_same_model)
{
    static const struct {
        form f;
        int directory;
    } forms[] = {
        {{hf, SAE_ST_F32, 1, 0, SAE_LM_PARTS, 0}, 1},  {{hf, SAE_ST_F16, 1, 0, SAE_LM_PARTS, 0}, 1},
        {{hf, SAE_ST_BF16, 1, 0, SAE_LM_PARTS, 0}, 1}, {{hf, SAE_ST_F32, 1, 1, SAE_LM_PARTS, 0}, 1},
        {{meta, SAE_ST_F32, 0, 0, SAE_LM_PARTS, 0}, 0},
        {{meta, SAE_ST_F32, 0, 1, SAE_LM_PARTS, 0}, 0},
    };
    char path[512];
    float want[2][CTX * VOCAB], got[CTX * VOCAB];
    for (int tied = 0; tied < 2; tied++) {
        write_bin(join(path, "model.bin"), tied, 0);
        logits(path, want[tied], NULL);
    }
    ck_assert_int_ne(memcmp(want[0], want[1], sizeof want[0]), 0);
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        int tied = forms[i].f.tied;
        if (forms[i].directory)
            write_hf(path, "hf", &forms[i].f,
                     tied ? "{" CONFIG ", \"tie_word_embeddings\": true}" : "{" CONFIG "}");
        else
            write_safetensors(join(path, "bare.safetensors"), &forms[i].f);
        logits(path, got, NULL);
        ck_assert_msg(memcmp(got, want[tied], sizeof got) == 0, "form %zu", i);
    }
}
END_TEST

/* Reading q and k in the wrong order is not the same model: the test above can fail. */
START_TEST(order_of_rows_matters)
{
    form f = {hf, SAE_ST_F32, 0, 0, SAE_LM_PARTS, 0};
    char path[512];
    float want[CTX * VOCAB], got[CTX * VOCAB];
    write_bin(join(path, "model.bin"), 0, 0);
    logits(path, want, NULL);
    logits(write_hf(path, "hf", &f, "{" CONFIG "}"), got, NULL);
    ck_assert_int_ne(memcmp(got, want, sizeof got), 0);
}
END_TEST

START_TEST(facts)
{
    form f = {hf, SAE_ST_F32, 1, 0, SAE_LM_PARTS, 0};
    char path[512], file[600], hash[36];
    float z[CTX * VOCAB];
    lm_fixture x;
    logits(write_hf(path, "hf", &f, "{" CONFIG "}"), z, &x);
    ck_assert_str_eq(x.lm->arch, "llama");
    ck_assert_int_eq(x.lm->d, D);
    ck_assert_int_eq(x.lm->layers, LAYERS);
    ck_assert_int_eq(x.lm->vocab, VOCAB);
    ck_assert_int_eq(x.lm->ctx, CTX);
    ck_assert_int_eq(x.lm->bos, 1);
    ck_assert_int_eq(x.lm->eos, 2);
    int64_t params = 2 * VOCAB * D + D + LAYERS * (2 * D + 2 * D * D + 2 * KV * HEAD * D +
                                                   3 * D * HIDDEN);
    ck_assert_int_eq((int64_t)x.lm->params, params);
    snprintf(file, sizeof file, "%s/model.safetensors", path);
    ck_assert_int_eq(sae_hash_file(file, hash, NULL), SAE_OK);
    ck_assert_str_eq(x.lm->weights_hash, hash);
    ck_assert_str_eq(x.lm->tokenizer_hash, "");
    lm_teardown(&x);
}
END_TEST

/* ---- refusals -------------------------------------------------------------------------------- */

static void refuse(const char *path, int code, const char *words)
{
    lm_fixture f;
    lm_engine(&f, 1);
    size_t live = sae_alloc_live();
    int rc = sae_lm_open(&f.lm, path, "", sae_lm_place_of(&f.e), &f.err);
    ck_assert_msg(rc == code && strstr(f.err.msg, words), "%s: status %d: \"%s\", expected \"%s\"",
                  path, rc, f.err.msg, words);
    ck_assert_msg(strstr(f.err.msg, path) != NULL, "no path in \"%s\"", f.err.msg);
    ck_assert_ptr_null(f.lm);
    ck_assert_uint_eq(sae_alloc_live(), live);
    lm_teardown(&f);
}

START_TEST(broken_configs)
{
    static const struct {
        const char *config, *words;
    } bad[] = {
        {"", "config.json"},
        {"[]", "expected an object"},
        {"{" CONFIG_HEAD CONFIG_TAIL "}", "intermediate_size: missing"},
        {"{" CONFIG_HEAD "\"intermediate_size\": 0, " CONFIG_TAIL "}", "hidden width"},
        {"{" CONFIG_HEAD "\"intermediate_size\": 2.5, " CONFIG_TAIL "}", "a whole number"},
        {"{" CONFIG_HEAD "\"intermediate_size\": 21, " CONFIG_TAIL "}", "gate_proj"},
        {"{" CONFIG ", \"head_dim\": 5}", "even number"},
        {"{" CONFIG ", \"head_dim\": 8}", "q_proj"},
        {"{" CONFIG ", \"rope_scaling\": 1}", "rope_scaling: expected an object"},
        {"{" CONFIG ", \"rope_scaling\": {\"type\": \"yarn\"}}", "found \"yarn\""},
        {"{" CONFIG ", \"rope_scaling\": {\"type\": \"linear\"}}", "rope_scaling.factor"},
        {"{" CONFIG ", \"rope_scaling\": {}, \"rope_parameters\": {}}", "contradict"},
        {"{" CONFIG ", \"attention_bias\": true}", "self_attn.q_proj.bias"},
        {"{" CONFIG ", \"hidden_act\": \"selu\"}", "duplicate"},
        {"{" CONFIG ", \"sliding_window\": 4}", "sliding_window: not a key of llama models"},
        {"{" CONFIG ", \"mlp_bias\": 1}", "mlp_bias: expected true or false"},
        {"{" CONFIG ", \"rope_theta\": -1}", "duplicate"},
        {"{\"model_type\": \"gpt3\"}", "gpt_neox, found \"gpt3\""},
        {"{\"model_type\": \"gpt2\"}", "n_embd: missing"},
        {"{\"hidden_size\": 24}", "found \"(nothing)\""},
        {"{" CONFIG ", \"use_cache\": true, \"new_key\": null}", ""},
    };
    form f = {hf, SAE_ST_F32, 1, 0, SAE_LM_PARTS, 0};
    char path[512];
    for (size_t i = 0; i + 1 < sizeof bad / sizeof bad[0]; i++)
        refuse(write_hf(path, "hf", &f, bad[i].config), SAE_EFORMAT, bad[i].words);
    float z[CTX * VOCAB]; /* keys that are not about the forward pass do not matter */
    logits(write_hf(path, "hf", &f, bad[sizeof bad / sizeof bad[0] - 1].config), z, NULL);
}
END_TEST

START_TEST(broken_weights)
{
    char path[512];
    form f = {hf, SAE_ST_F32, 1, 0, SAE_LM_K, 0};
    refuse(write_hf(path, "hf", &f, "{" CONFIG "}"), SAE_EFORMAT,
           "model.layers.0.self_attn.k_proj.weight");
    f.skip = SAE_LM_PARTS;
    f.nan = 1;
    refuse(write_hf(path, "hf", &f, "{" CONFIG "}"), SAE_EFORMAT,
           "model.layers.1.mlp.down_proj.weight");
    f.names = meta;
    write_safetensors(join(path, "bare.safetensors"), &f);
    refuse(path, SAE_EFORMAT, "layers.1.feed_forward.w2.weight");
    write_bin(join(path, "model.bin"), 0, 4);
    refuse(path, SAE_EFORMAT, "the header asks for");
    refuse(join(path, "absent.bin"), SAE_EIO, "absent.bin");
    join(path, "empty");
    ck_assert_int_eq(sae_dir_make(path, NULL), SAE_OK);
    refuse(path, SAE_EIO, "config.json with its weights");
}
END_TEST

START_TEST(broken_bin)
{
    static const struct {
        int field;
        int32_t value;
        const char *words;
    } bad[] = {{0, 0, "width"},         {0, 25, "multiple of the 4 heads"}, {1, -1, "hidden width"},
               {2, 1 << 30, "layers"},  {3, 0, "heads"},                    {4, 3, "heads"},
               {5, 0, "vocabulary"},    {5, INT32_MIN, "vocabulary"},       {6, 15, "asks for"},
               {3, 8, "even number"}};
    char path[512];
    write_bin(join(path, "model.bin"), 1, 0);
    sae_map map;
    ck_assert_int_eq(sae_map_open(&map, path, NULL), SAE_OK);
    char *copy = malloc(map.bytes);
    size_t bytes = map.bytes;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        memcpy(copy, map.p, bytes);
        memcpy(copy + 4 * bad[i].field, &bad[i].value, 4);
        char other[512];
        ck_assert_int_eq(sae_file_write(join(other, "bad.bin"), copy, bytes, NULL), SAE_OK);
        refuse(other, SAE_EFORMAT, bad[i].words);
    }
    /* Infinity in the third weight of layer 1's w3: the last tensor before the final norm. */
    float inf = INFINITY;
    size_t tail = 4 * (D + CTX * HEAD);
    memcpy(copy, map.p, bytes);
    memcpy(copy + bytes - tail - 4 * (D * HIDDEN) + 8, &inf, 4);
    ck_assert_int_eq(sae_file_write(join(path, "bad.bin"), copy, bytes, NULL), SAE_OK);
    refuse(path, SAE_EFORMAT, "w3 of layer 1, index 2");
    sae_map_close(&map);
    free(copy);
}
END_TEST

Suite *suite_lm_read(void)
{
    Suite *s = suite_create("lm_read");
    TCase *t = tcase_create("lm_read");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, every_form_is_the_same_model);
    tcase_add_test(t, order_of_rows_matters);
    tcase_add_test(t, facts);
    tcase_add_test(t, broken_configs);
    tcase_add_test(t, broken_weights);
    tcase_add_test(t, broken_bin);
    suite_add_tcase(s, t);
    return s;
}
