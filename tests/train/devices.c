/* tests/train/devices.c - every variant trains on every backend as on the reference, twice alike.
 *
 * A gradient is off by at most 2^10 u of its largest entry where sums are short (see
 * tests/prop/backends.c) and a step of Adam moves no weight by more than lr, so differences of the
 * loss grow by about that share in every step: after STEPS of them the losses agree to STEPS 2^10 u
 * of what they are made of. A score within rounding of a cut may fall to the other side; the
 * objective differs by less than that then.
 */
#include "eval/snapshot.h"
#include "support/backends.h"
#include "train/rig.h"

#include <float.h>

enum { N = 40, B = 48, STEPS = 50 };
#define BOUND (STEPS * 1024 * (double)FLT_EPSILON / 2)

typedef struct trained {
    rig r;
    sae_learner l;
    double loss[STEPS][SAE_MAX_LOSS];
    sae_snapshot end;
} trained;

static void train_on(trained *t, const char *backend, const char *name)
{
    sae_spec spec;
    sae_train_config c = rig_config(STEPS, B);
    memset(t, 0, sizeof *t);
    rig_open_on(&t->r, backend, 2, SAE_NORM_UNIT_ROW, RIG_GIVES, B);
    rig_spec(&t->r, &spec, sae_find_variant(t->r.reg, name), N);
    rig_learner(&t->r, &t->l, &spec, &c);
    for (int64_t i = 0; i < STEPS && !t->l.done; i++) {
        rig_train(&t->r, &t->l, i + 1);
        memcpy(t->loss[i], t->l.loss, sizeof t->loss[i]);
    }
    ck_assert_ok(sae_snap_tensors(&t->end, &t->r.e, &t->l.model, &t->r.err), t->r.err);
}

static void close_trained(trained *t)
{
    sae_snap_free(&t->end);
    sae_learner_close(&t->l);
    rig_close(&t->r);
}

/* Rows have unit norm: losses are sums of quantities of at most 1 and of themselves. */
static void compare(const trained *ref, const trained *got, const char *name, const char *backend)
{
    ck_assert_int_eq(ref->l.step, got->l.step);
    for (int64_t i = 0; i < ref->l.step; i++)
        for (int k = 0; ref->l.model.v->losses[k]; k++)
            ck_assert_msg(fabs(ref->loss[i][k] - got->loss[i][k]) <=
                              BOUND * (1 + fabs(ref->loss[i][k])),
                          "%s on %s: %s is %.9g at step %lld, %.9g on the reference", name, backend,
                          ref->l.model.v->losses[k], got->loss[i][k], (long long)i,
                          ref->loss[i][k]);
}

/* _i counts variants and, within each, backends. */
START_TEST(every_variant)
{
    static trained ref, one, two;
    int backends = test_backend_count();
    sae_registry *reg;
    sae_err err = {0};
    ck_assert_ok(sae_registry_open(&reg, &err), err);
    const sae_backend *be = test_backend(reg, _i % backends);
    const char *name = sae_all_variants(reg)[_i / backends]->name;
    if (be->score() > 0) {
        train_on(&ref, "ref", name);
        train_on(&one, be->name, name);
        train_on(&two, be->name, name);
        compare(&ref, &one, name, be->name);
        ck_assert_msg(sae_snap_equal(&one.end, &two.end), "%s: two runs on %s differ", name,
                      be->name);
        close_trained(&ref);
        close_trained(&one);
        close_trained(&two);
    }
    sae_registry_close(&reg);
}
END_TEST

Suite *suite_devices(void);
Suite *suite_devices(void)
{
    Suite *s = suite_create("devices");
    TCase *t = tcase_create("devices");
    tcase_set_timeout(t, 300);
    tcase_add_loop_test(t, every_variant, 0, test_variant_count() * test_backend_count());
    suite_add_tcase(s, t);
    return s;
}
