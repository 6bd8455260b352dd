/* tests/models/lm_broken.c - Hugging Face directories of every architecture, spoiled one thing at a
 * time: the error names what is wrong; what is not wrong loads as the same model. */
#include "lm_util.h"

#include "core/file.h"
#include "core/memory.h"
#include "core/safetensors.h"

#include <math.h>
#include <string.h>

enum { MODELS = 11, MOST_TENSORS = 80, VOCAB = 40, ROWS = 20 };
static const char *const models[MODELS] = {
    "gemma2", "gemma3", "gpt2",  "gpt_neox", "gpt_neox_seq", "llama", "llama3", "llama_linear",
    "mistral", "qwen2",  "qwen3"};

/* ---- a model in memory ----------------------------------------------------------------------- */

typedef struct tensor {
    char name[96];
    int rank, file; /* file: which of two, for sharded directories */
    int64_t shape[4], count;
    float *v;
} tensor;

typedef struct checkpoint {
    json_t *config;
    tensor t[MOST_TENSORS];
    int n;
    enum sae_st_dtype dtype; /* to write */
    json_t *map;             /* weight_map of a sharded directory */
    char dir[512];           /* where it is written to */
} checkpoint;

static checkpoint m;

static int ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), k = strlen(end);
    return n >= k && strcmp(s + n - k, end) == 0;
}

static void read_file(const char *path)
{
    sae_st *st;
    sae_err err = {0};
    ck_assert_ok(sae_st_open(&st, path, &err), err);
    for (int64_t i = 0; i < sae_st_count(st); i++, m.n++) {
        const sae_st_tensor *from = sae_st_at(st, i);
        tensor *t = &m.t[m.n];
        ck_assert(m.n < MOST_TENSORS && from->rank <= 4);
        snprintf(t->name, sizeof t->name, "%s", from->name);
        t->rank = from->rank;
        t->count = from->count;
        t->file = m.n % 2;
        for (int k = 0; k < 4; k++)
            t->shape[k] = k < from->rank ? from->shape[k] : 1;
        t->v = calloc((size_t)t->count, sizeof *t->v);
        if (from->dtype <= SAE_ST_BF16) /* masks that nothing reads become zeros */
            ck_assert_ok(sae_st_floats(st, from, 0, t->count, 0, t->v, &err), err);
    }
    sae_st_close(&st);
}

static void take(const char *arch)
{
    sae_err err = {0};
    char **names, path[512];
    memset(&m, 0, sizeof m);
    snprintf(m.dir, sizeof m.dir, "%s/%s", test_dir(), arch);
    snprintf(path, sizeof path, "tests/golden/data/lm/%s", arch);
    ck_assert_ok(sae_dir_list(path, &names, &err), err);
    for (char **n = names; *n; n++) {
        snprintf(path, sizeof path, "tests/golden/data/lm/%s/%s", arch, *n);
        if (!strncmp(*n, "model", 5) && ends_with(*n, ".safetensors"))
            read_file(path);
        if (!strcmp(*n, "config.json"))
            m.config = json_load_file(path, 0, NULL);
    }
    sae_names_free(&names);
    ck_assert(m.config && m.n > 10);
}

static void release(void)
{
    for (int i = 0; i < m.n; i++)
        free(m.t[i].v);
    json_decref(m.config);
    json_decref(m.map);
}

/* ---- writing --------------------------------------------------------------------------------- */

static char *in_dir(const char *name)
{
    return sae_path_join(m.dir, name);
}

static void put(const char *name, const char *text)
{
    sae_err err = {0};
    char *path = in_dir(name);
    ck_assert_ok(sae_file_write(path, text, strlen(text), &err), err);
    sae_free(path);
}

/* Tensors of one file, -1: all; `skip` is left out. */
static void write_tensors(const char *name, int file, int skip)
{
    sae_err err = {0};
    sae_st_writer *w;
    char *path = in_dir(name);
    ck_assert_ok(sae_st_writer_open(&w, path, &err), err);
    for (int pass = 0; pass < 2; pass++) {
        for (int i = 0; i < m.n; i++) {
            const tensor *t = &m.t[i];
            if (i == skip || (file >= 0 && t->file != file))
                continue;
            size_t bytes = (size_t)t->count * sae_st_dtype_size(m.dtype);
            void *raw = calloc(1, bytes);
            sae_st_from_f32(m.dtype, t->v, t->count, raw);
            if (pass == 0)
                ck_assert_ok(sae_st_writer_add(w, t->name, m.dtype, t->rank, t->shape, &err), err);
            else
                ck_assert_ok(sae_st_writer_data(w, raw, bytes, &err), err);
            free(raw);
        }
        if (pass == 0)
            ck_assert_ok(sae_st_writer_begin(w, &err), err);
    }
    ck_assert_ok(sae_st_writer_commit(&w, &err), err);
    sae_free(path);
}

