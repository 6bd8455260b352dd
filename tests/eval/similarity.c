/* tests/eval/similarity.c - likeness of activations against scripts/golden/similarity.py, and the
 * laws each measure obeys. */
#include "core/memory.h"
#include "core/registry.h"
#include "eval/similarity.h"
#include "support/support.h"

#include <jansson.h>
#include <math.h>
#include <sae/rng.h>
#include <string.h>

enum { ROWS = 40, ANCHORS = 6, MOST = 4, LIST = 32 };

typedef struct rig {
    sae_registry *reg;
    sae_engine e;
    sae_err err;
    int64_t anchor[ANCHORS];
} rig;

static void rig_open(rig *g)
{
    memset(g, 0, sizeof *g);
    ck_assert_ok(sae_registry_open(&g->reg, &g->err), g->err);
    ck_assert_ok(sae_engine_open(&g->e, sae_find_backend(g->reg, "ref"), 0, 1, &g->err), g->err);
    for (int i = 0; i < ANCHORS; i++)
        g->anchor[i] = 5 * i;
}

static void rig_close(rig *g)
{
    sae_engine_close(&g->e);
    sae_registry_close(&g->reg);
}

static void compare(rig *g, const sae_real *x, int64_t dx, const sae_real *y, int64_t dy,
                    double out[SAE_LIKE_ACTIVATIONS])
{
    sae_place a, b;
    sae_cmat mx = {x, ROWS, dx, dx}, my = {y, ROWS, dy, dy};
    ck_assert_ok(sae_place_open(&a, &g->e, mx, g->anchor, ANCHORS, &g->err), g->err);
    ck_assert_ok(sae_place_open(&b, &g->e, my, g->anchor, ANCHORS, &g->err), g->err);
    ck_assert_ok(sae_place_compare(&g->e, &a, &b, out, &g->err), g->err);
    sae_place_close(&a, &g->e);
    sae_place_close(&b, &g->e);
}

static int64_t read_matrix(const json_t *rows, sae_real *out)
{
    int64_t d = (int64_t)json_array_size(json_array_get(rows, 0));
    ck_assert_uint_eq(json_array_size(rows), ROWS);
    for (int64_t r = 0; r < ROWS; r++)
        for (int64_t j = 0; j < d; j++)
            out[r * d + j] = (sae_real)json_number_value(
                json_array_get(json_array_get(rows, (size_t)r), (size_t)j));
    return d;
}

static int64_t read_origins(const json_t *list, sae_token *out)
{
    int64_t count = (int64_t)json_array_size(list);
    for (int64_t i = 0; i < count; i++) {
        const json_t *v = json_array_get(list, (size_t)i);
        out[i] = (sae_token){(uint64_t)json_integer_value(json_array_get(v, 0)),
                             (uint32_t)json_integer_value(json_array_get(v, 1)), (uint32_t)i};
    }
    return count;
}

/* Sums of ROWS products in double, means taken out (which magnifies by at most 16 here), and at
 * most 1024 roundings more: 16 * 1064 u < 2e-12. Relative representations pass through float, two
 * roundings of 2^-24 for each of two unit rows. */
START_TEST(golden_values)
{
    static sae_real x[ROWS * MOST], y[ROWS * MOST];
    json_error_t at;
    json_t *c = json_load_file("tests/golden/data/similarity.json", 0, &at);
    double out[SAE_LIKE_ACTIVATIONS];
    sae_token a[LIST], b[LIST];
    rig g;
    ck_assert_msg(c != NULL, "%s", at.text);
    rig_open(&g);
    for (int i = 0; i < ANCHORS; i++)
        g.anchor[i] = json_integer_value(json_array_get(json_object_get(c, "anchors"), (size_t)i));
    int64_t dx = read_matrix(json_object_get(c, "x"), x);
    int64_t dy = read_matrix(json_object_get(c, "y"), y);
    compare(&g, x, dx, y, dy, out);
    for (int k = 0; k < SAE_LIKE_ACTIVATIONS; k++) {
        double want = json_number_value(json_array_get(json_object_get(c, "values"), (size_t)k));
        double tol = k == SAE_LIKE_RELATIVE ? 4 * 0x1p-24 : 2e-12;
        ck_assert_msg(fabs(out[k] - want) <= tol, "%s %s: %.17g, expected %.17g",
                      sae_likeness_names[k].measure, sae_likeness_names[k].form, out[k], want);
    }
    int64_t n = read_origins(json_object_get(c, "a"), a);
    int64_t m = read_origins(json_object_get(c, "b"), b);
    ck_assert_double_eq(sae_jaccard(a, n, b, m), json_real_value(json_object_get(c, "jaccard")));
    json_decref(c);
    rig_close(&g);
}
END_TEST

