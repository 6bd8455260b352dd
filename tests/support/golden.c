/* tests/support/golden.c - cases of tests/golden/data/variants.json. */
#include "support/golden.h"

#include "core/memory.h"
#include "support/support.h"

#include <stdio.h>
#include <string.h>

static const char file[] = "tests/golden/data/variants.json";

static json_t *load(void)
{
    json_error_t e;
    json_t *root = json_load_file(file, 0, &e);
    if (!root)
        fprintf(stderr, "%s: %s (run from the top of the source tree)\n", file, e.text);
    return root;
}

int golden_count(void)
{
    json_t *root = load();
    int count = (int)json_array_size(json_object_get(root, "cases"));
    json_decref(root);
    return count > 0 ? count : 1; /* without the file, one case fails */
}

void golden_numbers(const json_t *array, double *out, int64_t count)
{
    ck_assert_int_eq((int64_t)json_array_size(array), count);
    for (int64_t i = 0; i < count; i++)
        out[i] = json_number_value(json_array_get(array, (size_t)i));
}

/* A JSON matrix (list of rows) into a row-major array. */
static void fill(sae_real *out, const json_t *m, int64_t rows, int64_t cols)
{
    double row[64];
    ck_assert_int_eq((int64_t)json_array_size(m), rows);
    for (int64_t r = 0; r < rows; r++) {
        golden_numbers(json_array_get(m, (size_t)r), row, cols);
        for (int64_t i = 0; i < cols; i++)
            out[r * cols + i] = (sae_real)row[i];
    }
}

static int64_t whole(const json_t *object, const char *key)
{
    return (int64_t)json_integer_value(json_object_get(object, key));
}

static void open_model(golden *g, const sae_dims *dim, int64_t B)
{
    const void *opt = sae_opts_base(g->spec.opts);
    const sae_variant *v = g->spec.variant;
    const json_t *tensors = json_object_get(g->c, "tensors");
    ck_assert_ok(sae_model_open(&g->model, v, opt, dim, &g->e, 1, &g->err), g->err);
    ck_assert_ok(sae_tape_open(&g->tape, v, opt, dim, B, SAE_TRAIN, &g->e, &g->err), g->err);
    ck_assert_ok(sae_tape_open(&g->eval, v, opt, dim, B, SAE_EVAL, &g->e, &g->err), g->err);
    ck_assert_ok(v->init(&g->model, &g->ctx, &g->batch), g->err);
    for (int i = 0; i < g->model.nt; i++) {
        const sae_tensor *t = &g->model.t[i];
        const json_t *m = json_object_get(tensors, t->spec->name);
        if (m)
            fill(t->w, m, t->rows, t->cols);
        ck_assert_msg(m || t->spec->role == SAE_STATE, "%s has no %s", g->name, t->spec->name);
    }
}

static void open_stats(golden *g, int64_t n)
{
    double fired[64];
    ck_assert_ok(sae_stats_open(&g->stats, n, &g->e, &g->err), g->err);
    golden_numbers(json_object_get(g->c, "last_fired"), fired, n);
    for (int64_t j = 0; j < n; j++)
        g->stats.last_fired[j] = (uint64_t)fired[j];
    g->stats.view.tokens = (uint64_t)whole(g->c, "tokens");
}

void golden_open(golden *g, int i)
{
    memset(g, 0, sizeof *g);
    g->root = load();
    g->c = json_array_get(json_object_get(g->root, "cases"), (size_t)i);
    ck_assert_msg(g->c != NULL, "%s has no case %d", file, i);
    int64_t B = whole(g->root, "B"), d = whole(g->root, "d"), n = whole(g->root, "n");
    sae_dims dim = {d, d, n, n};
    snprintf(g->name, sizeof g->name, "%s,n=%d", json_string_value(json_object_get(g->c, "spec")),
             (int)n);
    ck_assert_ok(sae_registry_open(&g->reg, &g->err), g->err);
    ck_assert_ok(sae_engine_open(&g->e, sae_find_backend(g->reg, "ref"), 0, 1, &g->err), g->err);
    ck_assert_ok(sae_spec_parse(&g->spec, g->reg, SAE_KIND_VARIANT, g->name, &g->err), g->err);
    ck_assert_ok(sae_new(&g->x, B * d, sizeof *g->x, "golden", &g->err), g->err);
    fill(g->x, json_object_get(g->c, "x"), B, d);
    g->batch = (sae_batch){.B = B, .x = g->x, .y = g->x};
    open_stats(g, n);
    g->ctx = (sae_ctx){.size = sizeof g->ctx, .mode = SAE_TRAIN, .steps = 10, .seed = 1,
                       .opt = sae_opts_base(g->spec.opts), .k = &g->e.k, .dev = g->e.dev,
                       .be = g->e.be, .stats = &g->stats.view, .grow = sae_model_grow,
                       .err = &g->err};
    open_model(g, &dim, B);
}

void golden_close(golden *g)
{
    sae_tape_close(&g->tape, &g->e);
    sae_tape_close(&g->eval, &g->e);
    sae_stats_close(&g->stats, &g->e);
    sae_model_close(&g->model, &g->e);
    sae_free(g->x);
    sae_spec_free(&g->spec);
    sae_engine_close(&g->e);
    sae_registry_close(&g->reg);
    json_decref(g->root);
}
