/* tests/models/lm_pass.c - laws of passes, on small models with random weights. */
#include "lm_models.h"
#include "lm_util.h"

#include "core/memory.h"
#include "models/lm_math.h"
#include <sae/rng.h>

#include <math.h>
#include <omp.h>
#include <string.h>

/* ---- models ---------------------------------------------------------------------------------- */

enum { MOST = 400 };

typedef struct small {
    lm_fixture f;
    sae_lm_model *m;
    sae_lm *lm;
    sae_contexts c; /* lengths 1, 2, 15, 16, 17, 33, 64, 0, 40 */
    int64_t start[10], rows;
    int32_t tok[MOST];
} small;

static void open_small(small *s, int i, int threads)
{
    static const int64_t lengths[] = {1, 2, 15, 16, 17, 33, 64, 0, 40};
    memset(s, 0, sizeof *s);
    sae_lm_source src = {NULL, lm_random_part};
    sae_lm_config c = lm_config(i);
    lm_engine(&s->f, threads);
    ck_assert_ok(sae_lm_model_open(&s->m, &c, &src, sae_lm_place_of(&s->f.e), &s->f.err), s->f.err);
    s->lm = &s->m->api;
    for (int k = 0; k < 9; k++)
        s->start[k + 1] = s->start[k] + lengths[k];
    s->rows = s->start[9];
    ck_assert_int_le(s->rows, MOST);
    for (int64_t r = 0; r < s->rows; r++)
        s->tok[r] = (int32_t)(sae_philox(1, SAE_STREAM_SYNTHETIC, (uint64_t)r, 0).v[0] %
                              (uint64_t)s->lm->vocab);
    s->c = (sae_contexts){9, s->start, s->tok};
}

static void close_small(small *s)
{
    sae_lm_model_close(&s->m);
    lm_engine_close(&s->f);
}

/* Everything a pass can give, for all rows. */
typedef struct results {
    float *acts, *logits, *logprob;
    double *ce;
} results;

/* The widest hook of any of the models. */
enum { WIDEST = 64 };

static results new_results(const small *s)
{
    size_t rows = (size_t)s->rows, v = (size_t)s->lm->vocab;
    return (results){
        .acts = calloc(rows * WIDEST, sizeof(float)),
        .logits = calloc(rows * v, sizeof(float)),
        .logprob = calloc(rows * v, sizeof(float)),
        .ce = calloc(rows, sizeof(double)),
    };
}

static void free_results(results *r)
{
    free(r->acts);
    free(r->logits);
    free(r->logprob);
    free(r->ce);
}

static const char *const hooks[] = {"resid_pre.0", "attn_out.0", "mlp_out.0", "resid_post.0",
                                    "resid_pre.1", "attn_out.1", "mlp_out.1", "resid_post.1",
                                    "attn_z.1",    "mlp_act.0"};
enum { HOOKS = sizeof hooks / sizeof hooks[0], ADDENDS = 8 };

static int64_t width_of(small *s, const char *hook)
{
    int64_t width = 0;
    ck_assert_ok(s->lm->hook(s->lm->self, hook, &width, &s->f.err), s->f.err);
    return width;
}

/* Run contexts c, whose first row is row `at` of the results; x: replaced activations or NULL. */
static void run(small *s, const char *hook, const sae_contexts *c, int64_t at, const float *x,
                results *r)
{
    sae_lm_pass *pass = NULL;
    int64_t width = width_of(s, hook);
    ck_assert_int_le(width, WIDEST);
    sae_lm_out out = {.ce = r->ce + at,
                      .logits = r->logits + at * s->lm->vocab,
                      .logprob = r->logprob + at * s->lm->vocab};
    ck_assert_ok(s->lm->begin(s->lm->self, hook, c, &pass, &s->f.err), s->f.err);
    memcpy(r->acts + at * width, s->lm->acts(pass),
           (size_t)(c->start[c->N] * width) * sizeof(float));
    ck_assert_ok(s->lm->finish(pass, x, &out, &s->f.err), s->f.err);
    s->lm->end(&pass);
    ck_assert_ptr_null(pass);
}

