/* tests/models/lm_pass.c - laws of passes, on small models with random weights. */
#include "lm_util.h"

#include "core/memory.h"
#include "models/lm_math.h"
#include <sae/rng.h>

#include <math.h>
#include <omp.h>
#include <string.h>

/* ---- models ---------------------------------------------------------------------------------- */

/* Llama, bitllama, and a model whose extents divide nothing: one query head per key/value head,
 * head width 6, untied. */
static const sae_lm_config configs[] = {
    {"llama", 24, 40, 3, 50, 64, 6, 3, 4, SAE_LM_NORM_RMS, SAE_LM_NORM_NONE, SAE_LM_NORM_RMS,
     SAE_LM_ROPE_ADJACENT, 10000, 1e-5, 1, 1, 2},
    {"llama", 32, 32, 2, 50, 64, 4, 1, 8, SAE_LM_NORM_UNIT, SAE_LM_NORM_UNIT, SAE_LM_NORM_RMS,
     SAE_LM_ROPE_HALVES, 10000, 1e-5, 1, 1, 2},
    {"llama", 17, 29, 2, 37, 64, 5, 5, 6, SAE_LM_NORM_RMS, SAE_LM_NORM_NONE, SAE_LM_NORM_RMS,
     SAE_LM_ROPE_HALVES, 500, 1e-6, 0, -1, -1},
};
enum { CONFIGS = sizeof configs / sizeof configs[0], MOST = 400 };

static int random_part(void *self, const sae_lm_config *c, enum sae_lm_part p, int64_t layer,
                       float *out, sae_err *err)
{
    (void)self, (void)err;
    int64_t rows, cols;
    sae_lm_part_shape(c, p, &rows, &cols);
    for (int64_t i = 0; out && i < rows * cols; i++)
        out[i] = (float)(sae_normal(7, SAE_STREAM_SYNTHETIC,
                                    (uint64_t)(layer * SAE_LM_PARTS + (int64_t)p), (uint32_t)i) /
                         sqrt(rows == 1 ? 1.0 : (double)cols));
    return SAE_OK;
}

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
    sae_lm_source src = {NULL, random_part};
    lm_engine(&s->f, threads);
    ck_assert_ok(sae_lm_model_open(&s->m, &configs[i], &src, &s->f.e.k, s->f.e.dev, &s->f.err),
                 s->f.err);
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
    sae_engine_close(&s->f.e);
}

/* Everything a pass can give, for all rows. */
typedef struct results {
    float *acts, *logits, *logprob;
    double *ce;
} results;

static results new_results(const small *s)
{
    size_t rows = (size_t)s->rows, v = (size_t)s->lm->vocab;
    return (results){
        .acts = calloc(rows * (size_t)s->lm->d, sizeof(float)),
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

/* Run contexts c, whose first row is row `at` of the results; x: replaced activations or NULL. */
static void run(small *s, const char *hook, const sae_contexts *c, int64_t at, const float *x,
                results *r)
{
    sae_lm_pass *pass = NULL;
    sae_lm_out out = {.ce = r->ce + at,
                      .logits = r->logits + at * s->lm->vocab,
                      .logprob = r->logprob + at * s->lm->vocab};
    ck_assert_ok(s->lm->begin(s->lm->self, hook, c, &pass, &s->f.err), s->f.err);
    memcpy(r->acts + at * s->lm->d, s->lm->acts(pass),
           (size_t)(c->start[c->N] * s->lm->d) * sizeof(float));
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

static const char *const hooks[] = {"resid_pre.0", "attn_out.0", "mlp_out.0", "resid_post.0",
                                    "resid_pre.1", "attn_out.1", "mlp_out.1", "resid_post.1"};
enum { HOOKS = sizeof hooks / sizeof hooks[0] };

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
        other.acts = calloc((size_t)(s.rows * s.lm->d), sizeof(float));
        run(&s, hooks[h], &s.c, 0, own, &other);
        same_outputs(&s, &clean, &other);
        free(own);
    }
    free_results(&clean);
    free_results(&other);
    close_small(&s);
}
END_TEST

/* resid_pre + attn_out + mlp_out = resid_post, each sum rounded once; the stream leaving a block
 * enters the next. */
START_TEST(hooks_add_up)
{
    small s;
    open_small(&s, _i, 0);
    results r[HOOKS];
    for (int h = 0; h < HOOKS; h++) {
        r[h] = new_results(&s);
        run(&s, hooks[h], &s.c, 0, NULL, &r[h]);
    }
    for (int64_t i = 0; i < s.rows * s.lm->d; i++)
        for (int l = 0; l < 2; l++) {
            float mid = r[4 * l].acts[i] + r[4 * l + 1].acts[i];
            ck_assert(mid + r[4 * l + 2].acts[i] == r[4 * l + 3].acts[i]);
        }
    ck_assert_mem_eq(r[3].acts, r[4].acts, (size_t)(s.rows * s.lm->d) * sizeof(float));
    for (int h = 0; h < HOOKS; h++)
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
                                      "resid_pre.1x", "resid_mid.0", "blocks.3.hook_resid_pre",
                                      "blocks.0.hook_mlp", "blocks..hook_mlp_out", ""};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        refuse(&s, SAE_EINVAL, "resid_pre.L, resid_post.L, attn_out.L or mlp_out.L", bad[i], &s.c);
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
    float grad;
    double kl;
    ck_assert_ok(s.lm->begin(s.lm->self, "resid_pre.0", &s.c, &pass, &s.f.err), s.f.err);
    ck_assert_int_eq(s.lm->finish(pass, NULL, &(sae_lm_out){.grad = &grad}, NULL), SAE_ENEEDS);
    ck_assert_int_eq(s.lm->finish(pass, NULL, &(sae_lm_out){.kl = &kl}, NULL), SAE_EINVAL);
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
                                           {"blocks.0.hook_mlp_out", "mlp_out.0"}};
    small s;
    open_small(&s, _i, 0);
    results a = new_results(&s), b = new_results(&s);
    for (int i = 0; i < 4; i++) {
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
    tcase_add_loop_test(t, context_alone_is_the_same, 0, CONFIGS);
    tcase_add_loop_test(t, threads_change_nothing, 0, CONFIGS);
    tcase_add_loop_test(t, halting_changes_nothing, 0, CONFIGS);
    tcase_add_loop_test(t, hooks_add_up, 0, CONFIGS);
    tcase_add_loop_test(t, passes_are_independent, 0, CONFIGS);
    tcase_add_loop_test(t, rows_depend_on_the_past_only, 0, CONFIGS);
    tcase_add_loop_test(t, losses_follow_from_logits, 0, CONFIGS);
    tcase_add_loop_test(t, other_names_of_hooks, 0, CONFIGS);
    tcase_add_test(t, later_passes_do_not_allocate);
    tcase_add_test(t, bad_requests);
    suite_add_tcase(s, t);
    return s;
}
