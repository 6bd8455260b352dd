/* tests/train/step.c - what one step does, and in which order. */
#include "train/probe.h"

#include <stdlib.h>

enum { N = 5, B = 8 };

static sae_train_config own_config(int64_t steps)
{
    sae_train_config c;
    sae_train_config_default(&c);
    c.steps = steps;
    c.B = B;
    return c;
}

/* ---- project, clip, Adam, renormalise, in double --------------------------------------------- */

enum { D = RIG_D, COUNT = N * D + N };

typedef struct scalar { /* W_dec [N x D], then b_enc [N] */
    double w[COUNT], m[COUNT], v[COUNT], norm;
} scalar;

static void project_row(const double *w, double *g)
{
    double dot = 0;
    for (int i = 0; i < D; i++)
        dot += w[i] * g[i];
    for (int i = 0; i < D; i++)
        g[i] -= dot * w[i];
}

static void scalar_step(scalar *s, const sae_train_config *c, int64_t step)
{
    double g[COUNT], lr = sae_learner_lr(c, step), t = (double)(step + 1);
    s->norm = 0;
    for (int i = 0; i < COUNT; i++)
        g[i] = probe_grad(s->w[i], i < N * D ? i : i - N * D, step);
    for (int j = 0; j < N; j++)
        project_row(s->w + j * D, g + j * D);
    for (int i = 0; i < COUNT; i++)
        s->norm += g[i] * g[i];
    s->norm = sqrt(s->norm);
    for (int i = 0; i < COUNT; i++) {
        double decay = i < N * D ? c->weight_decay : 0;
        g[i] *= s->norm > c->clip_norm ? c->clip_norm / s->norm : 1;
        s->m[i] = c->beta1 * s->m[i] + (1 - c->beta1) * g[i];
        s->v[i] = c->beta2 * s->v[i] + (1 - c->beta2) * g[i] * g[i];
        double mean = s->m[i] / (1 - pow(c->beta1, t)), var = s->v[i] / (1 - pow(c->beta2, t));
        s->w[i] -= lr * (mean / (sqrt(var) + c->eps) + decay * s->w[i]);
    }
    for (int j = 0; j < N; j++) {
        double norm = 0;
        for (int i = 0; i < D; i++)
            norm += s->w[j * D + i] * s->w[j * D + i];
        for (int i = 0; i < D; i++)
            s->w[j * D + i] /= sqrt(norm);
    }
}

/* Rounding: |g| <= 4, so a clipped gradient carries at most 16 u; g / (|g| + eps) has slope <=
 * 1/eps = 10 and lr <= 0.1, so a step adds at most 16 u + 4 u (weights <= 1); renormalising and
 * carrying on (the map of a step has slope < 1.5) leaves less than 100 u after three steps. A wrong
 * order is off by more than 1e-3. */
START_TEST(order_of_project_clip_adam)
{
    rig r;
    sae_variant v;
    sae_learner l;
    scalar s = {0};
    rig_open(&r, 1, SAE_NORM_NONE, RIG_GIVES, B);
    sae_train_config c = own_config(20);
    probe_open(&r, &l, &v, N, &c, NULL);
    ck_assert_double_eq(l.cfg.lr, 0.1);
    ck_assert_int_eq(l.cfg.warmup, 4);
    for (int64_t step = 0; step < 3; step++) {
        rig_train(&r, &l, step + 1);
        if (step == 0) { /* lr is 0 in the first step, so the weights are still those of init */
            for (int i = 0; i < COUNT; i++)
                s.w[i] = (double)(i < N * D ? ((float *)l.model.t[0].w)[i]
                                            : ((float *)l.model.t[1].w)[i - N * D]);
        }
        scalar_step(&s, &l.cfg, step);
        ck_assert_double_gt(s.norm, l.cfg.clip_norm);
        ck_assert_double_eq_tol(l.grad_norm, s.norm, 100 * 0x1p-24 * s.norm);
        for (int i = 0; i < COUNT; i++) {
            double w = (double)(i < N * D ? ((float *)l.model.t[0].w)[i]
                                          : ((float *)l.model.t[1].w)[i - N * D]);
            ck_assert_double_eq_tol(w, s.w[i], 100 * 0x1p-24);
        }
    }
    ck_assert_double_eq(l.total, 2 + 0.5 * 3);
    ck_assert_double_eq(l.loss[1], 3);
    sae_learner_close(&l);
    rig_close(&r);
}
END_TEST

