/* tests/models/tokenizer.c - golden ids of published tokenizers, merge order, round trips, bad
 * text.
 */
#include "tokenizer_util.h"

#include <math.h>

/* ---- golden ids ------------------------------------------------------------------------------ */

static void check_llama2c(const char *folder, const char *file, int64_t vocab)
{
    char name[64];
    snprintf(name, sizeof name, "%s/golden.json", folder);
    const char *golden = test_data(name);
    snprintf(name, sizeof name, "%s/%s", folder, file);
    const char *path = test_data(name);
    if (!golden || !path)
        return;
    json_t *g = json_load_file(golden, 0, NULL);
    const char *prompt = json_string_value(json_object_get(g, "prompt"));
    sae_tokenizer *t = open_tokenizer(path, vocab);
    ck_assert_int_eq(sae_tokenizer_vocab(t), vocab);
    ck_assert_int_eq(sae_tokenizer_bos(t), 1);
    ck_assert_int_eq(sae_tokenizer_eos(t), 2);
    encode_bytes(t, prompt, strlen(prompt), 1);
    check_ids(json_object_get(g, "token_ids"), prompt);
    check_decodes(t, prompt, strlen(prompt));
    sae_tokenizer_close(&t);
    ck_assert_ptr_null(t);
    json_decref(g);
}

START_TEST(golden_stories260k)
{
    check_llama2c("stories260k", "tok512.bin", 512);
}
END_TEST

START_TEST(golden_babyllama105)
{
    check_llama2c("babyllama105", "tok105.bin", 105);
}
END_TEST

static void check_cases(const char *file, const char *golden_file)
{
    const char *path = test_data(file), *golden = test_data(golden_file);
    if (!path || !golden)
        return;
    json_t *g = json_load_file(golden, 0, NULL), *one;
    size_t i;
    sae_tokenizer *t = open_tokenizer(path, 0);
    ck_assert_uint_gt(json_array_size(json_object_get(g, "cases")), 0);
    json_array_foreach(json_object_get(g, "cases"), i, one)
    {
        const char *text = json_string_value(json_object_get(one, "text"));
        encode(t, text);
        check_ids(json_object_get(one, "ids"), text);
        check_decodes(t, text, strlen(text));
    }
    sae_tokenizer_close(&t);
    json_decref(g);
}

START_TEST(golden_gpt2)
{
    check_cases("gpt2-tokenizer/encoder.json", "gpt2-tokenizer/golden.json");
}
END_TEST

START_TEST(golden_neox)
{
    check_cases("neox-tokenizer/20B_tokenizer.json", "neox-tokenizer/golden.json");
}
END_TEST

/* nanoGPT's counts for the first 90 % and the last 10 % of the characters. */
START_TEST(golden_tinyshakespeare)
{
    const char *path = test_data("gpt2-tokenizer/encoder.json");
    const char *text = test_data("tinyshakespeare/input.txt");
    if (!path || !text)
        return;
    sae_err err = {0};
    sae_map m;
    sae_tokenizer *t = open_tokenizer(path, 50257);
    ck_assert_ok(sae_map_open(&m, text, &err), err);
    size_t cut = m.bytes * 9 / 10;
    encode_bytes(t, (const char *)m.p, cut, 0);
    ck_assert_int_eq(count, 301966);
    check_decodes(t, (const char *)m.p, cut);
    encode_bytes(t, (const char *)m.p + cut, m.bytes - cut, 0);
    ck_assert_int_eq(count, 36059);
    sae_map_close(&m);
    sae_tokenizer_close(&t);
}
END_TEST

