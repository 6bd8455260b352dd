/* tests/golden/metrics.c - metrics against scripts/golden/metric_*.py; the format is in
 * tests/golden/README.md.
 *
 * Bound: |got - expected| <= PATH u size, with size from the file: the sum of the absolute values
 * of the terms a value is made of, times what the steps after the sum magnify; PATH is more than
 * the roundings on any path of these small cases. u is double's, or float's where the file says
 * that the value passes through float kernels.
 */
#include "core/memory.h"
#include "core/model.h"
#include "core/registry.h"
#include "core/spec.h"
#include "support/golden.h"
#include "support/head_lm.h"
#include "support/support.h"

#include <dirent.h>
#include <math.h>
#include <sae/metric.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PATH = 1024, ROWS = 256, POINTS = 8192, TENSORS = 4, CUT = 3 };

typedef struct results {
    int rows, points;
    struct {
        char key[64];
        double value, se;
    } row[ROWS];
    struct {
        char key[64];
        int64_t index;
        double value;
    } point[POINTS];
} results;

/* A case with everything a metric can be shown. */
typedef struct rig {
    const json_t *c;
    char name[320];
    sae_registry *reg;
    sae_engine e;
    sae_spec spec;
    sae_variant v;
    sae_tensor_spec tensor[TENSORS + 1];
    sae_model m;
    sae_stats_store stats;
    sae_ctx ctx;
    sae_measure r;
    sae_err err;
    int64_t B, d, n;
    sae_real *x, *xhat, *g;
    sae_token *tok;
    sae_norm_row *norm;
    int32_t *label;
    sae_code code, truth_code;
    sae_truth truth;
    sae_tensor_spec peer_tensor[TENSORS + 1];
    sae_model peer_m;
    sae_code peer_code;
    sae_real *peer_xhat;
    sae_peer peer;
    sae_splice splice; /* P == 0: none */
    head_lm lm;        /* head NULL: none */
    const int32_t *next;
    void *kept[64]; /* released at the end */
    int held;
} rig;

static results got;

static int record_row(void *sink, const sae_row *row)
{
    results *o = sink;
    ck_assert_int_lt(o->rows, ROWS);
    snprintf(o->row[o->rows].key, sizeof o->row[0].key, "%s", row->key);
    o->row[o->rows].value = row->value;
    o->row[o->rows++].se = row->se;
    return SAE_OK;
}

static int record_point(void *sink, const sae_series *p)
{
    results *o = sink;
    ck_assert_int_lt(o->points, POINTS);
    snprintf(o->point[o->points].key, sizeof o->point[0].key, "%s", p->key);
    o->point[o->points].index = p->index;
    o->point[o->points++].value = p->value;
    return SAE_OK;
}

/* ---- a case ---------------------------------------------------------------------------------- */

static void *keep(rig *g, size_t bytes)
{
    ck_assert_int_lt(g->held, (int)(sizeof g->kept / sizeof g->kept[0]));
    void *p = sae_alloc(bytes ? bytes : 1);
    ck_assert_ptr_nonnull(p);
    g->kept[g->held++] = p;
    return p;
}

static int64_t count_of(const json_t *rows)
{
    return (int64_t)json_array_size(rows);
}

static int64_t integer(const json_t *list, int64_t i)
{
    return json_integer_value(json_array_get(list, (size_t)i));
}

/* A list of rows as a matrix; NULL when the case has none. */
static sae_real *matrix(rig *g, const json_t *rows, int64_t cols)
{
    if (!rows)
        return NULL;
    int64_t count = count_of(rows);
    sae_real *out = keep(g, (size_t)(count * cols) * sizeof *out);
    double *row = keep(g, (size_t)cols * sizeof *row);
    for (int64_t i = 0; i < count; i++) {
        golden_numbers(json_array_get(rows, (size_t)i), row, cols);
        for (int64_t j = 0; j < cols; j++)
            out[i * cols + j] = (sae_real)row[j];
    }
    return out;
}

