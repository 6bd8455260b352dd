/* tests/golden/variants.c - losses, codes and gradients against scripts/golden/variants.py.
 *
 * Bound: |got - expected| <= PATH u size, size the sum of the absolute values of all terms (from
 * the file), PATH more than the roundings on any path from an input to an output: sums of at most
 * B n = 32 terms, four products in a row, the coefficient. Codes are exact, see the script.
 */
#include "support/golden.h"
#include "support/support.h"

#include <float.h>
#include <math.h>

enum { PATH = 64, MOST = 64 };

/* pair: [values, sizes]. */
static void check_pair(const golden *g, const char *what, const json_t *pair, const sae_real *got,
                       int64_t count)
{
    double value[MOST], size[MOST];
    golden_numbers(json_array_get(pair, 0), value, count);
    golden_numbers(json_array_get(pair, 1), size, count);
    for (int64_t i = 0; i < count; i++)
        ck_assert_msg(fabs((double)got[i] - value[i]) <= PATH * ((double)FLT_EPSILON / 2) * size[i],
                      "%s: %s[%d] is %.9g, expected %.9g", g->name, what, (int)i, (double)got[i],
                      value[i]);
}

static void check_doubles(const golden *g, const char *what, const json_t *pair, const double *got,
                          int64_t count)
{
    double value[MOST], size[MOST];
    golden_numbers(json_array_get(pair, 0), value, count);
    golden_numbers(json_array_get(pair, 1), size, count);
    for (int64_t i = 0; i < count; i++)
        ck_assert_msg(fabs(got[i] - value[i]) <= PATH * ((double)FLT_EPSILON / 2) * size[i],
                      "%s: %s[%d] is %.9g, expected %.9g", g->name, what, (int)i, got[i], value[i]);
}

/* The active entries, in order, are exactly the listed triples (row, feature, value). */
static void check_code(const golden *g, const sae_code *z, const json_t *expected)
{
    size_t at = 0;
    for (int64_t r = 0; r < z->B; r++) {
        int64_t first = z->dense ? r * z->n : z->rowptr[r];
        int64_t end = z->dense ? (r + 1) * z->n : z->rowptr[r + 1];
        for (int64_t i = first; i < end; i++) {
            double triple[3];
            if (z->val[i] == 0)
                continue;
            ck_assert_msg(at < json_array_size(expected), "%s: too many entries", g->name);
            golden_numbers(json_array_get(expected, at++), triple, 3);
            int64_t j = z->dense ? i - first : z->idx[i];
            ck_assert_msg((double)r == triple[0] && (double)j == triple[1] &&
                              (double)z->val[i] == triple[2],
                          "%s: entry (%d, %d) = %.9g, expected (%g, %g) = %.9g", g->name, (int)r,
                          (int)j, (double)z->val[i], triple[0], triple[1], triple[2]);
        }
    }
    ck_assert_msg(at == json_array_size(expected), "%s: %d entries, expected %d", g->name, (int)at,
                  (int)json_array_size(expected));
}

static void check_gradients(const golden *g, const json_t *expected)
{
    for (int i = 0; i < g->model.nt; i++) {
        const sae_tensor *t = &g->model.t[i];
        if (t->spec->role == SAE_PARAM)
            check_pair(g, t->spec->name, json_object_get(expected, t->spec->name), t->grad,
                       t->rows * t->cols);
    }
}

/* theta after one adapt: an exact value of the code and a rate. */
static void check_theta(const golden *g)
{
    const sae_tensor *theta = sae_model_tensor(&g->model, "theta");
    double expected = json_number_value(json_object_get(g->c, "theta"));
    if (theta)
        ck_assert_double_eq_tol(*(const double *)theta->w, expected, 4 * DBL_EPSILON * expected +
                                                                         DBL_MIN);
}

START_TEST(one_step)
{
    golden g;
    golden_open(&g, _i);
    const sae_variant *v = g.spec.variant;
    const json_t *train = json_object_get(g.c, "train"), *eval = json_object_get(g.c, "eval");
    ck_assert_ok(sae_forward(&g.model, &g.ctx, &g.batch, &g.tape, &g.e), g.err);
    check_code(&g, &g.tape.code, json_object_get(train, "code"));
    check_pair(&g, "xhat", json_object_get(train, "xhat"), g.tape.xhat,
               g.batch.B * g.model.dim.d_out);
    check_doubles(&g, "loss", json_object_get(train, "loss"), g.tape.loss, 2);
    check_doubles(&g, "coef", json_object_get(train, "coef"), g.tape.coef, 2);
    ck_assert_ok(v->backward(&g.model, &g.ctx, &g.batch, &g.tape), g.err);
    check_gradients(&g, json_object_get(train, "grad"));
    ck_assert_ok(v->adapt(&g.model, &g.ctx, &g.batch, &g.tape), g.err);
    if (json_number_value(json_object_get(g.c, "theta")) > 0)
        check_theta(&g);
    g.ctx.mode = SAE_EVAL;
    ck_assert_ok(sae_forward(&g.model, &g.ctx, &g.batch, &g.eval, &g.e), g.err);
    check_code(&g, &g.eval.code, json_object_get(eval, "code"));
    golden_close(&g);
}
END_TEST

Suite *suite_variants(void);
Suite *suite_variants(void)
{
    Suite *s = suite_create("golden variants");
    TCase *t = tcase_create("one step");
    tcase_add_loop_test(t, one_step, 0, golden_count());
    suite_add_tcase(s, t);
    return s;
}
