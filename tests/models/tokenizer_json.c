/* tests/models/tokenizer_json.c - tokenizer.json: ids of the reference library for one tokenizer of
 * every family (scripts/golden/tokens.py), laws, single features, refusals. */
#include "tokenizer_util.h"

#include <utf8proc.h>

#define META "\xE2\x96\x81"

/* ---- the reference library ------------------------------------------------------------------- */

static void check_family(const char *name, const json_t *texts, const json_t *rows,
                         const json_t *decoded)
{
    sae_tokenizer *t = open_family(name);
    const json_t *text;
    size_t i;
    json_array_foreach(texts, i, text)
    {
        const char *back = json_string_value(json_array_get(decoded, i));
        encode(t, json_string_value(text));
        check_ids(json_array_get(rows, i), json_string_value(text));
        if (back)
            check_decodes(t, back, strlen(back));
    }
    sae_tokenizer_close(&t);
}

START_TEST(golden_families)
{
    const char *name;
    json_t *g = json_load_file(TOKENIZERS "/golden.json", 0, NULL), *rows;
    const json_t *texts = json_object_get(g, "texts"), *decoded = json_object_get(g, "decoded");
    ck_assert_uint_gt(json_array_size(texts), 40);
    ck_assert_uint_gt(json_object_size(json_object_get(g, "ids")), 10);
    json_object_foreach(json_object_get(g, "ids"), name, rows)
    {
        ck_assert_uint_eq(json_array_size(rows), json_array_size(texts));
        check_family(name, texts, rows, json_object_get(decoded, name));
    }
    json_decref(g);
}
END_TEST

/* ---- laws ------------------------------------------------------------------------------------ */

static const char *const letters[] = {"a",
                                      "e",
                                      "t",
                                      "Z",
                                      "'s",
                                      "0",
                                      "12",
                                      " ",
                                      "  ",
                                      "\n",
                                      "\r\n",
                                      "\t",
                                      ".",
                                      "\xC3\xA9",
                                      "e\xCC\x81",
                                      "\xE2\x80\x94",
                                      "\xE6\xBC\xA2",
                                      "\xF0\x9F\x98\x80",
                                      "\xC2\xA0",
                                      "\xE3\x80\x80",
                                      "<|endoftext|>",
                                      "</s>",
                                      "<s>",
                                      "\x01",
                                      "\xE2\x80\x8D",
                                      "the",
                                      " whale",
                                      "\xEF\xBC\xA1",
                                      "\xF4\x8F\xBF\xBF"};
enum { LETTERS = sizeof letters / sizeof letters[0] };

/* Without a space added in front, and without normalisation, nothing is lost. */
START_TEST(lossless)
{
    static const char *const names[] = {"gpt2", "llama3", "gemma"};
    for (size_t f = 0; f < 3; f++) {
        sae_tokenizer *t = open_family(names[f]);
        for (uint64_t seed = 0; seed < 400; seed++)
            comes_back(t, seed, letters, LETTERS, 0);
        sae_tokenizer_close(&t);
    }
}
END_TEST

/* With a space in front of the text, what is lost is that space, whether or not BOS is there;
 * behind a special token in the text every stretch gets a space, so there are none here. */
START_TEST(lossless_behind_a_prefix)
{
    sae_tokenizer *t = open_family("llama2");
    for (uint64_t seed = 0; seed < 800; seed++)
        comes_back(t, seed, letters, 20, (int)(seed & 1));
    sae_tokenizer_close(&t);
}
END_TEST

/* A normalised text comes back, and encoding it again gives the same ids. */
START_TEST(normal_form_comes_back)
{
    sae_tokenizer *t = open_family("qwen2");
    for (uint64_t seed = 0; seed < 400; seed++) {
        char text[4096];
        utf8proc_uint8_t *normal;
        size_t bytes = random_text(text, seed, seed % 97, letters, LETTERS);
        utf8proc_ssize_t got = utf8proc_map((const utf8proc_uint8_t *)text, (utf8proc_ssize_t)bytes,
                                            &normal, UTF8PROC_STABLE | UTF8PROC_COMPOSE);
        ck_assert_int_ge(got, 0);
        encode_bytes(t, text, bytes, 0);
        check_decodes(t, (const char *)normal, (size_t)got);
        int64_t n = count;
        int32_t before[4096];
        memcpy(before, ids, (size_t)n * sizeof *ids);
        encode_bytes(t, (const char *)normal, (size_t)got, 0);
        ck_assert_int_eq(count, n);
        ck_assert_mem_eq(ids, before, (size_t)n * sizeof *ids);
        free(normal);
    }
    sae_tokenizer_close(&t);
}
END_TEST