static void read_tensors(rig *g, const json_t *from, sae_tensor_spec *spec, sae_model *m)
{
    static const struct {
        const char *name;
        int64_t rows, cols;
    } known[TENSORS] = {{"W_enc", SAE_DIM_N, SAE_DIM_IN},
                        {"b_enc", SAE_DIM_1, SAE_DIM_N},
                        {"W_dec", SAE_DIM_N, SAE_DIM_OUT},
                        {"b_dec", SAE_DIM_1, SAE_DIM_OUT}};
    for (int i = 0; i < TENSORS; i++) {
        const json_t *rows = json_object_get(from, known[i].name);
        int64_t cols = known[i].cols == SAE_DIM_N ? g->n : g->d;
        if (!rows)
            continue;
        ck_assert_int_eq(count_of(rows), known[i].rows == SAE_DIM_N ? g->n : 1);
        spec[m->nt] = (sae_tensor_spec){known[i].name, SAE_PARAM, SAE_REAL, 0, known[i].rows,
                                        known[i].cols};
        m->t[m->nt] = (sae_tensor){.spec = &spec[m->nt], .rows = count_of(rows), .cols = cols,
                                   .w = matrix(g, rows, cols)};
        m->nt++;
    }
}

/* Entries [row, feature, value] in order. */
static sae_code read_code(rig *g, const json_t *list, int64_t n)
{
    int64_t nnz = count_of(list), at = 0;
    int64_t *rowptr = keep(g, (size_t)(g->B + 1) * sizeof *rowptr);
    int32_t *idx = keep(g, (size_t)nnz * sizeof *idx);
    sae_real *val = keep(g, (size_t)nnz * sizeof *val);
    for (int64_t r = 0; r < g->B; r++) {
        rowptr[r] = at;
        for (; at < nnz; at++) {
            double e[3];
            golden_numbers(json_array_get(list, (size_t)at), e, 3);
            if ((int64_t)e[0] != r)
                break;
            idx[at] = (int32_t)e[1];
            val[at] = (sae_real)e[2];
        }
    }
    ck_assert_int_eq(at, nnz);
    rowptr[g->B] = nnz;
    return (sae_code){.B = g->B, .n = n, .nnz = nnz, .cap = nnz, .rowptr = rowptr, .idx = idx,
                      .val = val};
}

static const int32_t *ids(rig *g, const json_t *list)
{
    int32_t *out = list ? keep(g, (size_t)count_of(list) * sizeof *out) : NULL;
    for (int64_t i = 0; i < count_of(list); i++)
        out[i] = (int32_t)integer(list, i);
    return out;
}

/* "truth": {dict, code, parent}, "peer": {W_dec and other tensors, code, scale}. */
static void read_truth_and_peer(rig *g)
{
    const json_t *truth = json_object_get(g->c, "truth"), *peer = json_object_get(g->c, "peer");
    if (truth) {
        const json_t *dict = json_object_get(truth, "dict");
        g->truth = (sae_truth){.n = count_of(dict), .d = g->d, .dict = matrix(g, dict, g->d)};
        g->truth_code = read_code(g, json_object_get(truth, "code"), g->truth.n);
        g->truth.parent = ids(g, json_object_get(truth, "parent"));
        g->r.truth = &g->truth;
    }
    if (peer) {
        g->peer_m = (sae_model){.v = &g->v, .dim = g->m.dim};
        read_tensors(g, peer, g->peer_tensor, &g->peer_m);
        g->peer_xhat = matrix(g, json_object_get(peer, "xhat"), g->d);
        g->peer_code = read_code(g, json_object_get(peer, "code"), g->n);
        g->peer = (sae_peer){&g->peer_m, &g->ctx, "golden", 1,
                             json_number_value(json_object_get(peer, "scale"))};
        g->r.peer = &g->peer;
    }
}