static void put_json(const char *name, const json_t *o)
{
    char *text = json_dumps(o, JSON_INDENT(1));
    put(name, text);
    free(text);
}

/* The directory with one file; `skip` is left out. */
static void write_single(int skip)
{
    ck_assert_int_eq(sae_dir_remove(m.dir, NULL), SAE_OK);
    ck_assert_int_eq(sae_dir_make(m.dir, NULL), SAE_OK);
    put_json("config.json", m.config);
    write_tensors("model.safetensors", -1, skip);
}

static const char *const shard_name[2] = {"model-1.safetensors", "model-2.safetensors"};
static const char index_name[] = "model.safetensors.index.json";

static void write_index(void)
{
    json_t *root = json_pack("{s:{s:i}, s:O}", "metadata", "total_size", 1, "weight_map", m.map);
    put_json(index_name, root);
    json_decref(root);
}

/* The directory with two files and an index of them. */
static void write_sharded(void)
{
    ck_assert_int_eq(sae_dir_remove(m.dir, NULL), SAE_OK);
    ck_assert_int_eq(sae_dir_make(m.dir, NULL), SAE_OK);
    put_json("config.json", m.config);
    for (int k = 0; k < 2; k++)
        write_tensors(shard_name[k], k, -1);
    json_decref(m.map);
    m.map = json_object();
    for (int i = 0; i < m.n; i++)
        json_object_set_new(m.map, m.t[i].name, json_string(shard_name[m.t[i].file]));
    write_index();
}

/* ---- reading --------------------------------------------------------------------------------- */

static lm_fixture f;

/* SAE_OK or the error of opening, which names the directory and leaks nothing. */
static int try_open(void)
{
    size_t live = sae_alloc_live();
    f.err = (sae_err){0};
    int rc = sae_lm_open(&f.lm, m.dir, "", &f.e.k, f.e.dev, &f.err);
    if (rc >= 0)
        return rc;
    ck_assert_ptr_null(f.lm);
    ck_assert_uint_eq(sae_alloc_live(), live);
    ck_assert_msg(strstr(f.err.msg, m.dir) && !strchr(f.err.msg, '\n'), "%s", f.err.msg);
    return rc;
}

static void refuse(int code, const char *words)
{
    int rc = try_open();
    ck_assert_msg(rc == code && strstr(f.err.msg, words), "%s: status %d: \"%s\", expected \"%s\"",
                  m.dir, rc, f.err.msg, words);
}

/* Logits of a context, of the directory as it is. */
static void logits(float out[ROWS * VOCAB])
{
    int64_t start[2] = {0, ROWS};
    int32_t tok[ROWS];
    sae_lm_pass *pass = NULL;
    ck_assert_ok(try_open(), f.err);
    ck_assert_int_eq(f.lm->vocab, VOCAB);
    for (int i = 0; i < ROWS; i++)
        tok[i] = i * 7 % VOCAB;
    sae_contexts c = {1, start, tok};
    ck_assert_ok(f.lm->begin(f.lm->self, "resid_pre.0", &c, &pass, &f.err), f.err);
    ck_assert_ok(f.lm->finish(pass, NULL, &(sae_lm_out){.logits = out}, &f.err), f.err);
    f.lm->end(&pass);
    sae_lm_close(&f.lm);
}

static void setup(void)
{
    lm_engine(&f, 1);
}

static void teardown(void)
{
    release();
    lm_teardown(&f);
}

/* ---- weights --------------------------------------------------------------------------------- */