/* With a space in front of a text that has none, what comes back is the text without one space in
 * front, and without spaces in front it is a fixed point. */
START_TEST(lossless_but_for_a_space)
{
    sae_tokenizer *t = open_family("mistral");
    for (uint64_t seed = 0; seed < 400; seed++) {
        char text[4096];
        size_t bytes = random_text(text, seed, seed % 97, letters, 20);
        size_t space = bytes > 0 && *text == ' ';
        encode_bytes(t, text, bytes, 0);
        check_decodes(t, text + space, bytes - space);
    }
    sae_tokenizer_close(&t);
}
END_TEST

/* Texts on which a quadratic step takes minutes; the test times out after seconds. */
START_TEST(long_texts)
{
    static const char *const names[] = {"gpt2",    "llama3", "qwen2",   "mixed",       "llama2",
                                        "mistral", "gemma",  "unigram", "precompiled", "wordlevel"};
    static const char *const units[] = {"a",         " ", "\n", "<",       META,
                                        "e\xCC\x81", "1", "'",  "\xCC\x81"};
    enum { N = 1 << 18 };
    char *text = malloc(N + 4);
    int32_t *many = malloc(4 * N * sizeof *many);
    for (size_t f = 0; f < sizeof names / sizeof names[0]; f++) {
        sae_tokenizer *t = open_family(names[f]);
        for (size_t u = 0; u < sizeof units / sizeof units[0]; u++) {
            size_t len = strlen(units[u]), used = 0;
            for (; used + len <= N; used += len)
                memcpy(text + used, units[u], len);
            sae_err err = {0};
            ck_assert_ok(sae_tokenizer_encode(t, text, used, 0, many, 4 * N, &count, &err), err);
        }
        sae_tokenizer_close(&t);
    }
    free(many);
    free(text);
}
END_TEST

/* ---- single features ------------------------------------------------------------------------- */

static void check_encodes(const char *path, const char *text, const int32_t *want, int64_t n)
{
    sae_tokenizer *t = open_tokenizer(path, 0);
    encode(t, text);
    ck_assert_msg(count == n && memcmp(ids, want, (size_t)n * sizeof *ids) == 0,
                  "'%s': %lld ids, the first %d, expected %lld", text, (long long)count,
                  count ? (int)ids[0] : -1, (long long)n);
    sae_tokenizer_close(&t);
}
#define ENCODES(path, text, ...)                                                                   \
    check_encodes(path, text, (const int32_t[]){__VA_ARGS__},                                      \
                  sizeof(int32_t[]){__VA_ARGS__} / sizeof(int32_t))

/* tokenizer.json of three letters with one part replaced. */
static const char *small_json(const char *added, const char *normalizer, const char *pre,
                              const char *post, const char *model)
{
    char text[2048];
    snprintf(text, sizeof text,
             "{\"added_tokens\": [%s], \"normalizer\": %s, \"pre_tokenizer\": %s, "
             "\"post_processor\": %s, \"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0, "
             "\"b\": 1, \"ab\": 2, \"\\u0120\": 3, \"<s>\": 4}, \"merges\": [\"a b\"]%s}}",
             added ? added : "", normalizer ? normalizer : "null",
             pre ? pre : "{\"type\": \"ByteLevel\", \"add_prefix_space\": false}",
             post ? post : "null", model ? model : "");
    return save("small.json", text, strlen(text));
}

