/* tests/train/threads.c - results do not depend on the number of threads, nor on where memory
 * is. */
#include "train/rig.h"

enum { N = 300, B = 200, STEPS = 6 }; /* several panels of rows and tiles of features */

static void train_on(rig *r, int threads, sae_learner *l, const char *name)
{
    sae_spec spec;
    sae_train_config c = rig_config(STEPS, B);
    rig_open(r, threads, SAE_NORM_UNIT_ROW, RIG_GIVES, B);
    rig_spec(r, &spec, sae_find_variant(r->reg, name), N);
    rig_learner(r, l, &spec, &c);
    rig_train(r, l, STEPS);
}

START_TEST(thread_counts)
{
    static const int threads[] = {2, 3, 8};
    sae_registry *reg;
    sae_err err = {0};
    ck_assert_ok(sae_registry_open(&reg, &err), err);
    for (const sae_variant *const *v = sae_all_variants(reg); *v; v++) {
        static rig one, many;
        sae_learner a, b;
        train_on(&one, 1, &a, (*v)->name);
        for (int i = 0; i < 3; i++) {
            train_on(&many, threads[i], &b, (*v)->name);
            rig_same(&a, &b);
            ck_assert_mem_eq(a.loss, b.loss, sizeof a.loss);
            sae_learner_close(&b);
            rig_close(&many);
        }
        sae_learner_close(&a);
        rig_close(&one);
    }
    sae_registry_close(&reg);
}
END_TEST

/* The same run with a backend that claims memory of its own: every transfer goes through copy(). */
START_TEST(device_memory)
{
    sae_registry *reg;
    sae_err err = {0};
    ck_assert_ok(sae_registry_open(&reg, &err), err);
    for (const sae_variant *const *v = sae_all_variants(reg); *v; v++) {
        static rig host, device;
        sae_learner a, b;
        sae_spec spec;
        sae_train_config c = rig_config(STEPS, B);
        train_on(&host, 1, &a, (*v)->name);
        rig_open(&device, 1, SAE_NORM_UNIT_ROW, RIG_GIVES, B);
        sae_stream_close(&device.s);
        device.e.props.shares_host = 0;
        rig_stream(&device, SAE_NORM_UNIT_ROW, B);
        ck_assert_ptr_nonnull(device.s.now.in.dev);
        rig_spec(&device, &spec, sae_find_variant(device.reg, (*v)->name), N);
        rig_learner(&device, &b, &spec, &c);
        rig_train(&device, &b, STEPS);
        rig_same(&a, &b);
        sae_learner_close(&a);
        sae_learner_close(&b);
        rig_close(&host);
        rig_close(&device);
    }
    sae_registry_close(&reg);
}
END_TEST

Suite *suite_threads(void)
{
    Suite *s = suite_create("threads");
    TCase *t = tcase_create("threads");
    tcase_set_timeout(t, 120);
    tcase_add_test(t, thread_counts);
    tcase_add_test(t, device_memory);
    suite_add_tcase(s, t);
    return s;
}
