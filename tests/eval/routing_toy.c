/* tests/eval/routing_toy.c - a published SAE with published figures, through the real path: import,
 * ReLU evaluation, runner, metrics.
 */
#include "core/file.h"
#include "eval/rig.h"

#include <jansson.h>

enum { D = 32 };

static rig g;
static sae_loaded sae;

/* The rows of the named file, evaluated; 0 when the data or the backend are not there. */
static int evaluate(const char *file, sae_map *acts, const char *backend)
{
    char path[64];
    sae_err err = {0};
    snprintf(path, sizeof path, "routing-toy-sae/%s", file);
    const char *rows, *weights;
    if (!rig_has(backend) || !(rows = test_data(path)) ||
        !(weights = test_data("routing-toy-sae/sae.f32.safetensors")))
        return 0;
    ck_assert_ok(sae_map_open(acts, rows, &err), err);
    rig_open(&g, (const float *)(const void *)acts->p, (int64_t)acts->bytes / (4 * D), D, backend);
    ck_assert_ok(sae_file_import(&sae, weights, "relu", g.reg, &g.e, &err), err);
    g.norm[0] = (sae_norm_const){.kind = SAE_NORM_NONE, .scale = 1};
    g.subject[0] = (sae_subject){.model = &sae.model, .opt = sae.opt, .norm = &g.norm[0],
                                 .spec = "relu"};
    g.subjects = 1;
    g.stream.B = 1000;
    rig_metric(&g, "reconstruction");
    rig_metric(&g, "sparsity");
    rig_metric(&g, "dictionary");
    ck_assert_ok(rig_run(&g, 0), g.err);
    return 1;
}

static void finish(sae_map *acts)
{
    sae_loaded_close(&sae, &g.e);
    rig_close(&g);
    sae_map_close(acts);
}

static json_t *figures(const char *file, const char *a, const char *b)
{
    char path[64];
    json_error_t e;
    snprintf(path, sizeof path, "routing-toy-sae/%s", file);
    json_t *root = json_load_file(test_data(path), 0, &e), *o = json_object_get(root, a);
    ck_assert_msg(root != NULL, "%s", e.text);
    o = b ? json_object_get(o, b) : o;
    ck_assert_ptr_nonnull(o);
    json_incref(o);
    json_decref(root);
    return o;
}

typedef struct figure {
    const char *name, *key;
} figure;

/* Every figure of the file must have a key here, and agree to `rel`. */
static void compare(json_t *want, const figure *map, double rel)
{
    const char *name;
    json_t *value;
    json_object_foreach(want, name, value) {
        const figure *f = map;
        while (f->name && strcmp(f->name, name))
            f++;
        ck_assert_msg(f->name != NULL, "no metric for %s", name);
        double w = json_number_value(value);
        double got = !strcmp(f->key, "rows")    ? (double)g.src.rows
                     : !strcmp(f->key, "d_dict") ? (double)sae.model.dim.n
                                                 : rig_value(&g, 0, f->key);
        if (strstr(f->key, "dead_share"))
            got *= (double)sae.model.dim.n;
        ck_assert_msg(fabs(got - w) <= rel * fabs(w), "%s: %.12g, published %.12g", name, got, w);
    }
    json_decref(want);
}

static const figure recomputed[] = {
    {"rows", "rows"},
    {"abs_recon_err_mean", "reconstruction.abs_error"},
    {"abs_recon_err_p99", "reconstruction.abs_error_p99"},
    {"rel_recon_err_mean", "reconstruction.rel_error"},
    {"rel_recon_err_p99", "reconstruction.rel_error_p99"},
    {"fvu", "reconstruction.fvu"},
    {"mse_per_element", "reconstruction.mse_per_element"},
    {"mean_cosine", "reconstruction.cosine"},
    {"l2_ratio_mean_of_ratios", "reconstruction.l2_ratio"},
    {"l0_mean_threshold_1e-6", "sparsity.l0_threshold"},
    {"l1_mean", "sparsity.l1"},
    {"dead_features_on_these_rows", "sparsity.dead_share"},
    {"min_feature_frequency", "sparsity.density_min"},
    {"max_feature_frequency", "sparsity.density_max"},
    {"mean_over_features_of_max_decoder_cosine", "dictionary.max_decoder_cosine"},
    {0}};

static const figure published[] = {
    {"abs_recon_err_mean", "reconstruction.abs_error"},
    {"abs_recon_err_p99", "reconstruction.abs_error_p99"},
    {"rel_recon_err_mean", "reconstruction.rel_error"},
    {"rel_recon_err_p99", "reconstruction.rel_error_p99"},
    {"fvu", "reconstruction.fvu"},
    {"l0_mean", "sparsity.l0_threshold"},
    {"l0_p99", "sparsity.l0_p99"},
    {"d_dict", "d_dict"},
    {"dead_features", "sparsity.dead_share"},
    {0}};

/* Codes and decoded rows are float here: a coordinate of xhat is a dot product with sum of
 * magnitudes S = 7.5, so it is off by about u S / 2 = 2e-7 or 1e-5 of a coordinate of the error
 * (0.02). Over 36 distinct rows of 32 coordinates with random signs that leaves 3e-7 of a mean
 * norm, 6e-7 of a mean square: 1e-6. The published figures were themselves computed in float. */
START_TEST(embedding_rows)
{
    static const char *const backend[] = {"ref", "cpu"};
    sae_map acts;
    if (!evaluate("acts_8192x32.f32", &acts, backend[_i]))
        return;
    compare(figures("recomputed.json", "sae_on_acts_8192x32", NULL), recomputed, 1e-6);
    compare(figures("published.json", "sae", "bridge_gap"), published, 1e-6);
    finish(&acts);
}
END_TEST

START_TEST(rows_after_block_0)
{
    sae_map acts;
    if (!evaluate("acts_after_block0_10240x32.f32", &acts, "ref"))
        return;
    compare(figures("recomputed.json", "sae_on_acts_after_block0_10240x32", NULL), recomputed,
            1e-6);
    finish(&acts);
}
END_TEST

Suite *suite_routing_toy(void)
{
    Suite *s = suite_create("routing_toy");
    TCase *t = tcase_create("routing_toy");
    tcase_add_loop_test(t, embedding_rows, 0, 2);
    tcase_add_test(t, rows_after_block_0);
    suite_add_tcase(s, t);
    return s;
}
