/* tests/models/docs.c - documents of text files, through a model that only tokenizes. */
#include "models/docs.h"

#include "core/file.h"
#include "core/log.h"
#include "models/tokenizer.h"
#include "support/support.h"

#include <stdio.h>
#include <string.h>

static int tokenize(void *self, const char *text, size_t bytes, int32_t *ids, int64_t cap,
                    int64_t *count, sae_err *err)
{
    return sae_tokenizer_encode(self, text, bytes, 1, ids, cap, count, err);
}

static const char *piece(void *self, int32_t id, size_t *len)
{
    return sae_tokenizer_piece(self, id, len);
}

static sae_lm open_model(const char *tokenizer, int64_t ctx)
{
    sae_tokenizer *t;
    sae_err err = {0};
    ck_assert_ok(sae_tokenizer_open(&t, tokenizer, 0, &err), err);
    return (sae_lm){.self = t, .ctx = ctx, .bos = sae_tokenizer_bos(t), .tokenize = tokenize,
                    .piece = piece};
}

static void close_model(sae_lm *lm)
{
    sae_tokenizer *t = lm->self;
    sae_tokenizer_close(&t);
}

/* The scored tokens of the corpus in golden.json: all after BOS of the first 50 stories. */
static void check_stories(const char *tokenizer, int64_t ctx, int64_t scored)
{
    const char *path = test_data(tokenizer);
    const char *stories = test_data("tinystories-sample/stories_0001_1800.txt");
    if (!path || !stories)
        return;
    sae_docs *docs;
    sae_err err = {0};
    sae_lm lm = open_model(path, ctx);
    ck_assert_ok(sae_docs_open(&lm, stories, "<|endoftext|>", 50, &docs, &err), err);
    ck_assert_int_eq(docs->c.N, 50);
    ck_assert_int_eq(docs->c.start[0], 0);
    ck_assert_int_eq(docs->c.start[50] - 50, scored);
    for (int64_t i = 0; i < 50; i++) {
        ck_assert_int_eq(docs->c.tok[docs->c.start[i]], 1);
        ck_assert_int_le(docs->c.start[i + 1] - docs->c.start[i], ctx);
        ck_assert_uint_eq(docs->doc[i], (uint64_t)i);
    }
    sae_docs_close(&docs);
    ck_assert_ptr_null(docs);
    ck_assert_ok(sae_docs_open(&lm, stories, "<|endoftext|>", 0, &docs, &err), err);
    ck_assert_int_eq(docs->c.N, 1800);
    sae_docs_close(&docs);
    close_model(&lm);
}

START_TEST(golden_stories260k)
{
    check_stories("stories260k/tok512.bin", 512, 16247);
}
END_TEST

START_TEST(golden_babyllama105)
{
    check_stories("babyllama105/tok105.bin", 256, 12750);
}
END_TEST

/* tokenizer.bin: unknown, BOS, EOS, space, a, b, ab, U+00E9. */
static const char *tiny_tokenizer(void)
{
    static const char *const text[] = {"<unk>", "<s>", "</s>", " ", "a", "b", "ab", "\xC3\xA9"};
    static char path[512];
    char file[256];
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
    snprintf(path, sizeof path, "%s/tiny.bin", test_dir());
    ck_assert_ok(sae_file_write(path, file, used, &err), err);
    return path;
}

static const char *text_file(const char *text, size_t bytes)
{
    static char path[512];
    sae_err err = {0};
    snprintf(path, sizeof path, "%s/text.txt", test_dir());
    ck_assert_ok(sae_file_write(path, text, bytes, &err), err);
    return path;
}

static sae_docs *open_text(const sae_lm *lm, const char *text, const char *separator, int64_t limit)
{
    sae_docs *docs;
    sae_err err = {0};
    ck_assert_ok(sae_docs_open(lm, text_file(text, strlen(text)), separator, limit, &docs, &err),
                 err);
    return docs;
}

static void keep_warning(void *arg, enum sae_level level, const char *component,
                         const char *message)
{
    (void)level, (void)component;
    snprintf(arg, 256, "%s", message);
}