START_TEST(byte_level_features)
{
    ENCODES(small_json(NULL, NULL, NULL, NULL, NULL), "abba ab", 2, 1, 0, 3, 2);
    sae_tokenizer *t = open_tokenizer(
        small_json(NULL, NULL, "{\"type\": \"ByteLevel\", \"add_prefix_space\": true}",
                   "{\"type\": \"TemplateProcessing\", \"single\": [{\"SpecialToken\": {\"id\": "
                   "\"<s>\", \"type_id\": 0}}, {\"Sequence\": {\"id\": \"A\", \"type_id\": 0}}]}",
                   NULL),
        0);
    encode_bytes(t, "ab", 2, 1);
    int32_t prefixed[] = {4, 3, 2};
    ck_assert_int_eq(count, 3);
    ck_assert_mem_eq(ids, prefixed, sizeof prefixed);
    sae_tokenizer_close(&t);
    const char *cut = "{\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": \"Split\", "
                      "\"pattern\": {\"String\": \"ba\"}, \"behavior\": \"%s\", \"invert\": %s}, "
                      "{\"type\": \"ByteLevel\", \"use_regex\": false}]}";
    static const struct {
        const char *behavior, *invert;
        int32_t n, id[4];
    } ways[] = {{"Isolated", "false", 4, {0, 1, 0, 1}},
                {"Removed", "false", 2, {0, 1}},
                {"Removed", "true", 2, {1, 0}},
                {"MergedWithPrevious", "false", 3, {2, 0, 1}},
                {"MergedWithNext", "false", 3, {0, 1, 2}},
                {"Contiguous", "false", 4, {0, 1, 0, 1}}};
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        char pre[512];
        snprintf(pre, sizeof pre, cut, ways[i].behavior, ways[i].invert);
        check_encodes(small_json(NULL, NULL, pre, NULL, NULL), "abab", ways[i].id, ways[i].n);
    }
}
END_TEST

/* Part of a file; what is not given is null or empty. */
static const char *file_of(const char *added, const char *normalizer, const char *pre,
                           const char *decoder, const char *model)
{
    char text[4096];
    snprintf(text, sizeof text,
             "{\"added_tokens\": [%s], \"normalizer\": %s, \"pre_tokenizer\": %s, "
             "\"decoder\": %s, \"model\": {%s}}",
             added ? added : "", normalizer ? normalizer : "null", pre ? pre : "null",
             decoder ? decoder : "null", model);
    return save("part.json", text, strlen(text));
}

#define UNIGRAM                                                                                    \
    "\"type\": \"Unigram\", \"unk_id\": 0, \"vocab\": [[\"?\", 0], [\"a\", -1], [\"b\", -1], "     \
    "[\"ab\", -1.5], [\"ba\", -1.5], [\"abb\", -5]]"

START_TEST(unigram_paths)
{
    const char *path = file_of(NULL, NULL, NULL, NULL, UNIGRAM);
    ENCODES(path, "ab", 3);
    ENCODES(path, "abb", 3, 2);  /* -2.5 beats -5 and a + bb */
    ENCODES(path, "aba", 1, 4);  /* ab a and a ba both cost -2.5: the longer last token */
    ENCODES(path, "xyab", 0, 3); /* unknown characters are one token */
    ENCODES(path, "xaxy", 0, 1, 0);
    ENCODES(path, "?x", 0); /* even with one that is written out */
}
END_TEST

#define WORDS                                                                                      \
    "\"type\": \"WordLevel\", \"unk_token\": \"?\", \"vocab\": {\"?\": 0, \"a\": 1, \"b\": 2}"

