/* tests/models/lm_decode.c - a model fed piece by piece against passes over the whole context. */
#include "lm_models.h"
#include "lm_util.h"

#include "models/lm_decode.h"

#include <dirent.h>
#include <string.h>
#include <sys/stat.h>

/* The models: those with random weights, all architectures of the golden files, real ones. */
enum { ARCHES = 11, REAL = 3, MODELS = LM_CONFIGS + ARCHES + REAL, MOST = 300 };

static const char *const real[REAL][2] = {
    {"stories260k/stories260K.bin", "stories260k/tok512.bin"},
    {"babyllama105/model5000.bin", "babyllama105/tok105.bin"},
    {"bitllama3m/bitllama3m.f32.safetensors", "stories260k/tok512.bin"},
};

typedef struct subject {
    lm_fixture f;
    sae_lm_model *own; /* to be closed; NULL: f.lm */
    sae_lm_model *m;
    int64_t n, vocab;
    int32_t tok[MOST];
    sae_real *want, *got; /* [n x vocab] of the pass, [vocab] of a decoder */
} subject;

static void whole_pass(subject *s)
{
    int64_t start[2] = {0, s->n};
    sae_contexts c = {1, start, s->tok};
    sae_lm_pass *pass = NULL;
    sae_lm_out out = {.logits = s->want};
    sae_lm *lm = &s->m->api;
    ck_assert_ok(lm->begin(lm->self, "resid_pre.0", &c, &pass, &s->f.err), s->f.err);
    ck_assert_ok(lm->finish(pass, NULL, &out, &s->f.err), s->f.err);
    lm->end(&pass);
}

static int has_weights(const struct dirent *e)
{
    char path[512];
    struct stat st;
    snprintf(path, sizeof path, "tests/golden/data/lm/%s/golden.safetensors", e->d_name);
    return stat(path, &st) == 0;
}

static void open_arch(subject *s, int i, int threads)
{
    struct dirent **e = NULL;
    char path[512];
    int n = scandir("tests/golden/data/lm", &e, has_weights, alphasort);
    ck_assert_int_eq(n, ARCHES);
    snprintf(path, sizeof path, "tests/golden/data/lm/%s", e[i]->d_name);
    for (int k = 0; k < n; k++)
        free(e[k]);
    free(e);
    lm_engine(&s->f, threads);
    ck_assert_ok(sae_lm_open(&s->f.lm, path, "", sae_lm_place_of(&s->f.e), &s->f.err), s->f.err);
}

/* 0 when the model is not there. threads 0: all. */
static int open_subject(subject *s, int i, int threads)
{
    memset(s, 0, sizeof *s);
    if (i < LM_CONFIGS) {
        sae_lm_source src = {NULL, lm_random_part};
        sae_lm_config c = lm_config(i);
        lm_engine(&s->f, threads);
        ck_assert_ok(sae_lm_model_open(&s->own, &c, &src, sae_lm_place_of(&s->f.e), &s->f.err),
                     s->f.err);
    } else if (i < LM_CONFIGS + ARCHES) {
        open_arch(s, i - LM_CONFIGS, threads);
    } else {
        const char *const *files = real[i - LM_CONFIGS - ARCHES];
        const char *path = test_data(files[0]);
        if (!path)
            return 0;
        lm_setup(&s->f, path, test_data(files[1]));
    }
    s->m = s->own ? s->own : s->f.lm->self;
    s->vocab = s->m->cfg.vocab;
    s->n = s->m->cfg.ctx < MOST ? s->m->cfg.ctx : MOST;
    for (int64_t r = 0; r < s->n; r++)
        s->tok[r] = (int32_t)(sae_philox(1, SAE_STREAM_SYNTHETIC, (uint64_t)r, 0).v[0] %
                              (uint64_t)s->vocab);
    s->want = calloc((size_t)(s->n * s->vocab), sizeof *s->want);
    s->got = calloc((size_t)s->vocab, sizeof *s->got);
    whole_pass(s);
    return 1;
}

static void close_subject(subject *s)
{
    free(s->want);
    free(s->got);
    sae_lm_model_close(&s->own);
    lm_teardown(&s->f);
}

/* Feed [from, to) and compare the logits of its last token. */
static void feed(subject *s, sae_lm_decoder *d, int64_t from, int64_t to)
{
    ck_assert_ok(sae_lm_decoder_feed(d, s->tok + from, to - from, s->got, &s->f.err), s->f.err);
    ck_assert_int_eq(sae_lm_decoder_tokens(d), to);
    ck_assert_mem_eq(s->got, s->want + (to - 1) * s->vocab, (size_t)s->vocab * sizeof *s->got);
}

/* ---- laws ------------------------------------------------------------------------------------ */

/* All at once, one by one, and in pieces of 1, 2, 17, 5, 33, 16, 1, ... tokens. */
START_TEST(any_pieces)
{
    static const int64_t uneven[] = {1, 2, 17, 5, 33, 16};
    subject s;
    if (!open_subject(&s, _i, 0))
        return;
    for (int how = 0; how < 3; how++) {
        sae_lm_decoder *d = NULL;
        ck_assert_ok(sae_lm_decoder_open(&d, s.m, s.n, &s.f.err), s.f.err);
        for (int64_t at = 0, k = 0; at < s.n; k++) {
            int64_t size = how == 0 ? s.n : how == 1 ? 1 : uneven[k % 6];
            int64_t to = at + size < s.n ? at + size : s.n;
            feed(&s, d, at, to);
            at = to;
        }
        sae_lm_decoder_close(&d);
        ck_assert_ptr_null(d);
    }
    close_subject(&s);
}
END_TEST

