/* tests/golden/variants.c - losses, codes, gradients and states against scripts/golden; the format
 * is in tests/golden/README.md.
 *
 * Bound: |got - expected| <= PATH u size, size the sum of the absolute values of all terms (from
 * the file), PATH more than the roundings on any path from an input to an output: sums of at most
 * B n = 32 terms, four products in a row, the coefficient. Entries of a code without a size are
 * exact: the inputs are small multiples of 1/8.
 */
#include "support/golden.h"
#include "support/support.h"

#include <float.h>
#include <math.h>

#define UNIT ((double)FLT_EPSILON / 2)
enum { PATH = 64, MOST = 64 };

/* pair: [values, sizes]. */
static void check_pair(const golden *g, const char *what, const json_t *pair, const sae_real *got,
                       int64_t count)
{
    double value[MOST], size[MOST];
    golden_numbers(json_array_get(pair, 0), value, count);
    golden_numbers(json_array_get(pair, 1), size, count);
    for (int64_t i = 0; i < count; i++)
        ck_assert_msg(fabs((double)got[i] - value[i]) <= PATH * UNIT * size[i],
                      "%s: %s[%d] is %.9g, expected %.9g", g->name, what, (int)i, (double)got[i],
                      value[i]);
}

/* A third member, true: the numbers are made of exact ones in double. */
static void check_doubles(const golden *g, const char *what, const json_t *pair, const double *got,
                          int64_t count)
{
    double value[MOST], size[MOST];
    double unit = json_is_true(json_array_get(pair, 2)) ? DBL_EPSILON / 2 : UNIT;
    golden_numbers(json_array_get(pair, 0), value, count);
    golden_numbers(json_array_get(pair, 1), size, count);
    for (int64_t i = 0; i < count; i++)
        ck_assert_msg(fabs(got[i] - value[i]) <= PATH * unit * size[i],
                      "%s: %s[%d] is %.9g, expected %.9g", g->name, what, (int)i, got[i], value[i]);
}

/* The active entries, in order, are the listed (row, feature, value) or (row, feature, value,
 * size): without a size the value is exact. */
static void check_code(const golden *g, const sae_code *z, const json_t *expected)
{
    size_t at = 0;
    for (int64_t r = 0; r < z->B; r++) {
        int64_t first = z->dense ? r * z->n : z->rowptr[r];
        int64_t end = z->dense ? (r + 1) * z->n : z->rowptr[r + 1];
        for (int64_t i = first; i < end; i++) {
            double e[4] = {0};
            if (z->val[i] == 0)
                continue;
            ck_assert_msg(at < json_array_size(expected), "%s: too many entries", g->name);
            const json_t *entry = json_array_get(expected, at++);
            golden_numbers(entry, e, json_array_size(entry) == 3 ? 3 : 4);
            int64_t j = z->dense ? i - first : z->idx[i];
            ck_assert_msg((double)r == e[0] && (double)j == e[1] &&
                              fabs((double)z->val[i] - e[2]) <= PATH * UNIT * e[3],
                          "%s: entry (%d, %d) = %.9g, expected (%g, %g) = %.9g", g->name, (int)r,
                          (int)j, (double)z->val[i], e[0], e[1], e[2]);
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

/* Tensors after one adapt. */
static void check_after(const golden *g)
{
    const json_t *after = json_object_get(g->c, "after"), *pair;
    const char *name;
    json_object_foreach((json_t *)(uintptr_t)after, name, pair) {
        const sae_tensor *t = sae_model_tensor(&g->model, name);
        ck_assert_msg(t != NULL, "%s has no tensor %s", g->name, name);
        if (t->spec->dtype == SAE_REAL)
            check_pair(g, name, pair, t->w, t->rows * t->cols);
        else if (t->spec->dtype == SAE_F64)
            check_doubles(g, name, pair, t->w, t->rows * t->cols);
        else
            for (int64_t i = 0; i < t->rows * t->cols; i++)
                ck_assert_int_eq(((const int64_t *)t->w)[i],
                                 json_integer_value(json_array_get(json_array_get(pair, 0),
                                                                   (size_t)i)));
    }
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
    int64_t losses = 0;
    while (v->losses[losses])
        losses++;
    check_doubles(&g, "loss", json_object_get(train, "loss"), g.tape.loss, losses);
    check_doubles(&g, "coef", json_object_get(train, "coef"), g.tape.coef, losses);
    ck_assert_ok(v->backward(&g.model, &g.ctx, &g.batch, &g.tape), g.err);
    check_gradients(&g, json_object_get(train, "grad"));
    ck_assert_ok(v->adapt(&g.model, &g.ctx, &g.batch, &g.tape), g.err);
    check_after(&g);
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