static void read_rows(rig *g)
{
    const json_t *tok = json_object_get(g->c, "tok"), *norm = json_object_get(g->c, "norm");
    g->x = matrix(g, json_object_get(g->c, "x"), g->d);
    g->xhat = matrix(g, json_object_get(g->c, "xhat"), g->d);
    g->g = matrix(g, json_object_get(g->c, "g"), g->d);
    g->tok = keep(g, (size_t)g->B * sizeof *g->tok);
    if (norm)
        g->norm = keep(g, (size_t)g->B * sizeof *g->norm);
    for (int64_t r = 0; r < g->B; r++) {
        double t[3] = {(double)r, 0, 0}, u[2];
        if (tok)
            golden_numbers(json_array_get(tok, (size_t)r), t, 3);
        g->tok[r] = (sae_token){(uint64_t)t[0], (uint32_t)t[1], (uint32_t)t[2]};
        if (norm) {
            golden_numbers(json_array_get(norm, (size_t)r), u, 2);
            g->norm[r] = (sae_norm_row){u[0], u[1]};
        }
    }
}

/* "labels": [{name, bidirectional, classes: [names], of: [class of each row]}]. */
static void read_labels(rig *g)
{
    const json_t *list = json_object_get(g->c, "labels");
    int64_t count = count_of(list);
    if (!count)
        return;
    sae_label *label = keep(g, (size_t)count * sizeof *label);
    g->label = keep(g, (size_t)(g->B * count) * sizeof *g->label);
    for (int64_t l = 0; l < count; l++) {
        const json_t *o = json_array_get(list, (size_t)l), *names = json_object_get(o, "classes");
        const char **name = keep(g, (size_t)count_of(names) * sizeof *name);
        for (int64_t k = 0; k < count_of(names); k++)
            name[k] = json_string_value(json_array_get(names, (size_t)k));
        label[l] = (sae_label){json_string_value(json_object_get(o, "name")), count_of(names), name,
                               json_is_true(json_object_get(o, "bidirectional"))};
        const json_t *of = json_object_get(o, "of");
        for (int64_t r = 0; r < g->B; r++)
            g->label[r * count + l] = (int32_t)integer(of, r);
    }
    g->r.label = label;
    g->r.labels = count;
}

static const double *doubles(rig *g, const json_t *list)
{
    double *out = keep(g, (size_t)count_of(list) * sizeof *out);
    golden_numbers(list, out, count_of(list));
    return out;
}

/* "splice": the members of sae_splice by name. */
static void read_splice(rig *g)
{
    const json_t *o = json_object_get(g->c, "splice"), *tok = json_object_get(o, "tok");
    int64_t P = count_of(tok);
    if (!o)
        return;
    sae_token *at = keep(g, (size_t)P * sizeof *at);
    unsigned char *kept = keep(g, (size_t)P);
    for (int64_t i = 0; i < P; i++) {
        double t[3];
        golden_numbers(json_array_get(tok, (size_t)i), t, 3);
        at[i] = (sae_token){(uint64_t)t[0], (uint32_t)t[1], (uint32_t)t[2]};
        kept[i] = integer(json_object_get(o, "kept"), i) != 0;
    }
    g->splice = (sae_splice){.T = json_integer_value(json_object_get(o, "T")),
                             .P = P,
                             .tok = at,
                             .kept = kept,
                             .ce_clean = doubles(g, json_object_get(o, "ce_clean")),
                             .ce_splice = doubles(g, json_object_get(o, "ce_splice")),
                             .ce_zero = doubles(g, json_object_get(o, "ce_zero")),
                             .ce_mean = doubles(g, json_object_get(o, "ce_mean")),
                             .kl_splice = doubles(g, json_object_get(o, "kl_splice")),
                             .kl_zero = doubles(g, json_object_get(o, "kl_zero")),
                             .ce_zero_all = doubles(g, json_object_get(o, "ce_zero_all")),
                             .kl_zero_all = doubles(g, json_object_get(o, "kl_zero_all")),
                             .top_clean = ids(g, json_object_get(o, "top_clean")),
                             .top_splice = ids(g, json_object_get(o, "top_splice"))};
}