/* One thread gives the same; passes and another decoder of the same model may come in between; a
 * decoder that goes back gives the same again. */
START_TEST(going_back_and_taking_turns)
{
    subject s;
    if (!open_subject(&s, _i, 1))
        return;
    sae_lm_decoder *a = NULL, *b = NULL;
    ck_assert_ok(sae_lm_decoder_open(&a, s.m, s.n, &s.f.err), s.f.err);
    ck_assert_ok(sae_lm_decoder_open(&b, s.m, s.n, &s.f.err), s.f.err);
    int64_t half = s.n / 2;
    feed(&s, a, 0, half);
    feed(&s, b, 0, 1);
    whole_pass(&s);
    feed(&s, a, half, s.n);
    feed(&s, b, 1, 3);
    sae_lm_decoder_keep(a, 2);
    ck_assert_int_eq(sae_lm_decoder_tokens(a), 2);
    feed(&s, a, 2, 3);
    feed(&s, a, 3, s.n);
    sae_lm_decoder_keep(b, 7);
    ck_assert_int_eq(sae_lm_decoder_tokens(b), 3);
    sae_lm_decoder_close(&a);
    sae_lm_decoder_close(&b);
    close_subject(&s);
}
END_TEST

/* A token whose embedding is not finite spoils what it leaves behind, but not what is there without
 * it. */
START_TEST(forgotten_tokens_leave_nothing)
{
    enum { AT = 3 };
    subject s;
    sae_lm_decoder *d = NULL;
    ck_assert_int_eq(open_subject(&s, _i, 0), 1);
    sae_real *row = s.m->w.base + (s.m->w.embed - s.m->w.base) + s.tok[AT] * s.m->cfg.d;
    const sae_lm_place *at = &s.m->at;
    sae_real sound, nan = (sae_real)NAN;
    ck_assert_ok(sae_lm_get(at, &sound, row, 1, sizeof sound, &s.f.err), s.f.err);
    ck_assert_ok(sae_lm_decoder_open(&d, s.m, s.n, &s.f.err), s.f.err);
    feed(&s, d, 0, AT);
    ck_assert_ok(sae_lm_put(at, row, &nan, 1, sizeof nan, &s.f.err), s.f.err);
    ck_assert_ok(sae_lm_decoder_feed(d, s.tok + AT, 2, s.got, &s.f.err), s.f.err);
    ck_assert_ok(sae_lm_put(at, row, &sound, 1, sizeof sound, &s.f.err), s.f.err);
    ck_assert(isnan(s.got[0]));
    sae_lm_decoder_keep(d, AT);
    feed(&s, d, AT, AT + 1); /* in front of what the second token has left */
    sae_lm_decoder_close(&d);
    close_subject(&s);
}
END_TEST

START_TEST(refusals)
{
    subject s;
    sae_lm_decoder *d = NULL;
    sae_err err = {0};
    ck_assert_int_eq(open_subject(&s, 0, 0), 1);
    ck_assert_int_eq(sae_lm_decoder_open(&d, s.m, 0, &err), SAE_EINVAL);
    err = (sae_err){0};
    ck_assert_int_eq(sae_lm_decoder_open(&d, s.m, s.m->cfg.ctx + 1, &err), SAE_EINVAL);
    ck_assert_ptr_null(d);
    ck_assert_ok(sae_lm_decoder_open(&d, s.m, 4, &s.f.err), s.f.err);
    feed(&s, d, 0, 3);
    static const int64_t sizes[] = {0, 2};
    for (int i = 0; i < 2; i++) {
        err = (sae_err){0};
        ck_assert_int_eq(sae_lm_decoder_feed(d, s.tok, sizes[i], s.got, &err), SAE_EINVAL);
        ck_assert_ptr_nonnull(strstr(err.msg, "expected 1 to 1 tokens more"));
    }
    int32_t outside[2] = {-1, (int32_t)s.vocab};
    for (int i = 0; i < 2; i++) {
        err = (sae_err){0};
        ck_assert_int_eq(sae_lm_decoder_feed(d, outside + i, 1, s.got, &err), SAE_EINVAL);
    }
    feed(&s, d, 3, 4); /* nothing of what was refused has stayed */
    sae_lm_decoder_close(&d);
    sae_lm_decoder_close(&d);
    close_subject(&s);
}
END_TEST

Suite *suite_lm_decode(void)
{
    Suite *s = suite_create("lm_decode");
    TCase *t = tcase_create("lm_decode");
    tcase_set_timeout(t, 120);
    tcase_add_loop_test(t, any_pieces, 0, MODELS);
    tcase_add_loop_test(t, going_back_and_taking_turns, 0, MODELS);
    tcase_add_loop_test(t, forgotten_tokens_leave_nothing, 0, LM_CONFIGS);
    tcase_add_test(t, refusals);
    suite_add_tcase(s, t);
    return s;
}
