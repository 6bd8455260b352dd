/* tests/models/generate.c - continuations, on small models with random weights. */
#include "lm_models.h"
#include "lm_util.h"

#include "core/error.h"
#include "models/generate.h"

#include <omp.h>
#include <string.h>

enum { MOST = 128 };

typedef struct fixture {
    lm_fixture f;
    sae_lm_model *m;
    sae_lm_generator *g;
    double seconds;
    int32_t prompt[MOST];
} fixture;

static void setup(fixture *x, int i, int threads)
{
    memset(x, 0, sizeof *x);
    sae_lm_source src = {NULL, lm_random_part};
    sae_lm_config c = lm_config(i);
    lm_engine(&x->f, threads);
    ck_assert_ok(sae_lm_model_open(&x->m, &c, &src, sae_lm_place_of(&x->f.e), &x->f.err), x->f.err);
    for (int64_t r = 0; r < MOST; r++)
        x->prompt[r] = (int32_t)(3 + 7 * r) % 37;
}

static void open_prompt(fixture *x, int64_t n, int64_t most)
{
    ck_assert_ok(
        sae_lm_generator_open(&x->g, &x->m->api, x->prompt, n, most, &x->seconds, &x->f.err),
        x->f.err);
}

static void teardown(fixture *x)
{
    sae_lm_generator_close(&x->g);
    ck_assert_ptr_null(x->g);
    sae_lm_model_close(&x->m);
    lm_engine_close(&x->f);
}

typedef struct tokens {
    int32_t ids[MOST];
    int64_t n, most;
} tokens;

static int collect(void *arg, int32_t id, sae_err *err)
{
    tokens *t = arg;
    if (t->n == t->most)
        SAE_FAIL(err, SAE_EIO, "full");
    t->ids[t->n++] = id;
    return SAE_OK;
}

/* One continuation of at most `most` tokens. */
static sae_lm_generated go(fixture *x, const sae_lm_request *how, int64_t most, tokens *t)
{
    sae_lm_generated got;
    sae_lm_request r = *how;
    *t = (tokens){.most = MOST};
    r.most = most;
    r.token = collect;
    r.arg = t;
    ck_assert_ok(sae_lm_generate(x->g, &r, &got, &x->f.err), x->f.err);
    ck_assert_int_eq(got.tokens, t->n);
    ck_assert_double_ge(got.seconds, 0);
    return got;
}

static void same(const tokens *a, const tokens *b)
{
    ck_assert_int_eq(a->n, b->n);
    ck_assert_mem_eq(a->ids, b->ids, (size_t)a->n * sizeof *a->ids);
}

static const sae_lm_request greedy = {.sampling = {0, 1, 0}}, warm = {.sampling = {1.5, 0.9, 11}};

/* The largest logit of a pass over everything so far. */
static int32_t by_passes(fixture *x, const int32_t *ids, int64_t n)
{
    int64_t start[2] = {0, n}, v = x->m->cfg.vocab, best = 0;
    sae_contexts c = {1, start, ids};
    sae_lm_pass *pass = NULL;
    float *z = calloc((size_t)(n * v), sizeof *z);
    sae_lm_out out = {.logits = z};
    sae_lm *lm = &x->m->api;
    ck_assert_ok(lm->begin(lm->self, "resid_pre.0", &c, &pass, &x->f.err), x->f.err);
    ck_assert_ok(lm->finish(pass, NULL, &out, &x->f.err), x->f.err);
    lm->end(&pass);
    for (int64_t i = 1; i < v; i++)
        best = z[(n - 1) * v + i] > z[(n - 1) * v + best] ? i : best;
    free(z);
    return (int32_t)best;
}