/* "lm": {head: rows, next: [token that follows each row]}. */
static void read_lm(rig *g)
{
    const json_t *o = json_object_get(g->c, "lm"), *head = json_object_get(o, "head");
    if (!o)
        return;
    g->lm = (head_lm){g->d, count_of(head), matrix(g, head, g->d)};
    g->next = ids(g, json_object_get(o, "next"));
    ck_assert_int_le(g->lm.vocab, HEAD_VOCAB);
}

/* "stats": {tokens, fire_count} of training. */
static void read_stats(rig *g)
{
    const json_t *o = json_object_get(g->c, "stats"), *fires = json_object_get(o, "fire_count");
    g->stats.view.tokens = (uint64_t)json_integer_value(json_object_get(o, "tokens"));
    for (int64_t j = 0; j < count_of(fires); j++)
        g->stats.fire_count[j] = (uint64_t)integer(fires, j);
}

static uint64_t all_caps(const void *opt)
{
    (void)opt;
    return UINT64_MAX;
}

static void rig_open(rig *g, const json_t *root, const json_t *c)
{
    memset(g, 0, sizeof *g);
    g->c = c;
    const json_t *n = json_object_get(c, "n");
    g->d = json_integer_value(json_object_get(root, "d"));
    g->n = json_integer_value(n ? n : json_object_get(root, "n"));
    g->B = count_of(json_object_get(c, "x"));
    const char *spec = json_string_value(json_object_get(c, "metric"));
    snprintf(g->name, sizeof g->name, "%s", spec);
    ck_assert_ok(sae_registry_open(&g->reg, &g->err), g->err);
    ck_assert_ok(sae_engine_open(&g->e, sae_find_backend(g->reg, "ref"), 0, 1, &g->err), g->err);
    ck_assert_ok(sae_spec_parse(&g->spec, g->reg, SAE_KIND_METRIC, spec, &g->err), g->err);
    ck_assert_ok(sae_stats_open(&g->stats, g->n, &g->e, &g->err), g->err);
    g->v = (sae_variant){.name = "golden", .tensors = g->tensor, .caps_for = all_caps};
    g->v.caps = json_is_true(json_object_get(c, "signed")) ? SAE_CAP_SIGNED : 0;
    g->m = (sae_model){.v = &g->v, .dim = {g->d, g->d, g->n, g->n}};
    read_tensors(g, c, g->tensor, &g->m);
    read_rows(g);
    g->code = read_code(g, json_object_get(c, "code"), g->n);
    read_labels(g);
    read_truth_and_peer(g);
    read_splice(g);
    read_lm(g);
    read_stats(g);
    const json_t *scale = json_object_get(c, "scale");
    g->ctx = (sae_ctx){.size = sizeof g->ctx, .mode = SAE_EVAL, .k = &g->e.k, .dev = g->e.dev,
                       .be = g->e.be, .stats = &g->stats.view, .err = &g->err};
    g->r.size = sizeof g->r;
    g->r.m = &g->m;
    g->r.c = &g->ctx;
    g->r.opt = sae_opts_base(g->spec.opts);
    g->r.scale = scale ? json_number_value(scale) : 1;
    g->r.emit = record_row;
    g->r.point = record_point;
    g->r.sink = &got;
}

static void rig_close(rig *g)
{
    for (int i = 0; i < g->held; i++)
        sae_free(g->kept[i]);
    sae_stats_close(&g->stats, &g->e);
    sae_spec_free(&g->spec);
    sae_engine_close(&g->e);
    sae_registry_close(&g->reg);
}

/* Rows [r, r + B) of a code, which may be empty. */
static sae_code cut(const sae_code *z, int64_t r, int64_t B)
{
    sae_code out = *z;
    if (!z->rowptr)
        return out;
    out.B = B;
    out.rowptr += r;
    out.nnz = out.rowptr[B] - out.rowptr[0];
    return out;
}

/* Passes of a metric's own over rows [r, r + B), after a position that SAEs do not see, where every
 * token is equally likely. Its log-probabilities come last. */
