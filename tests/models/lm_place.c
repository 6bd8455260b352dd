/* tests/models/lm_place.c - models in memory that counts as out of the host's reach: the same bits
 * as in host memory; whatever allocation or copy fails, an error and no leak; more threads than
 * when scratch was made.
 */
#include "lm_elsewhere.h"
#include "lm_models.h"
#include "lm_util.h"

#include "core/error.h"
#include "models/lm_tape.h"

#include <omp.h>
#include <string.h>

enum { ROWS = 60, WIDEST = 64, VOCAB = 64, SOME = 25 };

static const char *const hooks[] = {"resid_pre.0", "attn_z.1", "attn_out.0", "mlp_act.0",
                                    "mlp_out.1"};
enum { HOOKS = sizeof hooks / sizeof hooks[0] };

/* ---- all that a pass can give ---------------------------------------------------------------- */

typedef struct results {
    sae_real acts[ROWS * WIDEST], later[ROWS * WIDEST], grad[ROWS * WIDEST];
    sae_real logits[ROWS * VOCAB], logprob[ROWS * VOCAB];
    double ce[ROWS], kl[ROWS];
    int32_t top[ROWS];
} results;

typedef struct trial {
    lm_fixture f;
    sae_lm_place at;
    sae_lm_config c;
    const char *hook;
    int64_t start[6], rows, width;
    int32_t tok[ROWS];
} trial;

static void open_trial(trial *t, int model, const char *hook, int there)
{
    static const int64_t lengths[] = {17, 0, 1, 25, 9};
    memset(t, 0, sizeof *t);
    lm_engine(&t->f, 2);
    t->c = lm_config(model);
    t->hook = hook;
    t->at = there ? elsewhere_of(&t->f.e) : sae_lm_place_host(&t->f.e);
    for (int i = 0; i < 5; i++)
        t->start[i + 1] = t->start[i] + lengths[i];
    t->rows = t->start[5];
    ck_assert(t->rows <= ROWS && t->c.vocab <= VOCAB);
    for (int64_t r = 0; r < t->rows; r++)
        t->tok[r] = (int32_t)(sae_philox(1, SAE_STREAM_SYNTHETIC, (uint64_t)r, 0).v[0] %
                              (uint64_t)t->c.vocab);
}

static int run_pass(trial *t, sae_lm *lm, results *r, sae_err *err)
{
    sae_contexts c = {5, t->start, t->tok};
    sae_lm_pass *pass = NULL;
    sae_lm_out out = {.ce = r->ce, .logits = r->logits, .logprob = r->logprob, .top = r->top};
    SAE_TRY(lm->hook(lm->self, t->hook, &t->width, err));
    ck_assert_int_le(t->width, WIDEST);
    SAE_TRY(lm->begin(lm->self, t->hook, &c, &pass, err));
    size_t bytes = (size_t)(t->rows * t->width) * sizeof *r->acts;
    memcpy(r->acts, lm->acts(pass), bytes);
    int rc = lm->finish(pass, NULL, &out, err);
    for (int64_t i = 0; i < t->rows * t->width; i++) /* later serves as what is put in place */
        r->later[i] = r->acts[i] * (sae_real)0.75;
    if (rc >= 0)
        rc = lm->finish(pass, r->later, &(sae_lm_out){.kl = r->kl, .ref = r->logprob}, err);
    if (rc >= 0)
        rc = lm->finish(pass, r->later, &(sae_lm_out){.grad = r->grad}, err);
    if (rc >= 0)
        rc = lm->advance(pass, "resid_post.1", err);
    if (rc >= 0)
        memcpy(r->later, lm->acts(pass), (size_t)(t->rows * lm->d) * sizeof *r->later);
    lm->end(&pass);
    return rc;
}

static int run_trial(trial *t, results *r, sae_err *err)
{
    sae_lm_source src = {NULL, lm_random_part};
    sae_lm_model *m = NULL;
    memset(r, 0, sizeof *r);
    int rc = sae_lm_model_open(&m, &t->c, &src, t->at, err);
    if (rc >= 0)
        rc = run_pass(t, &m->api, r, err);
    sae_lm_model_close(&m);
    return rc;
}

START_TEST(the_same_bits)
{
    static results here, there;
    trial t;
    calls = fail_at = live = 0;
    open_trial(&t, _i / HOOKS, hooks[_i % HOOKS], 0);
    ck_assert_ok(run_trial(&t, &here, &t.f.err), t.f.err);
    lm_engine_close(&t.f);
    open_trial(&t, _i / HOOKS, hooks[_i % HOOKS], 1);
    ck_assert_ok(run_trial(&t, &there, &t.f.err), t.f.err);
    ck_assert_mem_eq(&here, &there, sizeof here);
    ck_assert(calls > 0 && live == 0);
    lm_engine_close(&t.f);
}
END_TEST

START_TEST(every_failure_is_told)
{
    static results r;
    trial t;
    int rc = SAE_EINVAL;
    open_trial(&t, _i, "mlp_act.0", 1);
    for (fail_at = 1; rc < 0; fail_at++) {
        sae_err err = {0};
        calls = 0;
        rc = run_trial(&t, &r, &err);
        ck_assert_int_eq(live, 0);
        ck_assert_msg(rc >= 0 || strstr(err.msg, "it was to fail"), "call %lld: %s",
                      (long long)fail_at, err.msg);
        ck_assert_int_lt(fail_at, 2000);
    }
    ck_assert_int_gt(fail_at, SOME); /* it has failed before it succeeded */
    lm_engine_close(&t.f);
}
END_TEST