/* ---- clocks ---------------------------------------------------------------------------------- */

START_TEST(learning_rate)
{
    sae_train_config c = {.steps = 100, .lr = 2, .warmup = 10, .decay = 0.2};
    const struct {
        int64_t step;
        double lr;
    } want[] = {{0, 0}, {1, 0.2}, {5, 1}, {10, 2}, {50, 2}, {80, 2}, {85, 1.5}, {99, 0.1},
                {100, 0}};
    for (size_t i = 0; i < sizeof want / sizeof want[0]; i++)
        ck_assert_double_eq_tol(sae_learner_lr(&c, want[i].step), want[i].lr, 1e-15);
    c.warmup = 0;
    c.decay = 0;
    ck_assert_double_eq(sae_learner_lr(&c, 0), 2);
    ck_assert_double_eq(sae_learner_lr(&c, 99), 2);
    c.warmup = 100; /* overlap: step 90 of warm-up is 1.8, of decay 10 of 50 left */
    c.decay = 0.5;
    ck_assert_double_eq_tol(sae_learner_lr(&c, 90), 0.4, 1e-15);
    ck_assert_double_eq_tol(sae_learner_lr(&c, 20), 0.4, 1e-15);
}
END_TEST

START_TEST(options_follow_their_schedule)
{
    rig r;
    sae_variant v;
    sae_learner l;
    rig_open(&r, 1, SAE_NORM_NONE, RIG_GIVES, B);
    sae_train_config c = own_config(10);
    probe_open(&r, &l, &v, N, &c, (const char *const[]){"amp", "lin(0,1,0,4)", NULL});
    for (int64_t step = 0; step < 6; step++) {
        rig_train(&r, &l, step + 1);
        ck_assert_double_eq(seen.amp, step < 4 ? 0.25 * (double)step : 1);
    }
    sae_learner_close(&l);
    rig_close(&r);
}
END_TEST

/* C13: adapt runs after the optimiser and the statistics; forward saw the weights before. */
START_TEST(adapt_runs_last)
{
    rig r;
    sae_variant v;
    sae_learner l;
    rig_open(&r, 1, SAE_NORM_NONE, RIG_GIVES, B);
    sae_train_config c = own_config(10);
    probe_open(&r, &l, &v, N, &c, NULL);
    rig_train(&r, &l, 3);
    ck_assert_double_ne(seen.w_forward, seen.w_adapt);
    ck_assert_double_eq(seen.w_adapt, (double)((float *)l.model.t[0].w)[0]);
    ck_assert_uint_eq(seen.tokens_forward, 2 * B);
    ck_assert_uint_eq(seen.tokens_adapt, 3 * B);
    ck_assert_uint_eq(l.stats.fire_count[0], 3 * 2); /* rows 0 and 5 of 8 */
    ck_assert_uint_eq(l.stats.fire_count[4], 3 * 1);
    ck_assert_uint_eq(l.stats.last_fired[0], 3 * B);
    sae_learner_close(&l);
    rig_close(&r);
}
END_TEST

/* ---- failures -------------------------------------------------------------------------------- */

static int run_one(rig *r, sae_learner *l, int64_t steps)
{
    sae_learner *list[] = {l};
    sae_trainer t = {.stream = &r->s, .learner = list, .count = 1, .steps = steps};
    memset(&r->err, 0, sizeof r->err);
    return sae_trainer_run(&t, &r->err);
}

