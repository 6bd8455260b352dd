/* tests/support/golden.c - cases of tests/golden/data/variants. */
#include "support/golden.h"

#include "core/memory.h"
#include "support/support.h"

#include <glob.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

static const char pattern[] = "tests/golden/data/variants/*.json";

static json_t *load(const char *file)
{
    json_error_t e;
    json_t *root = json_load_file(file, 0, &e);
    if (!root)
        fprintf(stderr, "%s: %s\n", file, e.text);
    return root;
}

/* Case i of all files, in the order of their names, with its file in *root; NULL past the last one,
 * then *count cases were seen. */
static json_t *find(int i, json_t **root, int *count)
{
    glob_t files;
    json_t *found = NULL;
    *count = 0;
    if (glob(pattern, 0, NULL, &files) != 0) {
        fprintf(stderr, "%s: no file (run from the top of the source tree)\n", pattern);
        return NULL;
    }
    for (size_t f = 0; f < files.gl_pathc && !found; f++) {
        *root = load(files.gl_pathv[f]);
        int here = (int)json_array_size(json_object_get(*root, "cases"));
        if (i >= *count && i < *count + here)
            found = json_array_get(json_object_get(*root, "cases"), (size_t)(i - *count));
        else
            json_decref(*root);
        *count += here;
    }
    globfree(&files);
    return found;
}

