/* tests/train/learns.c - every registered variant learns a synthetic dictionary.
 *
 * Rows are sums of 3 of 24 unit vectors in 16 dimensions; 48 features, k = 3 where the variant has
 * a k. After 600 steps of 128 rows at ten times the variant's own learning rate, rows never trained
 * on are reconstructed with at least FLOOR of their variance explained. Predicting the mean gives
 * 0; the floor is where a variant counts as working, not a figure of merit. Where the optimiser
 * does not move the dictionary, the floor is 3 / 16: what 3 coordinates chosen blindly explain.
 */
#include "train/rig.h"

#include "core/list.h"

enum { ROWS = 128, STEPS = 600, FEATURES = 48 };
static const double FLOOR = 0.6;

/* 1 - |x - xhat|^2 / |x - mean x|^2 over one EVAL batch. */
static double explained(rig *r, sae_learner *l)
{
    sae_batch b;
    sae_tape t = {0};
    double error = 0, spread = 0, mean[RIG_D] = {0};
    sae_dims dim = l->model.dim;
    int64_t d = dim.d_out;
    sae_ctx c = {.size = sizeof c,
                 .mode = SAE_EVAL,
                 .step = l->step,
                 .steps = l->cfg.steps,
                 .seed = l->seed,
                 .opt = sae_opts_base(l->spec.opts),
                 .k = &r->e.k,
                 .dev = r->e.dev,
                 .be = r->e.be,
                 .stats = &l->stats.view,
                 .err = &r->err};
    sae_extras_give(l->extras, &c);
    uint64_t needs = l->model.v->needs(c.opt, SAE_EVAL);
    ck_assert_ok(sae_stream_fill(&r->s, SAE_SPLIT_EVAL, 0, ROWS, needs, &b, &r->err), r->err);
    ck_assert_ok(sae_tape_open(&t, l->model.v, c.opt, &dim, ROWS, SAE_EVAL, &r->e, &r->err),
                 r->err);
    ck_assert_ok(sae_forward(&l->model, &c, &b, &t, &r->e), r->err);
    for (int64_t i = 0; i < ROWS * d; i++)
        mean[i % d] += (double)b.y[i] / ROWS;
    for (int64_t i = 0; i < ROWS * d; i++) {
        double off = (double)b.y[i] - mean[i % d], miss = (double)(b.y[i] - t.xhat[i]);
        error += miss * miss;
        spread += off * off;
    }
    sae_tape_close(&t, &r->e);
    return 1 - error / spread;
}

START_TEST(every_variant)
{
    rig r;
    sae_learner l;
    sae_spec spec;
    sae_train_config c = rig_config(STEPS, ROWS);
    rig_open(&r, 1, SAE_NORM_MEAN_SQ1, RIG_GIVES, ROWS);
    const sae_variant *v = sae_all_variants(r.reg)[_i];
    rig_spec(&r, &spec, v, FEATURES);
    c.lr = 10 * v->train.lr;
    if (v->needs(sae_opts_base(spec.opts), SAE_TRAIN) & SAE_NEED_LM) {
        sae_spec_free(&spec); /* the rig has no language model */
        rig_close(&r);
        return;
    }
    rig_learner(&r, &l, &spec, &c);
    rig_train(&r, &l, STEPS);
    ck_assert_ok(sae_learner_finalize(&l, &r.err), r.err);
    double got = explained(&r, &l), floor = rig_trains_atoms(&l.model) ? FLOOR : 3.0 / RIG_D;
    ck_assert_msg(got >= floor, "%s explains %.3f of the variance, expected %.2f", v->name, got,
                  floor);
    sae_learner_close(&l);
    rig_close(&r);
}
END_TEST

Suite *suite_learns(void);
Suite *suite_learns(void)
{
    Suite *s = suite_create("learning");
    TCase *t = tcase_create("synthetic dictionary");
    int count = 0;
    while (sae_list_variants[count])
        count++;
    tcase_set_timeout(t, 300);
    tcase_add_loop_test(t, every_variant, 0, count);
    suite_add_tcase(s, t);
    return s;
}