START_TEST(nonfinite_names_sae_step_and_loss)
{
    static const char *const key[] = {"nan_loss_at", "nan_grad_at"};
    static const char *const what[] = {"first", "gradient of b_enc"};
    rig r;
    rig_open(&r, 1, SAE_NORM_NONE, RIG_GIVES, B);
    sae_train_config c = own_config(10);
    for (int i = 0; i < 2; i++) {
        sae_variant v;
        sae_learner l;
        probe_open(&r, &l, &v, N, &c, (const char *const[]){key[i], "3", NULL});
        ck_assert_int_eq(run_one(&r, &l, 10), SAE_ENONFINITE);
        ck_assert_int_eq(l.step, 3);
        ck_assert_msg(strstr(r.err.msg, "probe:") && strstr(r.err.msg, "seed 5") &&
                          strstr(r.err.msg, "step 3") && strstr(r.err.msg, what[i]),
                      "%s", r.err.msg);
        sae_learner_close(&l);
    }
    rig_close(&r);
}
END_TEST

/* A learner sees exactly what it declares; what the dataset lacks is refused before init. */
START_TEST(needs_are_negotiated)
{
    static const char *const need[] = {"0", "1", "2", "3"};
    static const struct {
        const char *need, *word;
        uint64_t gives;
    } lacking[] = {{"1", "gradients", 0},
                   {"4", "target", SAE_GIVES_TOKENS | SAE_GIVES_GRAD},
                   {"8", "language model", RIG_GIVES}};
    rig r;
    sae_variant v[2];
    sae_learner l, other;
    rig_open(&r, 1, SAE_NORM_NONE, RIG_GIVES, B);
    sae_train_config c = own_config(2);
    for (int i = 0; i < 4; i++) {
        probe_open(&r, &other, &v[1], N + 1, &c, (const char *const[]){"need", "3", NULL});
        probe_open(&r, &l, &v[0], N, &c, (const char *const[]){"need", need[i], NULL});
        sae_learner *list[] = {&other, &l};
        sae_trainer t = {.stream = &r.s, .learner = list, .count = 2, .steps = 2};
        ck_assert_ok(sae_trainer_run(&t, &r.err), r.err);
        ck_assert_int_eq(seen.has_g, i & 1);
        ck_assert_int_eq(seen.has_tok, i >> 1);
        sae_learner_close(&l);
        sae_learner_close(&other);
    }
    rig_close(&r);
    for (size_t i = 0; i < sizeof lacking / sizeof lacking[0]; i++) {
        rig_open(&r, 1, SAE_NORM_NONE, lacking[i].gives, B);
        probe_open(&r, &l, &v[0], N, &c, (const char *const[]){"need", lacking[i].need, NULL});
        ck_assert_int_eq(run_one(&r, &l, 2), SAE_ENEEDS);
        ck_assert_msg(strstr(r.err.msg, lacking[i].word) && strstr(r.err.msg, "probe"), "%s",
                      r.err.msg);
        ck_assert_int_eq(l.step, 0);
        sae_learner_close(&l);
        rig_close(&r);
    }
}
END_TEST

START_TEST(bad_settings_are_refused)
{
    rig r;
    rig_open(&r, 1, SAE_NORM_NONE, RIG_GIVES, B);
    for (int i = 0; i < 4; i++) {
        sae_variant v;
        sae_spec spec;
        sae_learner l;
        sae_err err = {0};
        sae_train_config c = own_config(i == 0 ? 0 : 10);
        c.beta2 = i == 1 ? 1 : c.beta2;
        c.lr = i == 2 ? -1 : c.lr;
        c.decay = i == 3 ? 1.5 : c.decay;
        rig_own_spec(&spec, &probe_variant, &v, N);
        ck_assert_int_eq(sae_learner_open(&l, &spec, 1, &c, &r.s.dim, &r.e, &err), SAE_EINVAL);
        ck_assert_msg(strstr(err.msg, (const char *const[]){"steps", "beta2", "lr", "decay"}[i]),
                      "%s", err.msg);
        sae_spec_free(&spec); /* still ours after a failure */
    }
    rig_close(&r);
}
END_TEST

