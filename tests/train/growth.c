/* tests/train/growth.c - dictionaries that grow, runs that end early, several SAEs on one
 * stream. */
#include "train/probe.h"

enum { B = 8 };

static sae_train_config own_config(int64_t steps)
{
    sae_train_config c;
    sae_train_config_default(&c);
    c.steps = steps;
    c.B = B;
    return c;
}

/* From n = 0 by 3 a step to 10: rows are zero, new features fired now, moments start at zero. */
START_TEST(grows_from_nothing)
{
    rig r;
    sae_variant v;
    sae_learner l;
    rig_open(&r, 1, SAE_NORM_NONE, RIG_GIVES, B);
    sae_train_config c = own_config(20);
    probe_open(&r, &l, &v, 10, &c, (const char *const[]){"grow", "3", NULL});
    ck_assert_int_eq(l.model.dim.n, 0);
    ck_assert_int_eq(l.model.dim.n_cap, 10);
    static const int64_t n_seen[] = {0, 3, 6, 9, 10, 10}, n_after[] = {3, 6, 9, 10, 10, 10};
    for (int64_t step = 0; step < 6; step++) {
        rig_train(&r, &l, step + 1);
        ck_assert_int_eq(seen.n_forward, n_seen[step]);
        ck_assert_int_eq(l.model.dim.n, n_after[step]);
        ck_assert_int_eq(l.model.t[0].rows, n_after[step]);
        ck_assert_int_eq(l.model.t[1].cols, n_after[step]);
        ck_assert_int_eq(l.stats.view.n, n_after[step]);
        ck_assert_int_eq(seen.grow_rc, SAE_OK);
        ck_assert(seen.fresh_zero);
        ck_assert(seen.fired_now);
        for (int64_t j = n_seen[step]; j < n_after[step]; j++)
            ck_assert(l.moment1[1][j] == 0 && l.moment2[1][j] == 0);
    }
    const uint64_t *born = l.model.t[2].w;
    ck_assert_uint_eq(born[0], 1 * B);
    ck_assert_uint_eq(born[9], 4 * B);
    ck_assert(l.moment1[1][9] != 0); /* it has been trained since */
    sae_err err = {0};
    ck_assert_int_eq(sae_learner_grow(&l, 11, &err), SAE_ECAPACITY);
    ck_assert_int_eq(sae_learner_grow(&l, 9, &err), SAE_ECAPACITY);
    sae_learner_close(&l);
    rig_close(&r);
}
END_TEST

/* A checkpoint in the middle of growth. */
START_TEST(growing_run_resumes)
{
    rig r;
    sae_variant v[2];
    sae_learner a, b;
    char path[512];
    const char *const pairs[] = {"grow", "3", NULL};
    snprintf(path, sizeof path, "%s/grown", test_dir());
    rig_open(&r, 1, SAE_NORM_NONE, RIG_GIVES, B);
    sae_train_config c = own_config(20);
    probe_open(&r, &a, &v[0], 10, &c, pairs);
    probe_open(&r, &b, &v[1], 10, &c, pairs);
    rig_train(&r, &a, 2);
    ck_assert_ok(sae_checkpoint_save(path, &a, &r.s, &r.err), r.err);
    ck_assert_ok(sae_checkpoint_load(path, &b, &r.s, &r.err), r.err);
    ck_assert_int_eq(b.model.dim.n, 6);
    rig_train(&r, &a, 7);
    rig_train(&r, &b, 7);
    ck_assert_int_eq(a.model.dim.n, 10);
    rig_same(&a, &b);
    sae_learner_close(&a);
    sae_learner_close(&b);
    rig_close(&r);
}
END_TEST

