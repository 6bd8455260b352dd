/* tests/train/recovery.c - training finds the atoms that the data is made of, in every variant
 * whose dictionary the optimiser moves. */
#include "train/rig.h"

enum { N = 2 * RIG_ATOMS, B = 256, STEPS = 1500 };

/* Mean over atoms of the largest |cosine| with a dictionary row: 1 when every atom is found. Random
 * rows reach about 0.6 at these sizes. */
static double recovery(const sae_model *m)
{
    const sae_tensor *t = sae_model_tensor(m, "W_dec");
    const float *w = t->w;
    double sum = 0;
    for (uint64_t a = 0; a < RIG_ATOMS; a++) {
        double best = 0;
        for (int64_t j = 0; j < t->rows; j++) {
            double dot = 0, norm = 0;
            for (int i = 0; i < RIG_D; i++) {
                double v = (double)w[j * RIG_D + i];
                dot += v * rig_atom(a)[i];
                norm += v * v;
            }
            if (norm > 0 && fabs(dot) / sqrt(norm) > best)
                best = fabs(dot) / sqrt(norm);
        }
        sum += best / RIG_ATOMS;
    }
    return sum;
}

/* An option the data asks for beside k = 3, and a floor. Floors are two thirds of the way from the
 * untrained 0.57 to what was reached when they were written; a variant without a row of its own has
 * that of the family around topk, which reaches 0.98. */
static const struct expected {
    const char *name, *key, *value;
    double floor;
} table[] = {{"relu", "l1", "0.2", 0.83},
             {"jumprelu", "target_l0", "3", 0.84},
             {"abs_jumprelu", "target_l0", "3", 0.82},
             {"gated", "l1", "0.4", 0.79},
             {"p_anneal", "l1", "0.2", 0.83},
             {"gba", "period", "10", 0.78}, /* biases move as often as the run is short */
             {"topafa", NULL, NULL, 0.59}, /* it matches the input's norm: more features than d */
             {"vsae", NULL, NULL, 0.585}, /* nothing makes its codes sparse: any rotation does */
             {"", NULL, NULL, 0.84}};

static const struct expected *expected_of(const char *name)
{
    const struct expected *e = table;
    while (e->name[0] && strcmp(e->name, name) != 0)
        e++;
    return e;
}

START_TEST(atoms_are_found)
{
    rig r;
    rig_open(&r, 1, SAE_NORM_MEAN_SQ1, RIG_GIVES, B);
    sae_train_config c = rig_config(STEPS, B);
    c.lr = 3e-3;
    c.warmup = 50;
    for (const sae_variant *const *v = sae_all_variants(r.reg); *v; v++) {
        sae_spec spec;
        sae_learner l;
        const struct expected *e = expected_of((*v)->name);
        rig_spec(&r, &spec, *v, N);
        if (e->key)
            ck_assert_ok(sae_opts_set(spec.opts, e->key, e->value, &r.err), r.err);
        rig_learner(&r, &l, &spec, &c);
        if (!rig_trains_atoms(&l.model)) {
            sae_learner_close(&l);
            continue;
        }
        rig_train(&r, &l, 1);
        double start = recovery(&l.model);
        rig_train(&r, &l, STEPS);
        double end = recovery(&l.model);
        ck_assert_msg(end > e->floor, "%s: recovery %.4f, was %.4f", (*v)->name, end,
                      start);
        sae_learner_close(&l);
    }
    rig_close(&r);
}
END_TEST

Suite *suite_recovery(void)
{
    Suite *s = suite_create("recovery");
    TCase *t = tcase_create("recovery");
    tcase_set_timeout(t, 120);
    tcase_add_test(t, atoms_are_found);
    suite_add_tcase(s, t);
    return s;
}