int golden_count(void)
{
    json_t *root;
    int count;
    find(INT_MAX, &root, &count);
    return count > 0 ? count : 1; /* without a file, one case fails */
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

/* A tensor of any type from a JSON matrix. */
static void fill_tensor(const sae_tensor *t, const json_t *m)
{
    double row[64];
    if (t->spec->dtype == SAE_REAL) {
        fill(t->w, m, t->rows, t->cols);
        return;
    }
    for (int64_t r = 0; r < t->rows; r++) {
        golden_numbers(json_array_get(m, (size_t)r), row, t->cols);
        for (int64_t i = 0; i < t->cols; i++) {
            int64_t at = r * t->cols + i;
            if (t->spec->dtype == SAE_F64)
                ((double *)t->w)[at] = row[i];
            else
                ((int64_t *)t->w)[at] = (int64_t)row[i];
        }
    }
}

static int64_t whole(const json_t *object, const char *key)
{
    return (int64_t)json_integer_value(json_object_get(object, key));
}

/* ---- what a case may hold beside rows -------------------------------------------------------- */

/* A model with the W_dec and b_dec of the case's "base", and the code that it has for every
 * batch, with what that code decodes to. */
struct golden_base {
    sae_base base; /* first: encode finds the rest from it */
    sae_spec spec;
    sae_model model;
    sae_tape tape;
};

static int base_encode(const sae_base *base, const sae_batch *b, const sae_tape **t, sae_err *err)
{
    (void)b, (void)err;
    *t = &((const struct golden_base *)(const void *)base)->tape;
    return SAE_OK;
}

static void fill_code(sae_code *z, const json_t *entries)
{
    size_t i;
    const json_t *e;
    int64_t r = 0;
    json_array_foreach((json_t *)(uintptr_t)entries, i, e) {
        double v[3];
        golden_numbers(e, v, 3);
        while (r <= (int64_t)v[0])
            z->rowptr[r++] = (int64_t)i;
        z->idx[i] = (int32_t)v[1];
        z->val[i] = (sae_real)v[2];
    }
    z->nnz = (int64_t)json_array_size(entries);
    while (r <= z->B)
        z->rowptr[r++] = z->nnz;
}

static void open_base(golden *g, int64_t d, int64_t n)
{
    const json_t *c = json_object_get(g->c, "base");
    const sae_dims dim = {d, d, n, n};
    if (!c)
        return;
    ck_assert_ok(sae_new(&g->base, 1, sizeof *g->base, "golden", &g->err), g->err);
    struct golden_base *b = g->base;
    ck_assert_ok(sae_spec_parse(&b->spec, g->reg, SAE_KIND_VARIANT, "topk:k=64", &g->err), g->err);
    const sae_variant *v = b->spec.variant;
    const void *opt = sae_opts_base(b->spec.opts);
    ck_assert_ok(sae_model_open(&b->model, v, opt, &dim, &g->e, 0, &g->err), g->err);
    ck_assert_ok(sae_tape_open(&b->tape, v, opt, &dim, g->batch.B, SAE_EVAL, &g->e, &g->err),
                 g->err);
    const char *const name[] = {"W_dec", "b_dec"};
    for (int i = 0; i < 2; i++) {
        const sae_tensor *t = sae_model_tensor(&b->model, name[i]);
        fill(t->w, json_object_get(c, name[i]), t->rows, t->cols);
    }
    fill_code(&b->tape.code, json_object_get(c, "code"));
    ck_assert_ok(
        v->decode(&b->model, &g->ctx, &b->tape.code, (sae_mat){b->tape.xhat, g->batch.B, d, d}),
        g->err);
    b->base = (sae_base){&b->model, base_encode};
    g->ctx.base = &b->base;
}

static void close_base(golden *g)
{
    if (!g->base)
        return;
    sae_tape_close(&g->base->tape, &g->e);
    sae_model_close(&g->base->model, &g->e);
    sae_spec_free(&g->base->spec);
    sae_free(g->base);
}

static void open_truth(golden *g, const sae_dims *dim)
{
    const json_t *m = json_object_get(g->c, "truth");
    if (!m)
        return;
    int64_t n = (int64_t)json_array_size(m);
    ck_assert_ok(sae_new(&g->atoms, n * dim->d_in, sizeof *g->atoms, "golden", &g->err), g->err);
    fill(g->atoms, m, n, dim->d_in);
    g->truth = (sae_truth){n, dim->d_in, g->atoms, NULL, NULL};
    g->ctx.truth = &g->truth;
}

static void open_tokens(golden *g)
{
    size_t r;
    const json_t *row, *all = json_object_get(g->c, "tok");
    if (!all)
        return;
    ck_assert_int_eq((int64_t)json_array_size(all), g->batch.B);
    ck_assert_ok(sae_new(&g->tok, g->batch.B, sizeof *g->tok, "golden", &g->err), g->err);
    json_array_foreach((json_t *)(uintptr_t)all, r, row) {
        double v[3];
        golden_numbers(row, v, 3);
        g->tok[r] = (sae_token){(uint64_t)v[0], (uint32_t)v[1], (uint32_t)v[2]};
    }
    g->batch.tok = g->tok;
}

/* ---- a case ---------------------------------------------------------------------------------- */

static void open_model(golden *g, sae_dims dim, int64_t B)
{
    const void *opt = sae_opts_base(g->spec.opts);
    const sae_variant *v = g->spec.variant;
    const json_t *tensors = json_object_get(g->c, "tensors");
    int64_t atoms = (int64_t)json_array_size(json_object_get(tensors, "W_dec"));
    if (v->caps & SAE_CAP_GROWS)
        dim.n = 0;
    ck_assert_ok(sae_model_open(&g->model, v, opt, &dim, &g->e, 1, &g->err), g->err);
    ck_assert_ok(sae_tape_open(&g->tape, v, opt, &dim, B, SAE_TRAIN, &g->e, &g->err), g->err);
    ck_assert_ok(sae_tape_open(&g->eval, v, opt, &dim, B, SAE_EVAL, &g->e, &g->err), g->err);
    ck_assert_ok(v->init(&g->model, &g->ctx, &g->batch), g->err);
    if (v->caps & SAE_CAP_GROWS && atoms > g->model.dim.n)
        ck_assert_ok(sae_model_grow(&g->model, atoms, &g->err), g->err);
    for (int i = 0; i < g->model.nt; i++) {
        const sae_tensor *t = &g->model.t[i];
        const json_t *m = json_object_get(tensors, t->spec->name);
        if (m)
            fill_tensor(t, m);
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

/* Rows of the case under `key`, or `other` where it has none. */
static const sae_real *rows_of(golden *g, const char *key, int64_t B, int64_t d, sae_real **own,
                               const sae_real *other)
{
    const json_t *m = json_object_get(g->c, key);
    if (!m)
        return other;
    ck_assert_ok(sae_new(own, B * d, sizeof **own, "golden", &g->err), g->err);
    fill(*own, m, B, d);
    return *own;
}

static void open_batch(golden *g, int64_t B, const sae_dims *dim)
{
    g->batch.B = B;
    g->batch.x = rows_of(g, "x", B, dim->d_in, &g->x, NULL);
    g->batch.y = rows_of(g, "y", B, dim->d_out, &g->y, g->x);
    g->batch.g = rows_of(g, "g", B, dim->d_in, &g->g, NULL);
    g->batch.row0 = (uint64_t)whole(g->c, "row0");
}

void golden_open(golden *g, int i)
{
    int count;
    memset(g, 0, sizeof *g);
    g->c = find(i, &g->root, &count);
    ck_assert_msg(g->c != NULL, "%s has no case %d", pattern, i);
    int64_t B = whole(g->root, "B"), d = whole(g->root, "d"), n = whole(g->root, "n");
    int64_t d_out = json_object_get(g->root, "d_out") ? whole(g->root, "d_out") : d;
    const char *spec = json_string_value(json_object_get(g->c, "spec"));
    sae_dims dim = {d, d_out, n, n};
    snprintf(g->name, sizeof g->name, "%s%cn=%d", spec, strchr(spec, ':') ? ',' : ':', (int)n);
    ck_assert_ok(sae_registry_open(&g->reg, &g->err), g->err);
    ck_assert_ok(sae_engine_open(&g->e, sae_find_backend(g->reg, "ref"), 0, 1, &g->err), g->err);
    ck_assert_ok(sae_spec_parse(&g->spec, g->reg, SAE_KIND_VARIANT, g->name, &g->err), g->err);
    open_batch(g, B, &dim);
    open_stats(g, n);
    int64_t steps = whole(g->c, "steps");
    g->ctx = (sae_ctx){.size = sizeof g->ctx, .mode = SAE_TRAIN, .step = whole(g->c, "step"),
                       .steps = steps ? steps : 10, .seed = 1,
                       .opt = sae_opts_base(g->spec.opts), .k = &g->e.k, .dev = g->e.dev,
                       .be = g->e.be, .stats = &g->stats.view, .grow = sae_model_grow,
                       .err = &g->err};
    open_tokens(g);
    open_truth(g, &dim);
    open_base(g, d, n);
    open_model(g, dim, B);
}

void golden_close(golden *g)
{
    sae_tape_close(&g->tape, &g->e);
    sae_tape_close(&g->eval, &g->e);
    sae_stats_close(&g->stats, &g->e);
    sae_model_close(&g->model, &g->e);
    sae_free(g->x);
    sae_free(g->y);
    sae_free(g->g);
    sae_free(g->tok);
    sae_free(g->atoms);
    close_base(g);
    sae_spec_free(&g->spec);
    sae_engine_close(&g->e);
    sae_registry_close(&g->reg);
    json_decref(g->root);
}