/* SAE_DONE ends a learner; the run goes on for the others and stops when all are done. */
START_TEST(done_stops_one_learner)
{
    rig r;
    sae_variant v[2];
    sae_learner quick, slow;
    rig_open(&r, 1, SAE_NORM_NONE, RIG_GIVES, B);
    sae_train_config c = own_config(30);
    probe_open(&r, &quick, &v[0], 4, &c, (const char *const[]){"done_at", "4", NULL});
    probe_open(&r, &slow, &v[1], 6, &c, (const char *const[]){"done_at", "9", NULL});
    sae_learner *list[] = {&quick, &slow};
    sae_trainer t = {.stream = &r.s, .learner = list, .count = 2, .steps = 30,
                     .checkpoint_every = 6, .dir = test_dir()};
    ck_assert_ok(sae_trainer_run(&t, &r.err), r.err);
    ck_assert_int_eq(quick.step, 5);
    ck_assert_int_eq(slow.step, 10);
    ck_assert(quick.done && slow.done);
    ck_assert_int_eq(seen.finalized, 2);
    sae_learner again[2];
    probe_open(&r, &again[0], &v[0], 4, &c, (const char *const[]){"done_at", "4", NULL});
    probe_open(&r, &again[1], &v[1], 6, &c, (const char *const[]){"done_at", "9", NULL});
    list[0] = &again[0];
    list[1] = &again[1];
    int64_t step = 0;
    ck_assert_ok(sae_trainer_resume(&t, &step, &r.err), r.err);
    ck_assert_int_eq(step, 10);
    seen.steps = 0;
    ck_assert_ok(sae_trainer_run(&t, &r.err), r.err);
    ck_assert_int_eq(seen.steps, 0);
    rig_same(&quick, &again[0]);
    rig_same(&slow, &again[1]);
    for (int i = 0; i < 2; i++)
        sae_learner_close(&again[i]);
    sae_learner_close(&quick);
    sae_learner_close(&slow);
    rig_close(&r);
}
END_TEST

static int64_t fills;

static int counting_fill(sae_source *s, enum sae_split split, uint64_t row0, int64_t rows,
                         const sae_fill *out, sae_err *err)
{
    fills++;
    return rig_fill(s, split, row0, rows, out, err);
}

/* Three SAEs read each batch once and end as if each had been trained alone. */
START_TEST(sharing_a_stream_changes_nothing)
{
    rig r;
    sae_variant v[6];
    sae_learner together[3], alone[3];
    sae_learner *list[3];
    rig_open(&r, 1, SAE_NORM_MEAN_SQ1, RIG_GIVES, B);
    r.ds.fill = counting_fill;
    sae_train_config c = own_config(6);
    for (int i = 0; i < 3; i++) {
        probe_open(&r, &together[i], &v[i], 4 + i, &c, NULL);
        probe_open(&r, &alone[i], &v[3 + i], 4 + i, &c, NULL);
        list[i] = &together[i];
    }
    sae_trainer t = {.stream = &r.s, .learner = list, .count = 3, .steps = 6};
    ck_assert_ok(sae_trainer_run(&t, &r.err), r.err);
    ck_assert_int_eq(fills, 6);
    for (int i = 0; i < 3; i++) {
        rig_train(&r, &alone[i], 6);
        rig_same(&together[i], &alone[i]);
        sae_learner_close(&alone[i]);
        sae_learner_close(&together[i]);
    }
    rig_close(&r);
}
END_TEST

START_TEST(twins_and_strangers_are_refused)
{
    rig r;
    sae_variant v[3];
    sae_learner a, twin, longer;
    sae_err err = {0};
    rig_open(&r, 1, SAE_NORM_NONE, RIG_GIVES, B);
    sae_train_config c = own_config(6), other = own_config(7);
    probe_open(&r, &a, &v[0], 4, &c, NULL);
    probe_open(&r, &twin, &v[1], 4, &c, NULL);
    probe_open(&r, &longer, &v[2], 4, &other, NULL);
    sae_learner *list[] = {&a, &twin};
    sae_trainer t = {.stream = &r.s, .learner = list, .count = 2, .steps = 6};
    ck_assert_int_eq(sae_trainer_run(&t, &err), SAE_EINVAL);
    ck_assert_msg(strstr(err.msg, "twice") != NULL, "%s", err.msg);
    list[1] = &longer;
    memset(&err, 0, sizeof err);
    ck_assert_int_eq(sae_trainer_run(&t, &err), SAE_EINVAL);
    ck_assert_msg(strstr(err.msg, "7 steps") != NULL, "%s", err.msg);
    list[1] = &twin;
    twin.step = 3;
    memset(&err, 0, sizeof err);
    ck_assert_int_eq(sae_trainer_run(&t, &err), SAE_EINVAL);
    sae_learner_close(&a);
    sae_learner_close(&twin);
    sae_learner_close(&longer);
    rig_close(&r);
}
END_TEST

Suite *suite_growth(void)
{
    Suite *s = suite_create("growth");
    TCase *t = tcase_create("growth");
    tcase_add_test(t, grows_from_nothing);
    tcase_add_test(t, growing_run_resumes);
    tcase_add_test(t, done_stops_one_learner);
    tcase_add_test(t, sharing_a_stream_changes_nothing);
    tcase_add_test(t, twins_and_strangers_are_refused);
    suite_add_tcase(s, t);
    return s;
}