typedef struct passes {
    head_pass pass;
    int64_t at[CUT + 1], row[CUT + 1];
    int32_t next[CUT + 1];
    sae_token tok[CUT + 1];
    sae_real logprob[(CUT + 1) * HEAD_VOCAB];
    double ce[CUT + 1];
    sae_splice splice;
    sae_insert insert;
} passes;

static int run_passes(void *self, const sae_real *x, const sae_insert_out *out)
{
    passes *p = self;
    int64_t vocab = p->pass.lm.vocab;
    double likely = -log((double)vocab);
    sae_insert_out seen = *out;
    if (out->ce) {
        out->ce[0] = out->expect && out->expect[0] < 0 ? (double)NAN : -likely;
        seen.ce++;
    }
    if (out->kl) {
        out->kl[0] = 0;
        seen.kl++;
    }
    if (out->expect)
        seen.expect++;
    for (int64_t v = 0; out->logprob && v < vocab; v++)
        out->logprob[p->pass.B * vocab + v] = (sae_real)likely;
    return head_insert(&p->pass, x, &seen);
}

static void open_passes(passes *p, const rig *g, int64_t r, int64_t B)
{
    sae_insert_out out = {.logprob = p->logprob, .ce = p->ce};
    int64_t T = B + 1;
    p->pass = (head_pass){g->lm, B, g->x + r * g->d, g->next + r};
    p->tok[0] = (sae_token){g->tok[r].doc, 0, 0};
    p->row[0] = -1;
    p->at[0] = B;
    p->next[0] = 0;
    for (int64_t t = 1; t < T; t++) {
        p->tok[t] = g->tok[r + t - 1];
        p->row[t] = p->at[t] = t - 1;
        p->next[t] = g->next[r + t - 1];
    }
    run_passes(p, p->pass.x, &out);
    p->splice = (sae_splice){.T = T, .P = T, .tok = p->tok, .ce_clean = p->ce};
    p->insert = (sae_insert){T, g->lm.vocab, p->at, p->row, p->next, p->logprob, p, run_passes};
}

/* The losses come with the first batch. */
static void show_rows(rig *g, void *state)
{
    static const sae_splice none;
    static passes own;
    for (int64_t r = 0; r < g->B; r += CUT) {
        int64_t B = g->B - r < CUT ? g->B - r : CUT;
        sae_code z = cut(&g->code, r, B), true_code = cut(&g->truth_code, r, B);
        sae_code other = cut(&g->peer_code, r, B);
        sae_truth truth = g->truth;
        sae_eval_peer peer = {g->peer_xhat ? g->peer_xhat + r * g->d : NULL, &other};
        truth.code = &true_code;
        sae_eval e = {.B = B, .d = g->d, .x = g->x + r * g->d,
                      .xhat = g->xhat ? g->xhat + r * g->d : NULL,
                      .g = g->g ? g->g + r * g->d : NULL, .code = &z, .tok = g->tok + r,
                      .label = g->label ? g->label + r * g->r.labels : NULL,
                      .norm = g->norm ? g->norm + r : NULL, .truth = g->r.truth ? &truth : NULL,
                      .peer = g->r.peer ? &peer : NULL,
                      .splice = !g->splice.P ? NULL : r == 0 ? &g->splice : &none,
                      .row0 = (uint64_t)r};
        if (g->lm.head) {
            open_passes(&own, g, r, B);
            e.splice = &own.splice;
            e.insert = &own.insert;
        }
        ck_assert_ok(g->spec.metric->batch(&g->r, state, &e), g->err);
    }
}

static void measure(rig *g)
{
    void *state = sae_alloc(g->spec.metric->state_size(&g->r));
    int rc;
    memset(&got, 0, sizeof got);
    ck_assert_ptr_nonnull(state);
    ck_assert_ok(g->spec.metric->begin(&g->r, state), g->err);
    do {
        show_rows(g, state);
        rc = g->spec.metric->end(&g->r, state);
        ck_assert_ok(rc, g->err);
    } while (rc == SAE_AGAIN);
    sae_free(state);
}

/* ---- comparison ------------------------------------------------------------------------------ */