/* The same rows, turned by an orthogonal matrix with entries 0 and +-1 and doubled: exact. */
START_TEST(turned_and_scaled)
{
    static sae_real x[ROWS * 3], y[ROWS * 3];
    double out[SAE_LIKE_ACTIVATIONS];
    rig g;
    rig_open(&g);
    for (uint32_t r = 0; r < ROWS; r++) {
        for (uint32_t j = 0; j < 3; j++)
            x[r * 3 + j] = (sae_real)(sae_normal(1, SAE_STREAM_SYNTHETIC, r, j) * (1 + j));
        y[r * 3] = -2 * x[r * 3 + 1];
        y[r * 3 + 1] = 2 * x[r * 3 + 2];
        y[r * 3 + 2] = 2 * x[r * 3];
    }
    compare(&g, x, 3, y, 3, out);
    ck_assert_double_eq_tol(out[SAE_LIKE_CKA], 1, 2e-12);
    ck_assert_double_eq_tol(out[SAE_LIKE_SVCCA], 1, 2e-12);
    ck_assert_double_eq_tol(out[SAE_LIKE_RELATIVE], 1, 4 * 0x1p-24);
    /* the ridge takes at most 1e-6 of the mean variance over the smallest: 1e-6 * 14 / 3 / 0.3 */
    ck_assert(out[SAE_LIKE_REGRESSION] < 1 && out[SAE_LIKE_REGRESSION] > 1 - 2e-5);
    rig_close(&g);
}
END_TEST

START_TEST(constant_activations)
{
    static sae_real x[ROWS * 2], y[ROWS * 2];
    double out[SAE_LIKE_ACTIVATIONS];
    rig g;
    rig_open(&g);
    for (uint32_t i = 0; i < ROWS * 2; i++)
        x[i] = (sae_real)sae_normal(2, SAE_STREAM_SYNTHETIC, i, 0);
    compare(&g, x, 2, y, 2, out); /* zeros */
    ck_assert(isnan(out[SAE_LIKE_CKA]) && isnan(out[SAE_LIKE_SVCCA]));
    ck_assert(isnan(out[SAE_LIKE_REGRESSION]) && out[SAE_LIKE_RELATIVE] == 0);
    compare(&g, y, 2, x, 2, out);
    ck_assert(isnan(out[SAE_LIKE_CKA]) && out[SAE_LIKE_REGRESSION] == 0);
    for (uint32_t i = 0; i < ROWS * 2; i++)
        y[i] = i % 2 ? (sae_real)0.1 : (sae_real)-3.7; /* sums of these round */
    compare(&g, x, 2, y, 2, out);
    ck_assert(isnan(out[SAE_LIKE_CKA]) && isnan(out[SAE_LIKE_SVCCA]));
    ck_assert(isnan(out[SAE_LIKE_REGRESSION]));
    compare(&g, y, 2, x, 2, out);
    ck_assert(isnan(out[SAE_LIKE_CKA]) && out[SAE_LIKE_REGRESSION] == 0);
    rig_close(&g);
}
END_TEST

START_TEST(origins)
{
    sae_token a[] = {{1, 2, 0}, {1, 2, 7}, {0, 5, 1}}, b[] = {{0, 5, 9}, {2, 2, 0}};
    ck_assert_double_eq(sae_jaccard(a, 3, b, 2), 1.0 / 3);
    ck_assert_double_eq(sae_jaccard(a, 2, a, 2), 1);
    ck_assert(isnan(sae_jaccard(a, 0, b, 0)));
    ck_assert_double_eq(sae_jaccard_chance(10, 10, 100), 1.0 / 19);
    ck_assert_int_eq(sae_origins_unique(a, 3), 2);
    ck_assert(a[0].doc == 0 && a[1].doc == 1 && a[1].pos == 2);
}
END_TEST

/* Two models of two layers and one of three, which is compared with itself alone. */
START_TEST(layers)
{
    static const int64_t model[] = {0, 0, 1, 1, 2, 2, 2}, layer[] = {0, 1, 0, 1, 0, 1, 2};
    double v[7 * 7] = {0};
    for (int i = 0; i < 7; i++)
        v[i * 7 + i] = 1;
    v[0 * 7 + 2] = v[1 * 7 + 2] = 0.5; /* the second layer of model 0 is taken for the first */
    v[2 * 7 + 0] = v[3 * 7 + 1] = 0.5;
    sae_layer_match all = sae_match_layers(v, 7, model, layer, 0);
    sae_layer_match cross = sae_match_layers(v, 7, model, layer, 1);
    ck_assert_int_eq(all.layers, 8 + 3);
    ck_assert_int_eq(all.hits, 4 + 3 + 3);
    ck_assert_int_eq(cross.layers, 4);
    ck_assert_int_eq(cross.hits, 3);
    v[1 * 7 + 2] = v[3 * 7 + 0] = (double)NAN; /* no value is not the largest, ... */
    v[0 * 7 + 2] = v[0 * 7 + 3] = (double)NAN; /* ... without any nothing is recognised */
    cross = sae_match_layers(v, 7, model, layer, 1);
    ck_assert_int_eq(cross.layers, 4);
    ck_assert_int_eq(cross.hits, 3);
}
END_TEST

Suite *suite_similarity(void)
{
    Suite *s = suite_create("similarity");
    TCase *t = tcase_create("similarity");
    tcase_add_test(t, golden_values);
    tcase_add_test(t, turned_and_scaled);
    tcase_add_test(t, constant_activations);
    tcase_add_test(t, origins);
    tcase_add_test(t, layers);
    suite_add_tcase(s, t);
    return s;
}