/* One file, two files, f16 and bf16: the same model, up to the rounding of the stored numbers. */
START_TEST(every_form)
{
    static const enum sae_st_dtype narrow[] = {SAE_ST_F16, SAE_ST_BF16};
    float want[ROWS * VOCAB], got[ROWS * VOCAB];
    take(models[_i]);
    for (int i = 0; i < m.n; i++) /* the checkpoint may be f16 or bf16 itself */
        for (int64_t k = 0; k < m.t[i].count; k++)
            m.t[i].v[k] *= 1 + 0x1.8p-12f;
    write_single(-1);
    logits(want);
    write_sharded();
    logits(got);
    ck_assert(memcmp(got, want, sizeof got) == 0);
    for (int k = 0; k < 2; k++) {
        m.dtype = narrow[k];
        write_single(-1);
        logits(got);
        ck_assert_msg(memcmp(got, want, sizeof got) != 0, "rounding changed nothing");
        for (int i = 0; i < m.n; i++) { /* what was just written, as f32 */
            void *raw = calloc((size_t)m.t[i].count, 2);
            sae_st_from_f32(narrow[k], m.t[i].v, m.t[i].count, raw);
            sae_st_to_f32(narrow[k], raw, m.t[i].count, m.t[i].v);
            free(raw);
        }
        m.dtype = SAE_ST_F32;
        write_sharded();
        logits(want);
        ck_assert_msg(memcmp(got, want, sizeof got) == 0, "%s", sae_st_dtype_name(narrow[k]));
    }
}
END_TEST

/* Checkpoints hold tensors that the model does not have: masks, tables of angles, a tied head. */
static int is_spare(const tensor *t)
{
    const char *const spare[] = {".attn.bias", ".attn.masked_bias", ".attention.bias",
                                 ".attention.masked_bias", "rotary_emb.inv_freq"};
    for (size_t i = 0; i < sizeof spare / sizeof spare[0]; i++)
        if (ends_with(t->name, spare[i]))
            return 1;
    return 0;
}

/* Every tensor in turn: absent, of another shape, of another rank, not finite. */
START_TEST(every_tensor)
{
    char words[200];
    int64_t used = 0;
    take(models[_i]);
    for (int i = 0; i < m.n; i++) {
        tensor *t = &m.t[i];
        write_single(i);
        if (is_spare(t)) {
            ck_assert_ok(try_open(), f.err);
            sae_lm_close(&f.lm);
            continue;
        }
        used++;
        const char *plain = strstr(t->name, "language_model.") == t->name ? t->name + 15 : t->name;
        plain = strstr(plain, "transformer.") == plain ? plain + 12 : plain;
        snprintf(words, sizeof words, "%s\" is missing", plain);
        refuse(SAE_EFORMAT, words);
        snprintf(words, sizeof words, "\"%s\": expected shape [", t->name);
        for (int k = 0; k < 2; k++) { /* a row too many; one number less in a row */
            tensor good = *t;
            float *more = calloc((size_t)(t->count + t->shape[1]), sizeof *more);
            t->v = more;
            t->shape[0] = k == 0 ? t->shape[0] + 1 : t->rank == 1 ? t->count - 1 : t->shape[0];
            t->shape[1] -= k == 1 && t->rank == 2;
            t->count = t->shape[0] * t->shape[1];
            write_single(-1);
            refuse(SAE_EFORMAT, words);
            free(more);
            *t = good;
        }
        tensor good = *t;
        t->rank = 3 - t->rank; /* a vector as a matrix of one column, a matrix as a vector */
        t->shape[0] = t->rank == 1 ? t->count : t->shape[0];
        write_single(-1);
        refuse(SAE_EFORMAT, words);
        *t = good;
        float last = t->v[t->count - 1];
        t->v[t->count - 1] = NAN;
        write_single(-1);
        snprintf(words, sizeof words, "\"%s\"", t->name);
        refuse(SAE_EFORMAT, words);
        t->v[t->count - 1] = last;
    }
    ck_assert_int_gt(used, 15);
    write_single(-1);
    ck_assert_ok(try_open(), f.err);
    sae_lm_close(&f.lm);
}
END_TEST

/* ---- the index of several files -------------------------------------------------------------- */

START_TEST(broken_index)
{
    static const char *const texts[][2] = {
        {"", "index.json: line"},
        {"{\"weight_map\": ", "index.json: line"},
        {"[]", "weight_map: expected an object of tensor names"},
        {"{}", "weight_map: expected an object of tensor names"},
        {"{\"weight_map\": {}}", "weight_map: expected an object of tensor names"},
        {"{\"weight_map\": [\"a\"]}", "weight_map: expected an object of tensor names"},
        {"{\"weight_map\": {\"a\": 1}}", "weight_map.a: expected a file name"},
        {"{\"weight_map\": {\"a\": \"b\", \"a\": \"b\"}}", "duplicate"},
    };
    static const char *const places[] = {"../x", "/etc/x", "a/b", "", ".", ".."};
    take(models[_i]);
    write_sharded();
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        put(index_name, texts[i][0]);
        refuse(SAE_EFORMAT, texts[i][1]);
    }
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        write_sharded();
        json_object_set_new(m.map, m.t[3].name, json_string(places[i]));
        write_index();
        refuse(SAE_EFORMAT, "expected a file of the same directory");
    }
}
END_TEST