START_TEST(greedy_by_passes)
{
    fixture x;
    tokens t;
    setup(&x, _i, 0);
    open_prompt(&x, 5, 30);
    sae_lm_generated got = go(&x, &greedy, 30, &t);
    ck_assert_int_eq(got.stop, SAE_LM_STOP_COUNT);
    ck_assert_int_eq(t.n, 30);
    int32_t ids[MOST];
    memcpy(ids, x.prompt, 5 * sizeof *ids);
    for (int64_t i = 0; i < 30; i++) {
        ck_assert_int_eq(t.ids[i], by_passes(&x, ids, 5 + i));
        ids[5 + i] = t.ids[i];
    }
    teardown(&x);
}
END_TEST

/* Seed, sequence and position make a token; threads, earlier continuations and how many tokens are
 * asked for do not. */
START_TEST(reproducible)
{
    fixture x;
    tokens a, b, c;
    sae_lm_request other = warm;
    setup(&x, 0, 0);
    open_prompt(&x, 3, 40);
    go(&x, &warm, 40, &a);
    other.sequence = 1;
    go(&x, &other, 40, &b);
    ck_assert_int_ne(memcmp(a.ids, b.ids, sizeof a.ids), 0);
    other.sampling.seed = 12;
    go(&x, &other, 40, &c);
    ck_assert_int_ne(memcmp(b.ids, c.ids, sizeof b.ids), 0);
    go(&x, &warm, 40, &b);
    same(&a, &b);
    go(&x, &warm, 25, &b);
    a.n = 25;
    same(&a, &b);
    teardown(&x);
    omp_set_num_threads(1);
    setup(&x, 0, 1);
    open_prompt(&x, 3, 25);
    go(&x, &warm, 25, &b);
    same(&a, &b);
    teardown(&x);
}
END_TEST

/* The last position of the context still predicts a token. */
START_TEST(full_context)
{
    fixture x;
    tokens t;
    setup(&x, 1, 0);
    int64_t ctx = x.m->cfg.ctx;
    for (int64_t n = ctx - 9; n <= ctx; n += 3) {
        open_prompt(&x, n, INT64_MAX);
        sae_lm_generated got = go(&x, &warm, INT64_MAX, &t);
        ck_assert_int_eq(got.stop, SAE_LM_STOP_CONTEXT);
        ck_assert_int_eq(t.n, ctx - n + 1);
        got = go(&x, &warm, ctx - n + 1, &t);
        ck_assert_int_eq(got.stop, SAE_LM_STOP_COUNT);
        ck_assert_int_eq(t.n, ctx - n + 1);
        got = go(&x, &warm, 0, &t);
        ck_assert_int_eq(got.stop, SAE_LM_STOP_COUNT);
        ck_assert_int_eq(t.n, 0);
        sae_lm_generator_close(&x.g);
    }
    teardown(&x);
}
END_TEST

/* Hot enough, every token comes soon: EOS is 2 and BOS is 1 in this model. */
START_TEST(end_of_document)
{
    fixture x;
    tokens all, t;
    int ends[3] = {0};
    setup(&x, 0, 0);
    open_prompt(&x, 1, 60);
    for (uint32_t k = 0; k < 60; k++) {
        sae_lm_request r = {.sampling = {1e6, 1, 4}, .sequence = k};
        go(&x, &r, 60, &all);
        r.to_the_end = 1;
        sae_lm_generated got = go(&x, &r, 60, &t);
        ck_assert_mem_eq(t.ids, all.ids, (size_t)t.n * sizeof *t.ids);
        for (int64_t i = 0; i < t.n; i++)
            ck_assert_int_gt(t.ids[i] < 1 ? 3 : t.ids[i], 2);
        int32_t end = t.n < 60 ? all.ids[t.n] : 0;
        ck_assert_int_eq(got.stop, end ? SAE_LM_STOP_END : SAE_LM_STOP_COUNT);
        ck_assert(end >= 0 && end <= 2);
        ends[end]++;
    }
    ck_assert(ends[0] > 0 && ends[1] > 0 && ends[2] > 0);
    ck_assert_str_eq(sae_lm_stop_name(SAE_LM_STOP_END), "end");
    teardown(&x);
}
END_TEST