START_TEST(cutting)
{
    static const struct {
        const char *text, *separator;
        int64_t limit, docs, bytes;
        int warns; /* no line is the separator */
    } cases[] = {
        {"a\n--\nb\n--\n", "--", 0, 2, 2, 0},
        {"a\r\n--\r\nb", "--", 0, 2, 2, 0},       /* line ends of Windows */
        {"--\n\n--\n \t\n--\nab", "--", 0, 1, 2, 0}, /* empty documents vanish */
        {"a\n --\nb", "--", 0, 1, 7, 1},            /* not equal to the separator */
        {"a --\n--b", "--", 0, 1, 8, 1},
        {"a\n--\nb\n--\nab", "--", 2, 2, 2, 0},
        {"a\n--\nb", "", 0, 1, 6, 0},
        {"\f\v a b \r\n", "", 0, 1, 3, 0},
        {"a\n--", "--", 0, 1, 1, 0},
    };
    char warning[256];
    sae_lm lm = open_model(tiny_tokenizer(), 64);
    sae_log_to(keep_warning, warning, SAE_LOG_WARN);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        warning[0] = '\0';
        sae_docs *d = open_text(&lm, cases[i].text, cases[i].separator, cases[i].limit);
        ck_assert_msg(d->c.N == cases[i].docs, "case %zu: %lld documents", i, (long long)d->c.N);
        ck_assert_msg(sae_docs_bytes(d) == cases[i].bytes, "case %zu: %lld bytes", i,
                      (long long)sae_docs_bytes(d));
        ck_assert_msg(!strstr(warning, "no line is \"--\"") == !cases[i].warns,
                      "case %zu: \"%s\"", i, warning);
        sae_docs_close(&d);
    }
    sae_log_to(NULL, NULL, SAE_LOG_WARN);
    close_model(&lm);
}
END_TEST

/* "ab x\u00E9a" is BOS, space, ab, space, unknown, \u00E9, a: the bytes before a cut. */
START_TEST(bytes_before_a_cut)
{
    static const int64_t bytes[] = {0, 0, 2, 3, 4, 6, 7};
    const char *path = tiny_tokenizer();
    for (int64_t ctx = 1; ctx <= 7; ctx++) {
        sae_lm lm = open_model(path, ctx);
        sae_docs *d = open_text(&lm, "ab x\xC3\xA9" "a", "", 0);
        ck_assert_int_eq(d->c.start[1], ctx);
        ck_assert_msg(sae_docs_bytes(d) == bytes[ctx - 1], "ctx %lld: %lld bytes", (long long)ctx,
                      (long long)sae_docs_bytes(d));
        sae_docs_close(&d);
        close_model(&lm);
    }
}
END_TEST

/* "ab aba" is BOS, space, ab, space, ab, a: windows of a context, each with BOS in front. */
START_TEST(windows)
{
    static const int32_t want[] = {1, 3, 6, 1, 3, 6, 1, 4, 1, 3, 4};
    sae_docs *d;
    sae_err err = {0};
    sae_lm lm = open_model(tiny_tokenizer(), 3);
    ck_assert_ok(sae_docs_open_windows(&lm, text_file("ab aba\n--\na", 11), "--", &d, &err), err);
    ck_assert_int_eq(d->c.N, 4);
    ck_assert_int_eq(d->c.start[4], 11);
    ck_assert_mem_eq(d->c.tok, want, sizeof want);
    for (int64_t i = 0; i < 4; i++)
        ck_assert_uint_eq(d->doc[i], i == 3);
    ck_assert_int_eq(sae_docs_bytes(d), 7);
    sae_docs_close(&d);
    lm.ctx = 1;
    ck_assert_int_eq(sae_docs_open_windows(&lm, text_file("ab", 2), "", &d, &err), SAE_EINVAL);
    ck_assert_ptr_nonnull(strstr(err.msg, "no room behind BOS"));
    ck_assert_ptr_null(d);
    close_model(&lm);
}
END_TEST

START_TEST(errors)
{
    sae_docs *d;
    sae_lm lm = open_model(tiny_tokenizer(), 8);
    sae_err err = {0};
    ck_assert_int_eq(sae_docs_open(&lm, text_file("a\nb\xFF", 4), "", 0, &d, &err), SAE_EFORMAT);
    ck_assert_ptr_nonnull(strstr(err.msg, "text.txt: invalid UTF-8 at byte 3"));
    ck_assert_ptr_null(d);
    err = (sae_err){0};
    ck_assert_int_eq(sae_docs_open(&lm, text_file(" \n", 2), "", 0, &d, &err), SAE_EFORMAT);
    ck_assert_ptr_nonnull(strstr(err.msg, "no document in 2 bytes"));
    err = (sae_err){0};
    ck_assert_int_eq(sae_docs_open(&lm, text_file("", 0), "--", 0, &d, &err), SAE_EFORMAT);
    err = (sae_err){0};
    ck_assert_int_eq(sae_docs_open(&lm, "no/such/file", "", 0, &d, &err), SAE_EIO);
    close_model(&lm);
}
END_TEST

Suite *suite_docs(void);
Suite *suite_docs(void)
{
    Suite *s = suite_create("docs");
    TCase *c = tcase_create("docs");
    tcase_set_timeout(c, 20);
    tcase_add_test(c, golden_stories260k);
    tcase_add_test(c, golden_babyllama105);
    tcase_add_test(c, cutting);
    tcase_add_test(c, bytes_before_a_cut);
    tcase_add_test(c, windows);
    tcase_add_test(c, errors);
    suite_add_tcase(s, c);
    return s;
}