/* More memory than any machine has: refused before anything is allocated, with both numbers. */
START_TEST(memory_is_checked_first)
{
    rig r;
    sae_variant v;
    sae_spec spec;
    sae_learner l;
    sae_err err = {0};
    rig_open(&r, 1, SAE_NORM_NONE, RIG_GIVES, B);
    sae_train_config c = own_config(10);
    rig_own_spec(&spec, &probe_variant, &v, INT64_C(1) << 40);
    uint64_t calls = sae_alloc_calls();
    size_t peak = sae_alloc_peak();
    ck_assert_int_eq(sae_learner_open(&l, &spec, 1, &c, &r.s.dim, &r.e, &err), SAE_ENOMEM);
    ck_assert_msg(strstr(err.msg, "probe:") && strstr(err.msg, "available"), "%s", err.msg);
    ck_assert_uint_lt(sae_alloc_calls() - calls, 32); /* names only */
    ck_assert_uint_lt(sae_alloc_peak() - peak, 4096);
    sae_spec_free(&spec);
    rig_close(&r);
}
END_TEST

static const sae_backend *real_backend;
static size_t taken;

static void *counting_alloc(sae_device *dev, size_t bytes)
{
    taken += bytes;
    return real_backend->alloc(dev, bytes);
}

/* sae_learner_bytes is what sae_learner_open takes from the backend, but for the row starts of the
 * code (8 bytes a row, B + 1 of them). */
START_TEST(bytes_are_what_is_taken)
{
    rig r;
    rig_open(&r, 1, SAE_NORM_NONE, RIG_GIVES, 64);
    sae_backend counting = *r.e.be;
    sae_train_config c = rig_config(10, 64);
    real_backend = r.e.be;
    counting.alloc = counting_alloc;
    r.e.be = &counting;
    for (const sae_variant *const *v = sae_all_variants(r.reg); *v; v++) {
        sae_spec spec;
        sae_learner l;
        rig_spec(&r, &spec, *v, 1000);
        size_t want = sae_learner_bytes(&spec, &r.s.dim, 64);
        taken = 0;
        ck_assert_ok(sae_learner_open(&l, &spec, 5, &c, &r.s.dim, &r.e, &r.err), r.err);
        ck_assert_msg(taken >= want && taken <= want + 65 * 8 + 8,
                      "%s: %zu bytes announced, %zu taken", (*v)->name, want, taken);
        sae_learner_close(&l);
    }
    r.e.be = real_backend;
    rig_close(&r);
}
END_TEST

/* After the first steps nothing is allocated, neither by the suite nor from the backend. */
START_TEST(steps_do_not_allocate)
{
    rig r;
    rig_open(&r, 1, SAE_NORM_UNIT_ROW, RIG_GIVES, 64);
    sae_backend counting = *r.e.be;
    sae_train_config c = rig_config(20, 64);
    real_backend = r.e.be;
    counting.alloc = counting_alloc;
    r.e.be = &counting;
    for (const sae_variant *const *v = sae_all_variants(r.reg); *v; v++) {
        sae_spec spec;
        sae_learner l;
        rig_spec(&r, &spec, *v, 100);
        rig_learner(&r, &l, &spec, &c);
        rig_train(&r, &l, 5);
        uint64_t calls = sae_alloc_calls();
        taken = 0;
        rig_train(&r, &l, 20);
        ck_assert_msg(sae_alloc_calls() == calls && taken == 0, "%s: %d allocations, %zu bytes",
                      (*v)->name, (int)(sae_alloc_calls() - calls), taken);
        sae_learner_close(&l);
    }
    r.e.be = real_backend;
    rig_close(&r);
}
END_TEST

/* Weights as they were when they were frozen. */
static struct {
    sae_cmat w;
    sae_real *copy;
} frozen[SAE_MAX_TENSOR];
static int freezes, thaws, refuse_at;