START_TEST(added_token_flags)
{
    static const char space[] = "{\"type\": \"WhitespaceSplit\"}";
    const char *plain = "{\"id\": 9, \"content\": \"xy\"}";
    ENCODES(file_of(plain, NULL, space, NULL, WORDS), "axy b", 1, 9, 2);
    const char *single = "{\"id\": 9, \"content\": \"xy\", \"single_word\": true}";
    ENCODES(file_of(single, NULL, space, NULL, WORDS), "axy xy. xy_ \xC3\xA9xy b", 0, 9, 0, 0, 0,
            2);
    /* the word is whatever stands between spaces: with the spaces taken along nothing is left */
    const char *both = "{\"id\": 9, \"content\": \"xy\", \"lstrip\": true, \"rstrip\": true}, "
                       "{\"id\": 8, \"content\": \" \"}";
    ENCODES(file_of(both, NULL, NULL, NULL, WORDS), "a \xC2\xA0xy\t\nb", 1, 8, 9, 2);
    const char *normal = "{\"id\": 9, \"content\": \"XY\", \"normalized\": true}";
    ENCODES(file_of(normal, "{\"type\": \"Lowercase\"}", space, NULL, WORDS), "a xYb", 1, 9, 2);
    const char *longest = "{\"id\": 9, \"content\": \"xy\"}, {\"id\": 8, \"content\": \"xyz\"}";
    ENCODES(file_of(longest, NULL, space, NULL, WORDS), "xyxyz xy", 9, 8, 9);
    refuses(file_of("{\"id\": 9, \"content\": \" \", \"normalized\": true}",
                    "{\"type\": \"Strip\", "
                    "\"strip_left\": true}",
                    NULL, NULL, WORDS),
            0, "leaves nothing");
    refuses(file_of("{\"id\": 9, \"content\": \"a\"}", NULL, NULL, NULL, WORDS), 0, "is 9 here");
}
END_TEST

START_TEST(patterns)
{
    static const struct {
        const char *regex, *text;
        int32_t n; /* words, each of them unknown */
    } cases[] = {
        {"\\\\s+", "x \xC2\xA0y", 3},
        {"\\\\s+", "x\xE1\xA0\x8Ey", 1}, /* U+180E is no space */
        {"\\\\w", "x\xCC\x81-", 3},
        {"[\\\\w-]+", "x\xCC\x81-y.", 2},
        {"\\\\h\\\\h", "fg0AzF", 3},
        {"(?=x)", "xaxb", 2},
        {"^b", "b\nb", 3},
        {"[[:upper:]]", "aBc", 3},
    };
    static const char split[] =
        "{\"type\": \"Split\", \"pattern\": {\"Regex\": \"%s\"}, \"behavior\": \"Isolated\"}";
    char pre[256];
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        snprintf(pre, sizeof pre, split, cases[i].regex);
        sae_tokenizer *t = open_tokenizer(file_of(NULL, NULL, pre, NULL,
                                                  "\"type\": \"WordLevel\", \"unk_token\": \"?\", "
                                                  "\"vocab\": {\"?\": 0}"),
                                          0);
        encode(t, cases[i].text);
        ck_assert_msg(count == cases[i].n, "%s cuts '%s' into %lld words, expected %d",
                      cases[i].regex, cases[i].text, (long long)count, (int)cases[i].n);
        sae_tokenizer_close(&t);
    }
    static const char *const bad[] = {"\\\\bx", "[\\\\W]", "[a[b]]", "[a&&b]", "["};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        snprintf(pre, sizeof pre, split, bad[i]);
        refuses(file_of(NULL, NULL, pre, NULL, WORDS), 0, "pre_tokenizer: pattern");
    }
}
END_TEST