static void same_outputs(const small *s, const results *a, const results *b)
{
    size_t v = (size_t)(s->rows * s->lm->vocab) * sizeof(float);
    ck_assert_mem_eq(a->logits, b->logits, v);
    ck_assert_mem_eq(a->logprob, b->logprob, v);
    ck_assert_mem_eq(a->ce, b->ce, (size_t)s->rows * sizeof(double));
}

/* ---- tests ----------------------------------------------------------------------------------- */

START_TEST(context_alone_is_the_same)
{
    small s;
    open_small(&s, _i, 0);
    results all = new_results(&s), one = new_results(&s);
    run(&s, "attn_out.1", &s.c, 0, NULL, &all);
    for (int k = 0; k < 9; k++) {
        int64_t start[2] = {0, s.start[k + 1] - s.start[k]};
        sae_contexts c = {1, start, s.tok + s.start[k]};
        run(&s, "attn_out.1", &c, s.start[k], NULL, &one);
    }
    same_outputs(&s, &all, &one);
    ck_assert_mem_eq(all.acts, one.acts, (size_t)(s.rows * s.lm->d) * sizeof(float));
    free_results(&all);
    free_results(&one);
    close_small(&s);
}
END_TEST

START_TEST(threads_change_nothing)
{
    results r[3];
    small s;
    for (int t = 0; t < 3; t++) {
        omp_set_num_threads(t + 1);
        open_small(&s, _i, t + 1);
        r[t] = new_results(&s);
        run(&s, "mlp_out.0", &s.c, 0, NULL, &r[t]);
        if (t > 0) {
            same_outputs(&s, &r[0], &r[t]);
            ck_assert_mem_eq(r[0].acts, r[t].acts, (size_t)(s.rows * s.lm->d) * sizeof(float));
        }
        close_small(&s);
    }
    for (int t = 0; t < 3; t++)
        free_results(&r[t]);
}
END_TEST

/* Halting changes no bit, and neither does replacing activations by themselves. */
START_TEST(halting_changes_nothing)
{
    small s;
    open_small(&s, _i, 0);
    results clean = new_results(&s), other = new_results(&s);
    run(&s, "resid_pre.0", &s.c, 0, NULL, &clean);
    for (int h = 0; h < HOOKS; h++) {
        run(&s, hooks[h], &s.c, 0, NULL, &other);
        same_outputs(&s, &clean, &other);
        float *own = other.acts;
        other.acts = calloc((size_t)(s.rows * WIDEST), sizeof(float));
        run(&s, hooks[h], &s.c, 0, own, &other);
        same_outputs(&s, &clean, &other);
        free(own);
    }
    free_results(&clean);
    free_results(&other);
    close_small(&s);
}
END_TEST

/* (resid_pre + attn_out) + mlp_out = resid_post, each sum rounded once; the stream leaving a block
 * enters the next. */
START_TEST(hooks_add_up)
{
    small s;
    open_small(&s, _i, 0);
    results r[ADDENDS];
    for (int h = 0; h < ADDENDS; h++) {
        r[h] = new_results(&s);
        run(&s, hooks[h], &s.c, 0, NULL, &r[h]);
    }
    for (int64_t i = 0; i < s.rows * s.lm->d; i++)
        for (int l = 0; l < 2; l++) {
            float mid = r[4 * l].acts[i] + r[4 * l + 1].acts[i];
            ck_assert(mid + r[4 * l + 2].acts[i] == r[4 * l + 3].acts[i]);
        }
    ck_assert_mem_eq(r[3].acts, r[4].acts, (size_t)(s.rows * s.lm->d) * sizeof(float));
    for (int h = 0; h < ADDENDS; h++)
        free_results(&r[h]);
    close_small(&s);
}
END_TEST

