/* tests/fault/tokenizer.c - tokenizers and documents whatever allocation fails. */
#include "core/file.h"
#include "core/memory.h"
#include "models/docs.h"
#include "models/tokenizer.h"
#include "support/support.h"

#include <stdio.h>
#include <string.h>

static const char json[] =
    "{\"added_tokens\": [{\"id\": 5, \"content\": \"<x>\"}], \"normalizer\": {\"type\": \"NFC\"}, "
    "\"pre_tokenizer\": {\"type\": \"ByteLevel\", \"add_prefix_space\": true}, "
    "\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0, \"b\": 1, \"ab\": 2, "
    "\"\\u0120\": 3, \"<s>\": 4}, \"merges\": [\"a b\"]}}";

/* Rewrites, plain and regular patterns, a trie, the best path, a decoder. */
static const char unigram[] =
    "{\"added_tokens\": [{\"id\": 5, \"content\": \"<X>\", \"normalized\": true}], "
    "\"normalizer\": {\"type\": \"Sequence\", \"normalizers\": [{\"type\": \"Lowercase\"}, "
    "{\"type\": "
    "\"Precompiled\", \"precompiled_charsmap\": \"BAAAAAAAAAAA\"}, {\"type\": \"Replace\", "
    "\"pattern\": "
    "{\"Regex\": \" +\"}, \"content\": \" \"}]}, "
    "\"pre_tokenizer\": {\"type\": \"Metaspace\", \"replacement\": \"_\"}, "
    "\"decoder\": {\"type\": \"Metaspace\", \"replacement\": \"_\"}, "
    "\"model\": {\"type\": \"Unigram\", \"unk_id\": 0, \"vocab\": [[\"?\", 0], [\"a\", -1], "
    "[\"b\", -1], [\"ab\", -1.5], [\"_\", -1]]}}";

static int tokenize(void *self, const char *text, size_t bytes, int32_t *ids, int64_t cap,
                    int64_t *count, sae_err *err)
{
    return sae_tokenizer_encode(self, text, bytes, 1, ids, cap, count, err);
}

static const char *piece(void *self, int32_t id, size_t *len)
{
    return sae_tokenizer_piece(self, id, len);
}

static int scenario(const char *tokenizer, const char *text, sae_err *err)
{
    sae_tokenizer *t;
    sae_docs *docs;
    int rc = sae_tokenizer_open(&t, tokenizer, 0, err);
    if (rc < 0) {
        ck_assert_ptr_null(t);
        return rc;
    }
    sae_lm lm = {
        .self = t, .ctx = 4, .bos = sae_tokenizer_bos(t), .tokenize = tokenize, .piece = piece};
    rc = sae_docs_open(&lm, text, "--", 0, &docs, err);
    ck_assert_int_eq(docs != NULL, rc >= 0);
    sae_docs_close(&docs);
    sae_tokenizer_close(&t);
    return rc;
}

static void each_fault(const char *tokenizer)
{
    char text[512];
    sae_err err = {0};
    snprintf(text, sizeof text, "%s/text.txt", test_dir());
    ck_assert_ok(sae_file_write(text, "ab a\n--\nabab<x>b", 16, &err), err);
    size_t live = sae_alloc_live();
    int rc = SAE_ENOMEM;
    uint64_t i = 0;
    while (rc < 0 && i < 200) {
        err = (sae_err){0};
        sae_alloc_fail_at(++i);
        rc = scenario(tokenizer, text, &err);
        sae_alloc_fail_at(0);
        ck_assert_msg(rc >= 0 || (rc == SAE_ENOMEM && err.msg[0]), "allocation %llu: %d: %s",
                      (unsigned long long)i, rc, err.msg);
        ck_assert_uint_eq(sae_alloc_live(), live);
    }
    ck_assert_int_ge(rc, 0);
    ck_assert_uint_gt(i, 5); /* faults were reached */
}

static void each_fault_of(const char *text)
{
    char path[512];
    sae_err err = {0};
    snprintf(path, sizeof path, "%s/tokenizer.json", test_dir());
    ck_assert_ok(sae_file_write(path, text, strlen(text), &err), err);
    snprintf(path, sizeof path, "%s/tokenizer_config.json", test_dir());
    ck_assert_ok(sae_file_write(path, "{\"bos_token\": \"a\"}", 18, &err), err);
    snprintf(path, sizeof path, "%s/tokenizer.json", test_dir());
    each_fault(path);
}

START_TEST(byte_level)
{
    each_fault_of(json);
}
END_TEST

START_TEST(unigram_model)
{
    each_fault_of(unigram);
}
END_TEST

START_TEST(llama2c)
{
    static const char *const text[] = {"<unk>", "<s>", "</s>", " ", "a", "b", "ab"};
    char path[512], file[256];
    int32_t longest = 8;
    size_t used = sizeof longest;
    memcpy(file, &longest, sizeof longest);
    for (size_t i = 0; i < sizeof text / sizeof text[0]; i++) {
        float score = -(float)i;
        int32_t len = (int32_t)strlen(text[i]);
        memcpy(file + used, &score, 4);
        memcpy(file + used + 4, &len, 4);
        memcpy(file + used + 8, text[i], (size_t)len);
        used += 8 + (size_t)len;
    }
    sae_err err = {0};
    snprintf(path, sizeof path, "%s/tokenizer.bin", test_dir());
    ck_assert_ok(sae_file_write(path, file, used, &err), err);
    each_fault(path);
}
END_TEST

Suite *suite_tokenizer(void);
Suite *suite_tokenizer(void)
{
    Suite *s = suite_create("tokenizer");
    TCase *c = tcase_create("tokenizer");
    tcase_set_timeout(c, 20);
    tcase_add_test(c, byte_level);
    tcase_add_test(c, unigram_model);
    tcase_add_test(c, llama2c);
    suite_add_tcase(s, c);
    return s;
}