START_TEST(special_and_added_tokens)
{
    const char *path = test_data("neox-tokenizer/20B_tokenizer.json");
    const char *gpt2 = test_data("gpt2-tokenizer/encoder.json");
    if (!path || !gpt2)
        return;
    sae_tokenizer *t = open_tokenizer(path, 50304);
    ck_assert_int_eq(sae_tokenizer_vocab(t), 50277);
    ck_assert_int_eq(sae_tokenizer_bos(t), 0);
    encode_bytes(t, "a   b<|endoftext|>", 18, 1);
    int32_t want[] = {0, 66, 50275, 67, 0}; /* BOS a 3-spaces b end */
    ck_assert_int_eq(count, 5);
    ck_assert_mem_eq(ids, want, sizeof want);
    encode(t, "cafe\xCC\x81"); /* NFC: e and U+0301 become one character */
    int32_t decomposed[8];
    int64_t n = count;
    memcpy(decomposed, ids, sizeof decomposed);
    encode(t, "caf\xC3\xA9");
    ck_assert_int_eq(count, n);
    ck_assert_mem_eq(ids, decomposed, (size_t)n * sizeof *ids);
    sae_tokenizer_close(&t);
    t = open_tokenizer(gpt2, 0);
    encode(t, "<|endoftext|>");
    ck_assert_int_eq(count, 1);
    ck_assert_int_eq(ids[0], 50256);
    ck_assert_int_eq(sae_tokenizer_bos(t), 50256);
    /* U+180E is no white space: it takes the space in front along, so no lone space (220) */
    encode(t, "x \xE1\xA0\x8Ey");
    for (int64_t i = 0; i < count; i++)
        ck_assert_int_ne(ids[i], 220);
    sae_tokenizer_close(&t);
}
END_TEST

/* ---- properties ------------------------------------------------------------------------------ */

START_TEST(round_trips)
{
    static const char *const letters[] = {"a",
                                          "e",
                                          "t",
                                          "Z",
                                          "'s",
                                          "0",
                                          " ",
                                          "  ",
                                          "\n",
                                          "\t",
                                          ".",
                                          "\xC3\xA9",
                                          "\xE2\x80\x94",
                                          "\xE6\xBC\xA2",
                                          "\xF0\x9F\x98\x80",
                                          "\xC2\xA0",
                                          "\xE3\x80\x80",
                                          "<|endoftext|>",
                                          "\x01"};
    static const char *const files[] = {"stories260k/tok512.bin", "gpt2-tokenizer/encoder.json",
                                        "neox-tokenizer/20B_tokenizer.json"};
    for (size_t f = 0; f < 3; f++) {
        const char *path = test_data(files[f]);
        if (!path)
            continue;
        sae_tokenizer *t = open_tokenizer(path, 0);
        for (uint64_t seed = 0; seed < 200; seed++)
            comes_back(t, seed, letters, sizeof letters / sizeof letters[0], f == 0);
        sae_tokenizer_close(&t);
    }
}
END_TEST

typedef struct entry {
    float score;
    const char *text;
} entry;

static const entry ties[] = {{0, "<unk>"}, {0, "<s>"},    {0, "</s>"}, {0, " "},   {0, "a"},
                             {0, "b"},     {0, "c"},      {-1, "ab"},  {-1, "bc"}, {-2, "aa"},
                             {-2, " a"},   {-3, "abc"},   {-1, "ca"},  {-2, "bb"}, {-3, "aab"},
                             {-1, "aaaa"}, {-4, "abcab"}, {-2, "cc"},  {-1, "ccc"}};
enum { TIES = sizeof ties / sizeof ties[0] };

static size_t write_llama2c(char *out, const entry *e, int n, int32_t longest)
{
    size_t used = sizeof longest;
    memcpy(out, &longest, sizeof longest);
    for (int i = 0; i < n; i++) {
        int32_t len = (int32_t)strlen(e[i].text);
        memcpy(out + used, &e[i].score, 4);
        memcpy(out + used + 4, &len, 4);
        memcpy(out + used + 8, e[i].text, (size_t)len);
        used += 8 + (size_t)len;
    }
    return used;
}

static int find_entry(const char *a, const char *b)
{
    char both[64];
    snprintf(both, sizeof both, "%s%s", a, b);
    for (int i = 3; i < TIES; i++)
        if (strcmp(ties[i].text, both) == 0)
            return i;
    return -1;
}