/* The order of the sources of BOS and EOS; the file in memory says the same as the one on disk. */
START_TEST(ends_of_texts)
{
    static const char words[] =
        "\"model\": {\"type\": \"WordLevel\", \"unk_token\": \"?\", "
        "\"vocab\": {\"?\": 0, \"<s>\": 1, \"</s>\": 2, \"B\": 3, \"E\": 4}}";
    static const char templated[] =
        "\"post_processor\": {\"type\": \"TemplateProcessing\", \"single\": [{\"SpecialToken\": "
        "{\"id\": \"start\"}}, {\"Sequence\": {\"id\": \"A\"}}, {\"SpecialToken\": {\"id\": "
        "\"E\"}}], "
        "\"special_tokens\": {\"start\": {\"ids\": [3]}}}, ";
    static const struct {
        const char *processor, *config;
        int32_t bos, eos;
    } cases[] = {
        {"", NULL, 1, 2},
        {templated, NULL, 3, 4},
        {"", "{\"bos_token\": \"E\", \"eos_token\": {\"content\": \"B\"}}", 4, 3},
        {"", "{\"bos_token\": null}", -1, 2},
        {templated, "{\"bos_token\": \"E\", \"eos_token\": null}", 3, 4},
        {"\"post_processor\": {\"type\": \"RobertaProcessing\", \"cls\": [\"B\", 3], \"sep\": "
         "[\"E\", 4]}, ",
         NULL, 3, 4},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[1024];
        int n = snprintf(text, sizeof text, "{%s%s}", cases[i].processor, words);
        sae_token_file f = {.name = "memory",
                            .data = text,
                            .bytes = (size_t)n,
                            .config = cases[i].config,
                            .config_bytes = cases[i].config ? strlen(cases[i].config) : 0};
        sae_tokenizer *t;
        sae_err err = {0};
        ck_assert_ok(sae_tokenizer_parse(&t, &f, 5, &err), err);
        ck_assert_int_eq(sae_tokenizer_bos(t), cases[i].bos);
        ck_assert_int_eq(sae_tokenizer_eos(t), cases[i].eos);
        encode_bytes(t, "B", 1, 1);
        ck_assert_int_eq(count, 1 + (cases[i].bos >= 0));
        sae_tokenizer_close(&t);
        if (cases[i].config)
            save("tokenizer_config.json", cases[i].config, strlen(cases[i].config));
        t = open_tokenizer(save("ends.json", text, (size_t)n), 5);
        if (cases[i].config || i < 2)
            ck_assert_int_eq(sae_tokenizer_bos(t), cases[i].bos);
        sae_tokenizer_close(&t);
    }
    static const char wrong[] = "{\"bos_token\": \"nowhere\"}";
    char text[512];
    int n = snprintf(text, sizeof text, "{%s}", words);
    refuses(save("ends.json", text, (size_t)n), 4, "vocabulary only 4");
    save("tokenizer_config.json", wrong, strlen(wrong));
    refuses(save("ends.json", text, (size_t)n), 0, "bos_token: 'nowhere' is not in the vocabulary");
    save("tokenizer_config.json", "{", 1);
    refuses(save("ends.json", text, (size_t)n), 0, "tokenizer_config.json: line");
}
END_TEST

/* ---- refusals -------------------------------------------------------------------------------- */

#define BPE(vocab, merges) "\"type\": \"BPE\", \"vocab\": {" vocab "}, \"merges\": [" merges "]"

