/* tests/models/token_text.c - text that arrives token by token. */
#include "tokenizer_util.h"

#include "core/memory.h"
#include "models/token_text.h"

/* Characters with single bytes for those that are missing, and bytes. */
static const char *const families[] = {"llama2", "gpt2"};
enum { FAMILIES = sizeof families / sizeof families[0], BYTE_0 = 3 /* llama2's <0x00> */ };

/* Add ids one by one; what each of them adds is valid by itself. */
static void put_all(sae_token_text *s, int64_t n, sae_text *out)
{
    sae_err err = {0};
    for (int64_t i = 0; i < n; i++) {
        size_t before = out->len;
        ck_assert_ok(sae_token_text_put(s, ids + i, 1, out, &err), err);
        if (out->len > before)
            ck_assert_ok(sae_utf8_check(out->p + before, out->len - before, &err), err);
    }
    sae_token_text_end(s, out);
}

static void check_text(sae_text *out, const char *want, size_t bytes)
{
    ck_assert_int_eq(out->failed, 0);
    ck_assert_msg(out->len == bytes && memcmp(out->p ? out->p : "", want, bytes) == 0,
                  "'%.*s', expected '%.*s'", (int)out->len, out->p ? out->p : "", (int)bytes, want);
    out->len = 0;
}

/* Characters of one to four bytes, most of them in several tokens. */
START_TEST(characters_stay_whole)
{
    static const char *const alphabet[] = {
        "a", " ", "the", "é", "漢", "😀", "\n", "𝔘", "ß", ".",
    };
    sae_tokenizer *t = open_family(families[_i]);
    sae_text out = {0};
    for (uint64_t seed = 0; seed < 100; seed++) {
        char text[1024];
        size_t bytes = random_text(text, seed, seed % 60, alphabet, 10);
        encode_bytes(t, text, bytes, _i == 0 && seed & 1);
        sae_token_text s = {.tok = t};
        put_all(&s, count, &out);
        check_text(&out, text, bytes);
        sae_token_text_close(&s);
    }
    sae_free(sae_text_take(&out));
    sae_tokenizer_close(&t);
}
END_TEST

/* Bytes one by one: how much of the result is there before the end is known, and the result. */
START_TEST(bytes_in_any_order)
{
    static const struct {
        const char *bytes;
        size_t before_end;
        const char *want;
    } cases[] = {
        {"\xC3\xA9", 2, "é"},
        {"\xF0\x9F\x98\x80!", 5, "😀!"},
        {"\xFF", 3, "\uFFFD"},
        {"a\x80z", 5, "a\uFFFDz"},
        {"\xC0\x80", 6, "\uFFFD\uFFFD"},
        {"\xE2\x82z", 7, "\uFFFD\uFFFDz"},
        {"\xE2\x82", 0, "\uFFFD\uFFFD"},
        {"a\xF0", 1, "a\uFFFD"},
        {"\xED\xA0\x80", 9, "\uFFFD\uFFFD\uFFFD"},
        {"\xE2\xC3\xA9", 5, "\uFFFDé"},
        {"\xF4\x90\x80\x80", 12, "\uFFFD\uFFFD\uFFFD\uFFFD"},
    };
    sae_tokenizer *t = open_family("llama2");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *b = cases[i].bytes;
        sae_err err = {0};
        sae_text out = {0};
        sae_token_text s = {.tok = t};
        for (size_t k = 0; b[k]; k++) {
            int32_t id = BYTE_0 + (unsigned char)b[k];
            ck_assert_ok(sae_token_text_put(&s, &id, 1, &out, &err), err);
        }
        ck_assert_msg(out.len == cases[i].before_end, "case %zu: %zu bytes", i, out.len);
        sae_token_text_end(&s, &out);
        check_text(&out, cases[i].want, strlen(cases[i].want));
        sae_token_text_close(&s);
        sae_free(sae_text_take(&out));
    }
    sae_tokenizer_close(&t);
}
END_TEST

/* The space that encoding put in front of the prompt goes once, not in front of what follows. */
START_TEST(behind_a_prompt)
{
    sae_err err = {0};
    sae_tokenizer *t = open_family("llama2");
    sae_text out = {0};
    encode_bytes(t, "the cat", 7, 1);
    sae_token_text s = {.tok = t};
    ck_assert_ok(sae_token_text_put(&s, ids, count, &out, &err), err);
    check_text(&out, "the cat", 7);
    ck_assert_ok(sae_token_text_put(&s, NULL, 0, &out, &err), err);
    check_text(&out, "", 0);
    encode_bytes(t, "the", 3, 0);
    ck_assert_ok(sae_token_text_put(&s, ids, count, &out, &err), err);
    check_text(&out, " the", 4);
    int32_t bad = -1;
    ck_assert_int_eq(sae_token_text_put(&s, &bad, 1, &out, &err), SAE_EINVAL);
    sae_token_text_close(&s);
    sae_free(sae_text_take(&out));
    sae_tokenizer_close(&t);
}
END_TEST

Suite *suite_token_text(void)
{
    Suite *s = suite_create("token_text");
    TCase *t = tcase_create("token_text");
    tcase_add_loop_test(t, characters_stay_whole, 0, FAMILIES);
    tcase_add_test(t, bytes_in_any_order);
    tcase_add_test(t, behind_a_prompt);
    suite_add_tcase(s, t);
    return s;
}