/* [value, size] or [value, size, true] (float); null: undefined. */
static void check_number(const rig *g, const char *what, const char *key, double value,
                         const json_t *want)
{
    if (json_is_null(want)) {
        ck_assert_msg(isnan(value), "%s: %s%s is %.17g, expected undefined", g->name, what, key,
                      value);
        return;
    }
    double expected = json_number_value(json_array_get(want, 0));
    double size = json_number_value(json_array_get(want, 1));
    double unit = json_is_true(json_array_get(want, 2)) ? 0x1p-24 : 0x1p-53;
    ck_assert_msg(fabs(value - expected) <= PATH * unit * size,
                  "%s: %s%s is %.17g, expected %.17g", g->name, what, key, value, expected);
}

static int row_named(const rig *g, const char *key)
{
    for (int i = 0; i < got.rows; i++)
        if (!strcmp(got.row[i].key, key))
            return i;
    ck_abort_msg("%s: no %s", g->name, key);
    return -1;
}

static void check_series(const rig *g, const char *key, const json_t *want)
{
    size_t at = 0;
    for (int i = 0; i < got.points; i++) {
        if (strcmp(got.point[i].key, key) != 0)
            continue;
        const json_t *p = json_array_get(want, at++);
        ck_assert_msg(p != NULL, "%s: %s has too many points", g->name, key);
        ck_assert_int_eq(got.point[i].index, json_integer_value(json_array_get(p, 0)));
        check_number(g, "series ", key, got.point[i].value, json_array_get(p, 1));
    }
    ck_assert_int_eq((int)at, (int)json_array_size(want));
}

static void check_case(const json_t *root, const json_t *c)
{
    const char *key;
    json_t *want;
    rig g;
    rig_open(&g, root, c);
    measure(&g);
    json_object_foreach(json_object_get(c, "rows"), key, want)
        check_number(&g, "", key, got.row[row_named(&g, key)].value, want);
    json_object_foreach(json_object_get(c, "se"), key, want)
        check_number(&g, "se of ", key, got.row[row_named(&g, key)].se, want);
    json_object_foreach(json_object_get(c, "series"), key, want) check_series(&g, key, want);
    ck_assert_int_eq(got.rows, (int)json_object_size(json_object_get(c, "rows")));
    rig_close(&g);
}

static const char dir[] = "tests/golden/data/metrics";

START_TEST(every_file)
{
    DIR *d = opendir(dir);
    int cases = 0;
    ck_assert_ptr_nonnull(d);
    for (struct dirent *f = readdir(d); f; f = readdir(d)) {
        char path[512];
        json_error_t at;
        if (!strstr(f->d_name, ".json"))
            continue;
        snprintf(path, sizeof path, "%s/%s", dir, f->d_name);
        json_t *root = json_load_file(path, 0, &at);
        ck_assert_msg(root != NULL, "%s:%d: %s", path, at.line, at.text);
        const json_t *list = json_object_get(root, "cases");
        ck_assert_msg(json_array_size(list) > 0, "%s has no cases", path);
        for (size_t i = 0; i < json_array_size(list); i++, cases++)
            check_case(root, json_array_get(list, i));
        json_decref(root);
    }
    closedir(d);
    ck_assert_int_ge(cases, 4);
}
END_TEST

START_TEST(every_family_has_a_file)
{
    sae_registry *reg;
    sae_err err = {0};
    ck_assert_ok(sae_registry_open(&reg, &err), err);
    for (const sae_metric *const *m = sae_all_metrics(reg); *m; m++) {
        char path[512];
        snprintf(path, sizeof path, "%s/%s.json", dir, (*m)->name);
        FILE *f = fopen(path, "r");
        ck_assert_msg(f != NULL, "no %s: metrics/README.md says how it is made", path);
        fclose(f);
    }
    sae_registry_close(&reg);
}
END_TEST

Suite *suite_metrics(void)
{
    Suite *s = suite_create("metrics");
    TCase *t = tcase_create("metrics");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, every_file);
    tcase_add_test(t, every_family_has_a_file);
    suite_add_tcase(s, t);
    return s;
}