/* The definition, word for word and in quadratic time. */
static int64_t merge_slowly(int32_t *sym, int64_t n)
{
    for (;;) {
        int64_t best = -1;
        float score = -INFINITY;
        for (int64_t i = 0; i + 1 < n; i++) {
            int id = find_entry(ties[sym[i]].text, ties[sym[i + 1]].text);
            if (id >= 0 && ties[id].score > score) {
                score = ties[id].score;
                best = i;
            }
        }
        if (best < 0)
            return n;
        sym[best] = find_entry(ties[sym[best]].text, ties[sym[best + 1]].text);
        memmove(sym + best + 1, sym + best + 2, (size_t)(n - best - 2) * sizeof *sym);
        n--;
    }
}

START_TEST(merge_order)
{
    static const char *const letters[] = {"a", "b", "c", " "};
    char file[1024], text[64];
    sae_tokenizer *t =
        open_tokenizer(save("ties.bin", file, write_llama2c(file, ties, TIES, 8)), TIES);
    for (uint64_t seed = 0; seed < 2000; seed++) {
        size_t bytes = random_text(text, seed, 1 + seed % 40, letters, 4);
        int32_t want[64] = {3};
        for (size_t i = 0; i < bytes; i++)
            want[i + 1] = text[i] == ' ' ? 3 : text[i] - 'a' + 4;
        int64_t n = merge_slowly(want, (int64_t)bytes + 1);
        encode_bytes(t, text, bytes, 0);
        ck_assert_int_eq(count, n);
        ck_assert_mem_eq(ids, want, (size_t)n * sizeof *want);
    }
    sae_tokenizer_close(&t);
}
END_TEST

/* A quadratic merge of this text takes minutes, the test times out after seconds. */
START_TEST(long_text)
{
    enum { N = 1 << 20 };
    char file[1024], *text = malloc(N);
    sae_tokenizer *t =
        open_tokenizer(save("long.bin", file, write_llama2c(file, ties, TIES, 8)), TIES);
    memset(text, 'a', N);
    text[N - 1] = 'c';
    encode_bytes(t, text, N, 0);
    ck_assert_int_gt(count, N / 8);
    sae_tokenizer_close(&t);
    free(text);
}
END_TEST

START_TEST(unknown_characters)
{
    char file[1024];
    sae_tokenizer *t = open_tokenizer(save("unk.bin", file, write_llama2c(file, ties, TIES, 8)), 0);
    encode_bytes(t, "a\xC3\xA9", 3, 1);
    int32_t want[] = {1, 10, 0}; /* BOS " a" unknown */
    ck_assert_int_eq(count, 3);
    ck_assert_mem_eq(ids, want, sizeof want);
    encode_bytes(t, "", 0, 1); /* no text, no space in front */
    ck_assert_int_eq(count, 1);
    sae_tokenizer_close(&t);
    const char *path = test_data("stories260k/tok512.bin");
    if (!path)
        return;
    t = open_tokenizer(path, 512);
    encode_bytes(t, "\n\xE6\xBC\xA2", 4, 0);
    int32_t bytes[] = {13, 0xE6 + 3, 0xBC + 3, 0xA2 + 3};
    ck_assert_int_eq(count, 5);
    ck_assert_mem_eq(ids + 1, bytes, sizeof bytes);
    size_t len;
    ck_assert_mem_eq(sae_tokenizer_piece(t, 0xE6 + 3, &len), "\xE6", 1);
    ck_assert_uint_eq(len, 1);
    sae_tokenizer_close(&t);
}
END_TEST

/* ---- errors ---------------------------------------------------------------------------------- */

