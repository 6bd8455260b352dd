/* tests/models/lm_train_device.c - every backend trains a language model as the reference does, and
 * twice alike.
 *
 * The bound is that of tests/train/devices.c: a gradient is off by at most 2^10 u of its largest
 * entry where sums are short (widths and rows here are below 100), and a step of Adam moves no
 * weight by more than lr, so that differences of the loss, which are of its own size, grow by about
 * that share in every step. The norm of the gradient is of sums of the same kind.
 */
#include "lm_rig.h"

#include <float.h>

enum { STEPS = 8, NUMBERS = 3 };
#define BOUND (STEPS * 1024 * (double)FLT_EPSILON / 2)

/* Loss, norm of the gradient and, at times, loss of the evaluation, step by step. */
typedef struct curve {
    double v[STEPS][NUMBERS];
} curve;

static void read_curve(const rig *r, curve *c)
{
    size_t bytes;
    char *csv = bytes_of(r, "train.csv", &bytes), *line = strchr(csv, '\n');
    memset(c, 0, sizeof *c);
    for (int i = 0; i < STEPS; i++, line = strchr(line + 1, '\n')) {
        ck_assert_ptr_nonnull(line);
        int n = sscanf(line + 1, "%*d,%*d,%lf,%*f,%lf,%lf", &c->v[i][0], &c->v[i][1], &c->v[i][2]);
        ck_assert_int_ge(n, 2);
    }
    free(csv);
}

/* A run of `be` in the folder `name`. */
static void train_on(rig *r, const char *name, const sae_backend *be)
{
    memset(r, 0, sizeof *r);
    ck_assert_ok(sae_engine_open(&r->f.e, be, 0, 2, &r->f.err), r->f.err);
    describe_rig(r, name);
    r->t.steps = STEPS;
    r->t.warmup = 2;
    r->t.batch = 2;
    r->t.log_every = 1;
    r->t.eval_every = 4;
    r->t.checkpoint_every = 5;
    r->t.eval_docs = 2;
    ck_assert_ok(open_rig_model(r, 3, "gpt2", sae_lm_place_of(&r->f.e), &r->f.err), r->f.err);
    train(r);
    sae_lm_model_close(&r->m);
    sae_engine_close(&r->f.e);
}

/* _i counts backends. */
START_TEST(as_the_reference)
{
    static rig ref, one, two;
    static curve want, got;
    sae_registry *reg;
    sae_err err = {0};
    ck_assert_ok(sae_registry_open(&reg, &err), err);
    const sae_backend *be = test_backend(reg, _i);
    if (be->score() > 0) {
        train_on(&ref, "ref", sae_find_backend(reg, "ref"));
        train_on(&one, "one", be);
        train_on(&two, "two", be);
        read_curve(&ref, &want);
        read_curve(&one, &got);
        for (int i = 0; i < STEPS; i++)
            for (int k = 0; k < NUMBERS; k++)
                ck_assert_msg(fabs(got.v[i][k] - want.v[i][k]) <= BOUND * (1 + want.v[i][k]),
                              "%s: number %d of step %d is %.9g, %.9g on the reference", be->name,
                              k, i, got.v[i][k], want.v[i][k]);
        ck_assert_double_lt(want.v[STEPS - 1][0], want.v[0][0]);
        same_file(&one, &two, "model.safetensors");
        same_file(&one, &two, "train.csv");
    }
    sae_registry_close(&reg);
}
END_TEST

Suite *suite_lm_train_device(void);
Suite *suite_lm_train_device(void)
{
    Suite *s = suite_create("lm_train_device");
    TCase *t = tcase_create("lm_train_device");
    tcase_set_timeout(t, 120);
    tcase_add_loop_test(t, as_the_reference, 0, test_backend_count());
    suite_add_tcase(s, t);
    return s;
}