static int copying_freeze(sae_device *dev, sae_cmat w)
{
    int i = 0;
    (void)dev;
    if (freezes++ == refuse_at)
        return SAE_ENOMEM;
    while (frozen[i].copy)
        i++;
    frozen[i].w = w;
    frozen[i].copy = malloc((size_t)(w.rows * w.cols) * sizeof *w.p);
    ck_assert_ptr_nonnull(frozen[i].copy);
    memcpy(frozen[i].copy, w.p, (size_t)(w.rows * w.cols) * sizeof *w.p);
    return SAE_OK;
}

static void comparing_thaw(sae_device *dev, const sae_real *w)
{
    int i = 0;
    (void)dev;
    while (i < SAE_MAX_TENSOR && (!frozen[i].copy || frozen[i].w.p != w))
        i++;
    ck_assert_int_lt(i, SAE_MAX_TENSOR);
    ck_assert_mem_eq(w, frozen[i].copy,
                     (size_t)(frozen[i].w.rows * frozen[i].w.cols) * sizeof *w);
    free(frozen[i].copy);
    frozen[i].copy = NULL;
    thaws++;
}

static int matrices(const sae_model *m)
{
    int count = 0;
    for (int i = 0; i < m->nt; i++)
        count += m->t[i].spec->role == SAE_PARAM && m->t[i].rows > 1 && m->t[i].cols > 1;
    return count;
}

/* Forward and backward of no variant write to its weights; the optimiser does so between a thaw and
 * the next freeze. A freeze that fails ends the step and leaves nothing frozen. */
START_TEST(weights_are_frozen_while_read)
{
    rig r;
    rig_open(&r, 1, SAE_NORM_UNIT_ROW, RIG_GIVES, 64);
    sae_backend freezing = *r.e.be;
    sae_train_config c = rig_config(20, 64);
    real_backend = r.e.be;
    freezing.freeze = copying_freeze;
    freezing.thaw = comparing_thaw;
    r.e.be = &freezing;
    for (const sae_variant *const *v = sae_all_variants(r.reg); *v; v++) {
        sae_spec spec;
        sae_learner l;
        sae_batch b;
        rig_spec(&r, &spec, *v, 100);
        rig_learner(&r, &l, &spec, &c);
        refuse_at = -1;
        rig_train(&r, &l, 3);
        ck_assert_int_eq(freezes, thaws);
        int each = matrices(&l.model);
        if (each > 0) {
            int before = freezes;
            refuse_at = before + each - 1;
            ck_assert_ok(sae_stream_fill(&r.s, SAE_SPLIT_TRAIN, 0, 64, l.needs, &b, &r.err), r.err);
            ck_assert_int_eq(sae_learner_step(&l, &b, &r.err), SAE_ENOMEM);
            ck_assert_ptr_nonnull(strstr(r.err.msg, "precision of products"));
            ck_assert_int_eq(freezes, before + each);
            ck_assert_int_eq(thaws, before + each - 1);
            thaws = freezes;
            r.err = (sae_err){0};
        }
        sae_learner_close(&l);
    }
    ck_assert_int_gt(freezes, 0);
    r.e.be = real_backend;
    rig_close(&r);
}
END_TEST

Suite *suite_step(void)
{
    Suite *s = suite_create("step");
    TCase *t = tcase_create("step");
    tcase_add_test(t, order_of_project_clip_adam);
    tcase_add_test(t, learning_rate);
    tcase_add_test(t, options_follow_their_schedule);
    tcase_add_test(t, adapt_runs_last);
    tcase_add_test(t, nonfinite_names_sae_step_and_loss);
    tcase_add_test(t, needs_are_negotiated);
    tcase_add_test(t, bad_settings_are_refused);
    tcase_add_test(t, memory_is_checked_first);
    tcase_add_test(t, bytes_are_what_is_taken);
    tcase_add_test(t, steps_do_not_allocate);
    tcase_add_test(t, weights_are_frozen_while_read);
    suite_add_tcase(s, t);
    return s;
}