START_TEST(invalid_utf8)
{
    static const struct {
        const char *text;
        size_t bytes, at;
    } bad[] = {{"ab\xFF", 3, 2},       {"\xC0\x80", 2, 0},         {"a\xED\xA0\x80", 4, 1},
               {"abc\xE6\xBC", 5, 3},  {"\xF4\x90\x80\x80", 4, 0}, {"\x80", 1, 0},
               {"\xC3\xA9\xC3(", 4, 2}};
    char file[1024], where[32];
    sae_tokenizer *t =
        open_tokenizer(save("utf8.bin", file, write_llama2c(file, ties, TIES, 8)), 0);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        sae_err err = {0};
        int rc = sae_tokenizer_encode(t, bad[i].text, bad[i].bytes, 1, ids, MAX_IDS, &count, &err);
        ck_assert_int_eq(rc, SAE_EFORMAT);
        snprintf(where, sizeof where, "at byte %zu ", bad[i].at);
        ck_assert_msg(strstr(err.msg, where) != NULL, "case %zu: %s", i, err.msg);
    }
    sae_tokenizer_close(&t);
}
END_TEST

START_TEST(capacity)
{
    char file[1024], text[8];
    int32_t few[2] = {-7, -7};
    size_t bytes;
    sae_err err = {0};
    sae_tokenizer *t = open_tokenizer(save("cap.bin", file, write_llama2c(file, ties, TIES, 8)), 0);
    ck_assert_int_eq(sae_tokenizer_encode(t, "bcc", 3, 1, few, 1, &count, &err), SAE_ECAPACITY);
    encode_bytes(t, "bcc", 3, 1);
    ck_assert_int_gt(count, 2);
    ck_assert_int_eq(few[0], 1);
    ck_assert_int_eq(few[1], -7);
    err = (sae_err){0};
    ck_assert_int_eq(sae_tokenizer_decode(t, ids, count, text, 2, &bytes, &err), SAE_ECAPACITY);
    ck_assert_uint_eq(bytes, 3);
    ck_assert_mem_eq(text, "bc", 2);
    int32_t outside[] = {TIES};
    err = (sae_err){0};
    ck_assert_int_eq(sae_tokenizer_decode(t, outside, 1, text, 8, &bytes, &err), SAE_EINVAL);
    sae_tokenizer_close(&t);
}
END_TEST

START_TEST(malformed_llama2c)
{
    char file[1024];
    size_t bytes = write_llama2c(file, ties, TIES, 8);
    refuses(save("vocab.bin", file, bytes), TIES - 1, "vocabulary only 18");
    refuses(save("cut.bin", file, bytes - 1), 0, "past the end");
    refuses(save("header.bin", file, bytes - 4), 0, "ends inside its header");
    refuses(save("none.bin", file, 3), 0, "too few");
    refuses(save("short.bin", file, write_llama2c(file, ties, 2, 8)), 0, "found 2");
    refuses(save("longest.bin", file, write_llama2c(file, ties, TIES, 4)), 0, "token 0: length");
    write_llama2c(file, ties, TIES, 8);
    float nan_score = NAN;
    memcpy(file + 4, &nan_score, 4);
    refuses(save("nan.bin", file, bytes), 0, "score is NaN");
}
END_TEST

Suite *suite_tokenizer(void)
{
    Suite *s = suite_create("tokenizer");
    TCase *golden = tcase_create("golden"), *rules = tcase_create("rules");
    tcase_set_timeout(golden, 20);
    tcase_add_test(golden, golden_stories260k);
    tcase_add_test(golden, golden_babyllama105);
    tcase_add_test(golden, golden_gpt2);
    tcase_add_test(golden, golden_neox);
    tcase_add_test(golden, golden_tinyshakespeare);
    tcase_add_test(golden, special_and_added_tokens);
    tcase_set_timeout(rules, 20);
    tcase_add_test(rules, round_trips);
    tcase_add_test(rules, merge_order);
    tcase_add_test(rules, long_text);
    tcase_add_test(rules, unknown_characters);
    tcase_add_test(rules, invalid_utf8);
    tcase_add_test(rules, capacity);
    tcase_add_test(rules, malformed_llama2c);
    suite_add_tcase(s, golden);
    suite_add_tcase(s, rules);
    return s;
}