START_TEST(index_and_files_disagree)
{
    char words[200];
    take(models[_i]);
    write_sharded();
    char *second = in_dir(shard_name[1]);
    ck_assert_int_eq(remove(second), 0);
    refuse(SAE_EIO, "names the file model-2.safetensors, which is not there");

    write_sharded();
    json_object_set_new(m.map, "more.weight", json_string(shard_name[0]));
    write_index();
    refuse(SAE_EFORMAT, "says that model-1.safetensors holds more.weight, which it does not");

    write_sharded(); /* said to be in the other file */
    json_object_set_new(m.map, m.t[1].name, json_string(shard_name[0]));
    write_index();
    snprintf(words, sizeof words, "model-1.safetensors holds %s, which it does not", m.t[1].name);
    refuse(SAE_EFORMAT, words);

    write_sharded(); /* in both files */
    write_tensors(shard_name[1], -1, -1);
    refuse(SAE_EFORMAT, "also in ");

    write_sharded();
    ck_assert_int_eq(sae_file_write(second, "cut", 3, NULL), SAE_OK);
    refuse(SAE_EFORMAT, "model-2.safetensors");
    sae_free(second);
}
END_TEST

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
    const char *heads = old ? "n_head" : "num_attention_heads", *width = old ? "n_embd"
                                                                            : "hidden_size";
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

/* A window that is asked for and absent is none, as in the reference library: null keeps every
 * layer global. */
START_TEST(window_of_null)
{
    float want[ROWS * VOCAB], got[ROWS * VOCAB];
    take("qwen2");
    write_single(-1);
    logits(want);
    apply(&(change){NULL, "use_sliding_window", "true", NULL});
    put_json("config.json", m.config);
    logits(got);
    ck_assert(memcmp(got, want, sizeof got) != 0); /* 3 positions from layer 1 on */
    apply(&(change){NULL, "sliding_window", "null", NULL});
    put_json("config.json", m.config);
    logits(got);
    ck_assert(memcmp(got, want, sizeof got) == 0);
}
END_TEST

/* ---- tokenizers ------------------------------------------------------------------------------ */

static void put_tokenizer(int ids)
{
    json_t *vocab = json_object();
    char name[8];
    for (int i = 0; i < ids; i++) {
        snprintf(name, sizeof name, "%c%c", 'a' + i % 26, 'a' + i / 26);
        json_object_set_new(vocab, i < 26 ? (name[1] = '\0', name) : name, json_integer(i));
    }
    json_t *root = json_pack("{s:{s:s, s:o, s:[]}}", "model", "type", "BPE", "vocab", vocab,
                             "merges");
    put_json("tokenizer.json", root);
    json_decref(root);
}

/* More ids than rows of the embedding; fewer are fine, embeddings are padded. */
START_TEST(tokenizer_and_embedding)
{
    take("gpt2");
    write_single(-1);
    put_tokenizer(VOCAB + 1);
    refuse(SAE_EFORMAT, "tokenizer.json: has 41 ids, the model's vocabulary only 40");
    for (int less = 0; less < 2; less++) {
        put_tokenizer(VOCAB - less);
        ck_assert_ok(try_open(), f.err);
        ck_assert_int_eq(f.lm->vocab, VOCAB);
        sae_lm_close(&f.lm);
    }
}
END_TEST

Suite *suite_lm_broken(void)
{
    Suite *s = suite_create("lm_broken");
    TCase *t = tcase_create("lm_broken");
    tcase_set_timeout(t, 120);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_loop_test(t, every_form, 0, MODELS);
    tcase_add_loop_test(t, every_tensor, 0, MODELS);
    tcase_add_loop_test(t, broken_index, 0, MODELS);
    tcase_add_loop_test(t, index_and_files_disagree, 0, MODELS);
    tcase_add_loop_test(t, any_config, 0, 2 * MODELS);
    tcase_add_loop_test(t, contradictions, 0, CHANGES);
    tcase_add_test(t, window_of_null);
    tcase_add_test(t, tokenizer_and_embedding);
    suite_add_tcase(s, t);
    return s;
}
