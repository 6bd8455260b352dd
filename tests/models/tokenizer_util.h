/* tests/models/tokenizer_util.h - what the tests of tokenizers share. */
#ifndef SAE_TESTS_TOKENIZER_UTIL_H
#define SAE_TESTS_TOKENIZER_UTIL_H

#include "core/file.h"
#include "models/tokenizer.h"
#include "support/support.h"

#include <jansson.h>
#include <sae/rng.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TOKENIZERS "tests/golden/data/tokenizers"

enum { MAX_IDS = 400000 };

static int32_t ids[MAX_IDS]; /* of the last encoding */
static int64_t count;

static inline sae_tokenizer *open_tokenizer(const char *path, int64_t vocab)
{
    sae_tokenizer *t;
    sae_err err = {0};
    ck_assert_ok(sae_tokenizer_open(&t, path, vocab, &err), err);
    return t;
}

static inline sae_tokenizer *open_family(const char *name)
{
    char path[256];
    snprintf(path, sizeof path, TOKENIZERS "/%s.json", name);
    return open_tokenizer(path, 0);
}

static inline void encode_bytes(const sae_tokenizer *t, const char *text, size_t bytes, int add_bos)
{
    sae_err err = {0};
    ck_assert_ok(sae_tokenizer_encode(t, text, bytes, add_bos, ids, MAX_IDS, &count, &err), err);
}

static inline void encode(const sae_tokenizer *t, const char *text)
{
    encode_bytes(t, text, strlen(text), 0);
}

static inline void check_ids(const json_t *want, const char *text)
{
    ck_assert_msg((size_t)count == json_array_size(want), "'%s': %lld ids, expected %zu", text,
                  (long long)count, json_array_size(want));
    for (int64_t i = 0; i < count; i++)
        ck_assert_msg(ids[i] == json_integer_value(json_array_get(want, (size_t)i)),
                      "'%s': id %lld is %d, expected %d", text, (long long)i, (int)ids[i],
                      (int)json_integer_value(json_array_get(want, (size_t)i)));
}

static inline void check_decodes(const sae_tokenizer *t, const char *text, size_t bytes)
{
    sae_err err = {0};
    size_t got, room = 2 * bytes + 4096;
    char *back = malloc(room);
    ck_assert_ok(sae_tokenizer_decode(t, ids, count, back, room, &got, &err), err);
    ck_assert_msg(got == bytes && memcmp(back, text, bytes) == 0,
                  "decoded %zu bytes '%.*s', expected %zu '%.*s'", got, (int)got, back, bytes,
                  (int)bytes, text);
    free(back);
}

/* Random text over an alphabet of strings. */
static inline size_t random_text(char *out, uint64_t seed, size_t chars,
                                 const char *const *alphabet, uint32_t letters)
{
    size_t used = 0;
    for (size_t i = 0; i < chars; i++) {
        uint32_t draw = sae_philox(7, SAE_STREAM_SYNTHETIC, seed * 4096 + i, 0).v[0];
        const char *c = alphabet[draw % letters];
        memcpy(out + used, c, strlen(c));
        used += strlen(c);
    }
    return used;
}

/* A random text of up to 96 letters is what its ids stand for. */
static inline void comes_back(const sae_tokenizer *t, uint64_t seed, const char *const *alphabet,
                              uint32_t letters, int add_bos)
{
    char text[4096];
    size_t bytes = random_text(text, seed, seed % 97, alphabet, letters);
    encode_bytes(t, text, bytes, add_bos);
    check_decodes(t, text, bytes);
}

static inline const char *save(const char *name, const void *data, size_t bytes)
{
    static char path[512];
    sae_err err = {0};
    snprintf(path, sizeof path, "%s/%s", test_dir(), name);
    ck_assert_ok(sae_file_write(path, data, bytes, &err), err);
    return path;
}

static inline void refuses(const char *path, int64_t vocab, const char *what)
{
    sae_tokenizer *t;
    sae_err err = {0};
    int rc = sae_tokenizer_open(&t, path, vocab, &err);
    ck_assert_msg(rc == SAE_EFORMAT, "expected a refusal because of '%s', status %d", what, rc);
    ck_assert_ptr_null(t);
    ck_assert_msg(strstr(err.msg, what) && strstr(err.msg, path), "'%s' lacks '%s'", err.msg, what);
}

#endif