/* ---- failures -------------------------------------------------------------------------------- */

static void refuse(fixture *x, int64_t n, int64_t most, int code, const char *message)
{
    sae_err err = {0};
    int rc = sae_lm_generator_open(&x->g, &x->m->api, x->prompt, n, most, &x->seconds, &err);
    ck_assert_int_eq(rc, code);
    ck_assert_ptr_null(x->g);
    ck_assert_msg(strstr(err.msg, message), "'%s' does not say '%s'", err.msg, message);
}

START_TEST(refusals)
{
    fixture x;
    tokens t = {.most = 3};
    sae_lm_generated got;
    sae_err err = {0};
    setup(&x, 0, 0);
    refuse(&x, 0, 4, SAE_EINVAL, "prompt: expected 1 to 64 tokens");
    refuse(&x, 65, 4, SAE_EINVAL, "found 65");
    refuse(&x, 4, -1, SAE_EINVAL, "found -1");
    x.prompt[2] = 50;
    refuse(&x, 4, 4, SAE_EINVAL, "token 2: expected an id");
    x.prompt[2] = 0;
    open_prompt(&x, 4, 10);
    sae_lm_request r = warm;
    r.token = collect;
    r.arg = &t;
    r.most = 11;
    ck_assert_int_eq(sae_lm_generate(x.g, &r, &got, &err), SAE_EINVAL);
    r.most = 10;
    r.sampling.top_p = 2;
    err = (sae_err){0};
    ck_assert_int_eq(sae_lm_generate(x.g, &r, &got, &err), SAE_EINVAL);
    r.sampling.top_p = 1;
    err = (sae_err){0};
    ck_assert_int_eq(sae_lm_generate(x.g, &r, &got, &err), SAE_EIO); /* of the receiver */
    ck_assert_int_eq(t.n, 3);
    teardown(&x);
}
END_TEST

/* Token 9 has an embedding that overflows what follows. */
static int overflowing_part(void *self, const sae_lm_config *c, enum sae_lm_part p, int64_t layer,
                            sae_real *out, sae_err *err)
{
    SAE_TRY(lm_random_part(self, c, p, layer, out, err));
    for (int64_t i = 0; out && p == SAE_LM_EMBED && i < c->d; i++)
        out[9 * c->d + i] = i % 2 ? 3e38f : -3e38f;
    return SAE_OK;
}

START_TEST(not_finite)
{
    fixture x;
    tokens t = {.most = MOST};
    sae_lm_generated got;
    sae_err err = {0};
    sae_lm_source src = {NULL, overflowing_part};
    sae_lm_config c = lm_config(1);
    setup(&x, 1, 0);
    sae_lm_model_close(&x.m);
    ck_assert_ok(sae_lm_model_open(&x.m, &c, &src, sae_lm_place_of(&x.f.e), &x.f.err), x.f.err);
    memcpy(x.prompt, (int32_t[]){1, 9, 9, 9}, 4 * sizeof *x.prompt);
    open_prompt(&x, 4, 10);
    sae_lm_request r = warm;
    r.most = 10;
    r.token = collect;
    r.arg = &t;
    ck_assert_int_eq(sae_lm_generate(x.g, &r, &got, &err), SAE_ENONFINITE);
    ck_assert_msg(strstr(err.msg, "position 3"), "%s", err.msg);
    ck_assert_int_eq(t.n, 0);
    teardown(&x);
}
END_TEST

Suite *suite_generate(void)
{
    Suite *s = suite_create("generate");
    TCase *t = tcase_create("generate");
    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, greedy_by_passes, 0, LM_CONFIGS);
    tcase_add_test(t, reproducible);
    tcase_add_test(t, full_context);
    tcase_add_test(t, end_of_document);
    tcase_add_test(t, refusals);
    tcase_add_test(t, not_finite);
    suite_add_tcase(s, t);
    return s;
}
