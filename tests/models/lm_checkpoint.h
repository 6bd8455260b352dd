/* tests/models/lm_checkpoint.h - the small models of tests/golden/data/lm, taken into memory,
 * spoiled there, and written as Hugging Face directories. */
#ifndef SAE_TESTS_LM_CHECKPOINT_H
#define SAE_TESTS_LM_CHECKPOINT_H

#include "lm_util.h"

#include "core/file.h"
#include "core/memory.h"
#include "core/safetensors.h"

#include <string.h>

enum { MODELS = 11, MOST_TENSORS = 80, VOCAB = 40, ROWS = 20 };
static const char *const models[MODELS] = {"gemma2",       "gemma3", "gpt2",   "gpt_neox",
                                           "gpt_neox_seq", "llama",  "llama3", "llama_linear",
                                           "mistral",      "qwen2",  "qwen3"};

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

static inline int ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), k = strlen(end);
    return n >= k && strcmp(s + n - k, end) == 0;
}

static inline void read_file(const char *path)
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

static inline void take(const char *arch)
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

static inline void release(void)
{
    for (int i = 0; i < m.n; i++)
        free(m.t[i].v);
    json_decref(m.config);
    json_decref(m.map);
}

/* ---- writing --------------------------------------------------------------------------------- */

static inline char *in_dir(const char *name)
{
    return sae_path_join(m.dir, name);
}

static inline void put(const char *name, const char *text)
{
    sae_err err = {0};
    char *path = in_dir(name);
    ck_assert_ok(sae_file_write(path, text, strlen(text), &err), err);
    sae_free(path);
}

/* Tensors of one file, -1: all; `skip` is left out. */
static inline void write_tensors(const char *name, int file, int skip)
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

static inline void put_json(const char *name, const json_t *o)
{
    char *text = json_dumps(o, JSON_INDENT(1));
    put(name, text);
    free(text);
}

static inline void begin_dir(void)
{
    ck_assert_int_eq(sae_dir_remove(m.dir, NULL), SAE_OK);
    ck_assert_int_eq(sae_dir_make(m.dir, NULL), SAE_OK);
    put_json("config.json", m.config);
}

/* The directory with one file; `skip` is left out. */
static inline void write_single(int skip)
{
    begin_dir();
    write_tensors("model.safetensors", -1, skip);
}

static const char *const shard_name[2] = {"model-1.safetensors", "model-2.safetensors"};
static const char index_name[] = "model.safetensors.index.json";

static inline void write_index(void)
{
    json_t *root = json_pack("{s:{s:i}, s:O}", "metadata", "total_size", 1, "weight_map", m.map);
    put_json(index_name, root);
    json_decref(root);
}

/* The directory with two files and an index of them. */
static inline void write_sharded(void)
{
    begin_dir();
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
static inline int try_open(void)
{
    size_t live = sae_alloc_live();
    f.err = (sae_err){0};
    int rc = sae_lm_open(&f.lm, m.dir, "", sae_lm_place_of(&f.e), &f.err);
    if (rc >= 0)
        return rc;
    ck_assert_ptr_null(f.lm);
    ck_assert_uint_eq(sae_alloc_live(), live);
    ck_assert_msg(strstr(f.err.msg, m.dir) && !strchr(f.err.msg, '\n'), "%s", f.err.msg);
    return rc;
}

static inline void refuse(int code, const char *words)
{
    int rc = try_open();
    ck_assert_msg(rc == code && strstr(f.err.msg, words), "%s: status %d: \"%s\", expected \"%s\"",
                  m.dir, rc, f.err.msg, words);
}

/* Logits of a context, of the directory as it is. */
static inline void logits(float out[ROWS * VOCAB])
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

static inline void setup(void)
{
    lm_engine(&f, 1);
}

static inline void teardown(void)
{
    release();
    lm_teardown(&f);
}

#endif