/* Two passes alive at once, each finished several times, with different replacements. */
START_TEST(passes_are_independent)
{
    small s;
    open_small(&s, _i, 0);
    results a = new_results(&s), b = new_results(&s), zeroed = new_results(&s);
    float *zeros = calloc((size_t)(s.rows * s.lm->d), sizeof *zeros);
    run(&s, "resid_post.0", &s.c, 0, NULL, &a);
    run(&s, "attn_out.0", &s.c, 0, zeros, &zeroed);
    sae_lm_pass *p = NULL, *q = NULL;
    ck_assert_ok(s.lm->begin(s.lm->self, "resid_post.0", &s.c, &p, &s.f.err), s.f.err);
    ck_assert_ok(s.lm->begin(s.lm->self, "attn_out.0", &s.c, &q, &s.f.err), s.f.err);
    sae_lm_out out = {.ce = b.ce, .logits = b.logits, .logprob = b.logprob};
    for (int k = 0; k < 2; k++) {
        ck_assert_ok(s.lm->finish(q, zeros, &out, &s.f.err), s.f.err);
        same_outputs(&s, &zeroed, &b);
        ck_assert_ok(s.lm->finish(p, NULL, &out, &s.f.err), s.f.err);
        same_outputs(&s, &a, &b);
    }
    ck_assert_int_ne(memcmp(a.logits, zeroed.logits, sizeof(float) * 8), 0);
    s.lm->end(&p);
    s.lm->end(&q);
    s.lm->end(&q);
    free(zeros);
    free_results(&a);
    free_results(&b);
    free_results(&zeroed);
    close_small(&s);
}
END_TEST

/* A later token has no influence on an earlier row, and does on its own. */
START_TEST(rows_depend_on_the_past_only)
{
    small s;
    open_small(&s, _i, 0);
    results a = new_results(&s), b = new_results(&s);
    run(&s, "resid_pre.0", &s.c, 0, NULL, &a);
    int64_t row = s.start[6] + 31, v = s.lm->vocab; /* position 31 of the context of 64 */
    s.tok[row] = (int32_t)((s.tok[row] + 1) % v);
    run(&s, "resid_pre.0", &s.c, 0, NULL, &b);
    size_t z = (size_t)v * sizeof(float);
    ck_assert_mem_eq(a.logits, b.logits, (size_t)row * z);
    ck_assert_int_ne(memcmp(a.logits + row * v, b.logits + row * v, z), 0);
    ck_assert_int_ne(memcmp(a.logits + (row + 1) * v, b.logits + (row + 1) * v, z), 0);
    ck_assert_mem_eq(a.logits + s.start[7] * v, b.logits + s.start[7] * v,
                     (size_t)(s.rows - s.start[7]) * z);
    free_results(&a);
    free_results(&b);
    close_small(&s);
}
END_TEST

/* ce, logprob and kl against sums in double over the logits. Bounds: sae_lm_exp is within 2 ulp of
 * float and its errors enter the logarithm of a sum of positive terms; logprob is rounded to float
 * once more; kl weighs differences of log-probabilities with both errors. */
START_TEST(losses_follow_from_logits)
{
    small s;
    open_small(&s, _i, 0);
    results a = new_results(&s), b = new_results(&s);
    double *kl = calloc((size_t)s.rows, sizeof *kl);
    int64_t v = s.lm->vocab;
    float *zeros = calloc((size_t)(s.rows * s.lm->d), sizeof *zeros);
    run(&s, "resid_pre.0", &s.c, 0, NULL, &a);
    run(&s, "mlp_out.1", &s.c, 0, zeros, &b);
    sae_lm_pass *pass = NULL;
    sae_lm_out out = {.kl = kl, .ref = a.logprob};
    ck_assert_ok(s.lm->begin(s.lm->self, "mlp_out.1", &s.c, &pass, &s.f.err), s.f.err);
    ck_assert_ok(s.lm->finish(pass, zeros, &out, &s.f.err), s.f.err);
    for (int64_t r = 0, k = 0; r < s.rows; r++) {
        const float *z = b.logits + r * v;
        double sum = 0, want = 0, most = 0;
        for (int64_t i = 0; i < v; i++)
            sum += exp((double)z[i]);
        for (int64_t i = 0; i < v; i++) {
            double q = (double)a.logprob[r * v + i], l = (double)z[i] - log(sum);
            want += exp(q) * (q - l);
            most = fmax(most, fmax(fabs(q), fabs(l)));
            double bound = 4 * 0x1p-24 * (1 + fabs(l));
            ck_assert_double_eq_tol((double)b.logprob[r * v + i], l, bound);
        }
        ck_assert_double_eq_tol(kl[r], want, 8 * 0x1p-24 * (1 + most));
        while (s.start[k + 1] <= r)
            k++;
        if (r + 1 == s.start[k + 1])
            ck_assert(isnan(b.ce[r]));
        else
            ck_assert_double_eq_tol(b.ce[r], log(sum) - (double)z[s.tok[r + 1]], 4 * 0x1p-24);
    }
    out.ref = b.logprob;
    ck_assert_ok(s.lm->finish(pass, zeros, &out, &s.f.err), s.f.err);
    for (int64_t r = 0; r < s.rows; r++) /* of a distribution to itself: rounding of ref only */
        ck_assert_double_eq_tol(kl[r], 0, 0x1p-24 * 16);
    s.lm->end(&pass);
    free(kl);
    free(zeros);
    free_results(&a);
    free_results(&b);
    close_small(&s);
}
END_TEST

