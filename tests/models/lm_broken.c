/* tests/models/lm_broken.c - weights and tokenizers of Hugging Face directories, spoiled one thing
 * at a time: the error names what is wrong; what is not wrong loads as the same model. */
#include "lm_checkpoint.h"

#include <math.h>

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

/* ---- tokenizers ------------------------------------------------------------------------------ */

static void put_tokenizer(int ids)
{
    json_t *vocab = json_object();
    char name[8];
    for (int i = 0; i < ids; i++) {
        snprintf(name, sizeof name, "%c%c", 'a' + i % 26, 'a' + i / 26);
        json_object_set_new(vocab, i < 26 ? (name[1] = '\0', name) : name, json_integer(i));
    }
    json_t *root =
        json_pack("{s:{s:s, s:o, s:[]}}", "model", "type", "BPE", "vocab", vocab, "merges");
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
    tcase_add_test(t, tokenizer_and_embedding);
    suite_add_tcase(s, t);
    return s;
}
