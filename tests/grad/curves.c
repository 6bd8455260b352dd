/* tests/grad/curves.c - ten training steps against scripts/golden, in double.
 *
 * The loop is the trainer's (project, clip, Adam, unit rows, statistics, adapt) on the kernels. Two
 * float64 computations of the same ten steps differ by rounding only: relative 1e-9 leaves a factor
 * of 2^22 above the unit roundoff for its growth through ten steps, and any wrong term exceeds it.
 */
#include "support/golden.h"
#include "support/support.h"

#include <math.h>

enum { STEPS = 10, MOST = 64 };

typedef struct optimiser {
    sae_adam adam;
    double clip;
    sae_real m[SAE_MAX_TENSOR][MOST], v[SAE_MAX_TENSOR][MOST];
} optimiser;

static sae_mat matrix(const sae_tensor *t, sae_real *p)
{
    return (sae_mat){p, t->rows, t->cols, t->cols};
}

static void optimise(golden *g, optimiser *o)
{
    double norm2 = 0, part;
    for (int i = 0; i < g->model.nt; i++) {
        sae_tensor *t = &g->model.t[i];
        int unit = (t->flags & SAE_T_UNIT_ROWS) != 0;
        sae_cmat w = {unit ? t->w : NULL, t->rows, t->cols, t->cols};
        if (t->spec->role != SAE_PARAM)
            continue;
        ck_assert_ok(g->e.k.project_rows(g->e.dev, w, matrix(t, t->grad), &part), g->err);
        norm2 += part;
    }
    o->adam.grad_scale = sqrt(norm2) > o->clip ? o->clip / sqrt(norm2) : 1;
    o->adam.t++;
    for (int i = 0; i < g->model.nt; i++) {
        sae_tensor *t = &g->model.t[i];
        o->adam.unit_rows = (t->flags & SAE_T_UNIT_ROWS) != 0;
        if (t->spec->role == SAE_PARAM)
            ck_assert_ok(g->e.k.adam_step(g->e.dev, &o->adam, matrix(t, t->w), t->grad, o->m[i],
                                          o->v[i]), g->err);
    }
}

static double number(const json_t *object, const char *key)
{
    return json_number_value(json_object_get(object, key));
}

static void start(golden *g, optimiser *o)
{
    const json_t *a = json_object_get(g->root, "adam");
    *o = (optimiser){.adam = {.lr = number(a, "lr"), .beta1 = number(a, "beta1"),
                              .beta2 = number(a, "beta2"), .eps = number(a, "eps")},
                     .clip = number(a, "clip")};
    for (int i = 0; i < g->model.nt; i++)
        if (g->model.t[i].flags & SAE_T_UNIT_ROWS)
            ck_assert_ok(g->e.k.unit_rows(g->e.dev, matrix(&g->model.t[i], g->model.t[i].w)),
                         g->err);
}

START_TEST(ten_steps)
{
    golden g;
    optimiser o;
    double expected[STEPS];
    golden_open(&g, _i);
    if (!json_object_get(g.c, "curve")) { /* one step is all this case has */
        golden_close(&g);
        return;
    }
    start(&g, &o);
    const sae_variant *v = g.spec.variant;
    golden_numbers(json_object_get(g.c, "curve"), expected, STEPS);
    for (int64_t s = 0; s < STEPS; s++) {
        double total = 0;
        g.ctx.step = s;
        ck_assert_ok(sae_forward(&g.model, &g.ctx, &g.batch, &g.tape, &g.e), g.err);
        for (int i = 0; v->losses[i]; i++)
            total += g.tape.coef[i] * g.tape.loss[i];
        ck_assert_msg(fabs(total - expected[s]) <= 1e-9 * expected[s],
                      "%s: loss of step %d is %.15g, expected %.15g", g.name, (int)s, total,
                      expected[s]);
        ck_assert_ok(v->backward(&g.model, &g.ctx, &g.batch, &g.tape), g.err);
        optimise(&g, &o);
        g.stats.view.tokens += (uint64_t)g.batch.B;
        ck_assert_ok(g.e.k.fire_update(g.e.dev, &g.tape.code, g.stats.view.tokens,
                                       g.stats.last_fired, g.stats.fire_count), g.err);
        ck_assert_ok(v->adapt(&g.model, &g.ctx, &g.batch, &g.tape), g.err);
    }
    double theta = number(g.c, "curve_theta");
    const sae_tensor *state = sae_model_tensor(&g.model, "theta");
    if (theta > 0)
        ck_assert_double_eq_tol(*(const double *)state->w, theta, 1e-9 * theta);
    golden_close(&g);
}
END_TEST

Suite *suite_curves(void);
Suite *suite_curves(void)
{
    Suite *s = suite_create("golden curves");
    TCase *t = tcase_create("ten steps");
    tcase_add_loop_test(t, ten_steps, 0, golden_count());
    suite_add_tcase(s, t);
    return s;
}