/* Gradients at a hook: the same bits for a context alone, for any number of threads, and whether
 * the tape keeps what the halves computed or computes it again. */
START_TEST(gradients_do_not_depend_on_the_schedule)
{
    static const char *const at[] = {"resid_post.0", "mlp_out.0", "attn_z.1"};
    float *want = calloc(MOST * WIDEST, sizeof *want), *got = calloc(MOST * WIDEST, sizeof *got);
    for (int h = 0; h < 3; h++)
        for (int way = 0; way < 4; way++) {
            small s;
            omp_set_num_threads(way == 1 ? 3 : 1);
            open_small(&s, _i, way == 1 ? 3 : 1);
            if (way == 2)
                s.m->tape_bytes = 1;
            int64_t width = width_of(&s, at[h]), alone = way == 3 ? s.start[6] : 0;
            int64_t one[2] = {0, 64};
            sae_contexts c = way == 3 ? (sae_contexts){1, one, s.tok + alone} : s.c;
            float *grad = way ? got : want;
            sae_lm_pass *pass = NULL;
            ck_assert_ok(s.lm->begin(s.lm->self, at[h], &c, &pass, &s.f.err), s.f.err);
            ck_assert_ok(s.lm->finish(pass, NULL, &(sae_lm_out){.grad = grad}, &s.f.err), s.f.err);
            s.lm->end(&pass);
            ck_assert_mem_eq(want + alone * width, grad,
                             (size_t)(c.start[c.N] * width) * sizeof *grad);
            ck_assert(way || grad[20 * width] != 0);
            close_small(&s);
        }
    free(want);
    free(got);
}
END_TEST

START_TEST(later_passes_do_not_allocate)
{
    small s;
    open_small(&s, 0, 0);
    results r = new_results(&s);
    run(&s, "mlp_out.1", &s.c, 0, NULL, &r);
    uint64_t calls = sae_alloc_calls();
    run(&s, "mlp_out.1", &s.c, 0, NULL, &r);
    run(&s, "resid_pre.1", &s.c, 0, NULL, &r);
    sae_contexts fewer = {4, s.start, s.tok};
    run(&s, "mlp_out.1", &fewer, 0, NULL, &r);
    ck_assert_uint_eq(sae_alloc_calls(), calls);
    free_results(&r);
    close_small(&s);
}
END_TEST

/* Refused with the status and a message that holds `words`. */
static void refuse(small *s, int code, const char *words, const char *hook, const sae_contexts *c)
{
    sae_lm_pass *pass = NULL;
    sae_err err = {0};
    ck_assert_int_eq(s->lm->begin(s->lm->self, hook, c, &pass, &err), code);
    ck_assert_msg(strstr(err.msg, words) != NULL, "%s", err.msg);
    ck_assert_ptr_null(pass);
}