/* ---- without activations --------------------------------------------------------------------- */

/* Losses of a pass that nobody asks for activations, and those of one halted at the same place;
 * then what both show further on. */
START_TEST(blind_passes)
{
    static double ce[2][ROWS];
    static sae_real acts[2][ROWS * WIDEST];
    sae_lm_source src = {NULL, lm_random_part};
    sae_lm_model *m = NULL;
    trial t;
    fail_at = 0;
    open_trial(&t, _i / 2, NULL, _i % 2);
    sae_contexts c = {5, t.start, t.tok};
    ck_assert_ok(sae_lm_model_open(&m, &t.c, &src, t.at, &t.f.err), t.f.err);
    const sae_lm *lm = &m->api;
    for (int i = 0; i < 2; i++) {
        sae_lm_pass *pass = NULL;
        fetched = 0;
        ck_assert_ok(lm->begin(lm->self, i ? NULL : "resid_pre.0", &c, &pass, &t.f.err), t.f.err);
        ck_assert((lm->acts(pass) == NULL) == i);
        ck_assert_ok(lm->finish(pass, NULL, &(sae_lm_out){.ce = ce[i]}, &t.f.err), t.f.err);
        int64_t shown = i ? 0 : t.rows * t.c.d * (int64_t)sizeof **acts;
        ck_assert_int_eq(fetched, _i % 2 ? t.rows * (int64_t)sizeof **ce + shown : 0);
        ck_assert_ok(lm->advance(pass, "attn_out.0", &t.f.err), t.f.err);
        memcpy(acts[i], lm->acts(pass), (size_t)(t.rows * t.c.d) * sizeof **acts);
        lm->end(&pass);
    }
    ck_assert_mem_eq(ce[0], ce[1], (size_t)t.rows * sizeof **ce);
    ck_assert_mem_eq(acts[0], acts[1], (size_t)(t.rows * t.c.d) * sizeof **acts);
    sae_lm_model_close(&m);
    lm_engine_close(&t.f);
}
END_TEST

/* ---- groups ---------------------------------------------------------------------------------- */

/* Room for `most` rows of a tape: all of them here, on a device whole steps and what is below one.
 */
START_TEST(tapes_by_steps)
{
    sae_lm_source src = {NULL, lm_random_part};
    sae_lm_model *m = NULL;
    trial t;
    open_trial(&t, 0, NULL, 0);
    ck_assert_ok(sae_lm_model_open(&m, &t.c, &src, t.at, &t.f.err), t.f.err);
    for (int64_t bytes = 1 << 20; bytes < 1 << 26; bytes += bytes / 7) {
        m->tape_bytes = bytes;
        m->at = t.at;
        int64_t here = sae_lm_tape_rows(m);
        m->at = elsewhere_of(&t.f.e);
        int64_t there = sae_lm_tape_rows(m);
        ck_assert_int_eq(there, here <= 1024 ? here : here / 1024 * 1024);
    }
    m->at = t.at;
    sae_lm_model_close(&m);
    lm_engine_close(&t.f);
}
END_TEST

/* ---- threads --------------------------------------------------------------------------------- */

static void grad_of(trial *t, sae_lm *lm, int64_t contexts, int threads, sae_real *grad)
{
    sae_contexts c = {contexts, t->start, t->tok};
    sae_lm_pass *pass = NULL;
    omp_set_num_threads(threads);
    ck_assert_ok(lm->begin(lm->self, "resid_pre.1", &c, &pass, &t->f.err), t->f.err);
    ck_assert_ok(lm->finish(pass, NULL, &(sae_lm_out){.grad = grad}, &t->f.err), t->f.err);
    lm->end(&pass);
}

/* Scratch that was made for one thread is not used by more. */
START_TEST(threads_come_and_go)
{
    static sae_real one[ROWS * WIDEST], many[ROWS * WIDEST];
    sae_lm_source src = {NULL, lm_random_part};
    sae_lm_model *m = NULL;
    trial t;
    open_trial(&t, _i, "resid_pre.1", 0);
    ck_assert_ok(sae_lm_model_open(&m, &t.c, &src, t.at, &t.f.err), t.f.err);
    grad_of(&t, &m->api, 1, 3, many);
    grad_of(&t, &m->api, 5, 1, one);
    grad_of(&t, &m->api, 5, 3, many);
    ck_assert_mem_eq(one, many, (size_t)(t.rows * t.c.d) * sizeof *one);
    ck_assert_int_ge(m->work.threads, 3);
    sae_lm_model_close(&m);
    lm_engine_close(&t.f);
}
END_TEST

Suite *suite_lm_place(void);
Suite *suite_lm_place(void)
{
    Suite *s = suite_create("lm_place");
    TCase *t = tcase_create("lm_place");
    tcase_add_loop_test(t, the_same_bits, 0, LM_CONFIGS * HOOKS);
    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, every_failure_is_told, 0, LM_CONFIGS);
    tcase_add_loop_test(t, blind_passes, 0, 2 * LM_CONFIGS);
    tcase_add_test(t, tapes_by_steps);
    tcase_add_loop_test(t, threads_come_and_go, 0, LM_CONFIGS);
    suite_add_tcase(s, t);
    return s;
}