START_TEST(vocabulary_refusals)
{
    static const char *const cases[][2] = {
        {BPE("\"a\": 0, \"a\": 1", ""), "duplicate"},
        {BPE("\"a\": 0, \"b\": 0", ""), "used twice"},
        {BPE("\"a\": 0, \"b\": 1", "\"a b\""),
         "merges[0]: 'a' 'b': the result is not in the vocabulary"},
        {BPE("\"a\": 0", "[\"a\", \"b\"]"), "the right part is not"},
        {BPE("\"a\": 0", "\"ab\""), "expected two tokens"},
        {BPE("\"a\": 0", "7"), "model.merges[0]"},
        {"\"type\": \"WordPiece\", \"vocab\": {\"a\": 0}", "model.type"},
        {"\"vocab\": {}", "at least one token"},
        {"\"type\": \"Unigram\", \"unk_id\": 6, \"vocab\": [[\"a\", 0]]", "model.unk_id"},
        {"\"type\": \"Unigram\", \"vocab\": [[\"a\", 0], [\"b\"]]", "model.vocab[1]"},
        {"\"type\": \"Unigram\", \"vocab\": [[\"a\", 0], [\"b\", 0], [\"a\", 0]]",
         "'a' is there twice, as 0 and as 2"},
        {"\"type\": \"Unigram\", \"vocab\": {\"a\": 0}", "expected a list"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        refuses(file_of(NULL, NULL, NULL, NULL, cases[i][0]), 0, cases[i][1]);
}
END_TEST

START_TEST(step_refusals)
{
    static const struct {
        const char *normalizer, *pre, *decoder, *what;
    } cases[] = {
        {"{\"type\": \"Precompiled\", \"precompiled_charsmap\": \"AAAA\"}", NULL, NULL,
         "precompiled_charsmap"},
        {"{\"type\": \"Replace\", \"content\": \"x\"}", NULL, NULL, "normalizer.pattern"},
        {"{\"type\": \"Replace\", \"pattern\": {\"String\": \"\"}, \"content\": \"x\"}", NULL, NULL,
         "pattern is empty"},
        {"{\"type\": \"Prepend\"}", NULL, NULL, "normalizer.prepend"},
        {NULL, "{\"type\": \"Metaspace\"}", NULL, "replacement"},
        {NULL,
         "{\"type\": \"Metaspace\", \"replacement\": \"_\", \"prepend_scheme\": \"last\"}",
         NULL, "prepend_scheme"},
        {NULL,
         "{\"type\": \"Metaspace\", \"replacement\": \"_\", \"add_prefix_space\": false, "
         "\"prepend_scheme\": \"first\"}",
         NULL, "contradicts"},
        {NULL, "{\"type\": \"Punctuation\", \"behavior\": \"Odd\"}", NULL,
         "pre_tokenizer.behavior"},
        {NULL, NULL, "{\"type\": \"CTC\"}", "decoder.type"},
        {NULL, NULL, "{\"type\": \"Strip\", \"content\": \" \", \"start\": 1, \"stop\": 0}",
         "behind Fuse"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        refuses(file_of(NULL, cases[i].normalizer, cases[i].pre, cases[i].decoder, WORDS), 0,
                cases[i].what);
}
END_TEST

START_TEST(byte_level_refusals)
{
    refuses(save("broken.json", "{\"model\": ", 10), 0, "line 1");
    refuses(save("table.json", "{\"a\": 0}", 8), 0, "vocab.bpe");
    refuses(small_json(NULL, "{\"type\": \"BertNormalizer\"}", NULL, NULL, NULL), 0,
            "normalizer.type");
    refuses(small_json(NULL, NULL, "{\"type\": \"UnicodeScripts\"}", NULL, NULL), 0,
            "pre_tokenizer.type");
    refuses(small_json(NULL, NULL,
                       "{\"type\": \"Split\", \"pattern\": {\"Regex\": \"(\"}, "
                       "\"behavior\": \"Isolated\"}",
                       NULL, NULL),
            0, "pattern '('");
    refuses(small_json(NULL, NULL, NULL, "{\"type\": \"Fancy\"}", NULL), 0, "post_processor.type");
    refuses(small_json(NULL, NULL, NULL, NULL, ", \"dropout\": 0.1"), 0, "model.dropout");
    refuses(small_json("{\"id\": 1, \"content\": \"x\"}", NULL, NULL, NULL, NULL), 0, "used twice");
    refuses(small_json("{\"id\": 5000000, \"content\": \"x\"}", NULL, NULL, NULL, NULL), 0,
            "id of 'x'");
    refuses(small_json(NULL, NULL, NULL, NULL, NULL), 4, "vocabulary only 4");
    sae_err err = {0};
    sae_tokenizer *t = open_tokenizer(small_json(NULL, NULL, NULL, NULL, NULL), 0);
    ck_assert_int_eq(sae_tokenizer_encode(t, "abc", 3, 0, ids, MAX_IDS, &count, &err), SAE_EFORMAT);
    ck_assert_ptr_nonnull(strstr(err.msg, "no token for 'c'"));
    sae_tokenizer_close(&t);
}
END_TEST

Suite *suite_tokenizer_json(void)
{
    Suite *s = suite_create("tokenizer_json");
    TCase *c = tcase_create("tokenizer_json");
    tcase_set_timeout(c, 30);
    tcase_add_test(c, golden_families);
    tcase_add_test(c, lossless);
    tcase_add_test(c, lossless_behind_a_prefix);
    tcase_add_test(c, normal_form_comes_back);
    tcase_add_test(c, lossless_but_for_a_space);
    tcase_add_test(c, long_texts);
    tcase_add_test(c, byte_level_features);
    tcase_add_test(c, unigram_paths);
    tcase_add_test(c, added_token_flags);
    tcase_add_test(c, patterns);
    tcase_add_test(c, ends_of_texts);
    tcase_add_test(c, byte_level_refusals);
    tcase_add_test(c, vocabulary_refusals);
    tcase_add_test(c, step_refusals);
    suite_add_tcase(s, c);
    return s;
}