START_TEST(bad_requests)
{
    small s;
    open_small(&s, 0, 0);
    static const char *const bad[] = {"resid_pre.3", "resid_pre", "resid_pre.", "resid_pre.-1",
                                      "resid_pre.1x", "resid_end.0", "blocks.3.hook_resid_pre",
                                      "blocks.0.hook_mlp", "blocks..hook_mlp_out", "",
                                      "blocks.0hook_mlp_out", "blocks.0.mlp_out"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        refuse(&s, SAE_EINVAL, "attn_z.L, attn_out.L, mlp_act.L or mlp_out.L", bad[i], &s.c);
    int64_t width = 0;
    ck_assert_ok(s.lm->hook(s.lm->self, "blocks.2.hook_mlp_out", &width, &s.f.err), s.f.err);
    ck_assert_int_eq(width, 24);

    int64_t start[2] = {0, 65};
    sae_contexts c = {1, start, s.tok};
    refuse(&s, SAE_EINVAL, "expected 0 to 64 tokens, found 65", "resid_pre.0", &c);
    start[1] = -1;
    refuse(&s, SAE_EINVAL, "found -1", "resid_pre.0", &c);
    s.tok[3] = 50;
    refuse(&s, SAE_EINVAL, "token 3: expected an id from 0 to 49, found 50", "resid_pre.0", &s.c);
    s.tok[3] = 0;

    sae_lm_pass *pass = NULL;
    double kl;
    ck_assert_ok(s.lm->begin(s.lm->self, "resid_pre.0", &s.c, &pass, &s.f.err), s.f.err);
    ck_assert_int_eq(s.lm->finish(pass, NULL, &(sae_lm_out){.kl = &kl}, NULL), SAE_EINVAL);
    static double ce[MOST];
    int32_t expect[MOST] = {[3] = 50}; /* of 50 tokens */
    sae_lm_out out = {.ce = ce, .expect = expect};
    ck_assert_int_eq(s.lm->finish(pass, NULL, &out, NULL), SAE_EINVAL);
    s.lm->end(&pass);
    int64_t count;
    ck_assert_int_eq(s.lm->tokenize(s.lm->self, "a", 1, NULL, 0, &count, &s.f.err), SAE_ENEEDS);
    close_small(&s);
}
END_TEST

/* The TransformerLens names lead to the same activations. */
START_TEST(other_names_of_hooks)
{
    static const char *const names[][2] = {{"blocks.1.hook_resid_pre", "resid_pre.1"},
                                           {"blocks.1.hook_resid_post", "resid_post.1"},
                                           {"blocks.1.hook_attn_out", "attn_out.1"},
                                           {"blocks.0.mlp.hook_post", "mlp_act.0"},
                                           {"blocks.1.attn.hook_z", "attn_z.1"},
                                           {"blocks.0.hook_mlp_out", "mlp_out.0"}};
    small s;
    open_small(&s, _i, 0);
    results a = new_results(&s), b = new_results(&s);
    for (int i = 0; i < 6; i++) {
        run(&s, names[i][0], &s.c, 0, NULL, &a);
        run(&s, names[i][1], &s.c, 0, NULL, &b);
        ck_assert_mem_eq(a.acts, b.acts, (size_t)(s.rows * s.lm->d) * sizeof(float));
    }
    free_results(&a);
    free_results(&b);
    close_small(&s);
}
END_TEST

Suite *suite_lm_pass(void)
{
    Suite *s = suite_create("lm_pass");
    TCase *t = tcase_create("lm_pass");
    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, context_alone_is_the_same, 0, LM_CONFIGS);
    tcase_add_loop_test(t, threads_change_nothing, 0, LM_CONFIGS);
    tcase_add_loop_test(t, halting_changes_nothing, 0, LM_CONFIGS);
    tcase_add_loop_test(t, hooks_add_up, 0, LM_CONFIGS);
    tcase_add_loop_test(t, passes_are_independent, 0, LM_CONFIGS);
    tcase_add_loop_test(t, rows_depend_on_the_past_only, 0, LM_CONFIGS);
    tcase_add_loop_test(t, losses_follow_from_logits, 0, LM_CONFIGS);
    tcase_add_loop_test(t, gradients_do_not_depend_on_the_schedule, 0, LM_CONFIGS);
    tcase_add_loop_test(t, other_names_of_hooks, 0, LM_CONFIGS);
    tcase_add_test(t, later_passes_do_not_allocate);
    tcase_add_test(t, bad_requests);
    suite_add_tcase(s, t);
    return s;
}
