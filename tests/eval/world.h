/* tests/eval/world.h - a small synthetic evaluation batch with everything a metric can ask for, and
 * a recorder of results. Documents have random lengths and rows of one document resemble each
 * other.
 */
#ifndef SAE_TESTS_EVAL_WORLD_H
#define SAE_TESTS_EVAL_WORLD_H

#include "core/memory.h"
#include "core/model.h"
#include "core/registry.h"
#include "core/spec.h"
#include "support/support.h"

#include <math.h>
#include <sae/metric.h>
#include <sae/rng.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { D = 6, N = 10, ATOMS = 7, ROWS = 240, RESULTS = 64, POINTS = 4096 };

typedef struct world {
    int64_t rows, T;
    sae_real x[ROWS * D], xhat[ROWS * D], g[ROWS * D];
    sae_real w_dec[N * D], w_enc[N * D], dict[ATOMS * D];
    sae_real z[ROWS * N], truth[ROWS * ATOMS]; /* dense; zero where inactive */
    sae_token tok[ROWS];
    int32_t label[ROWS];
    double loss[8][ROWS]; /* in the order of sae_splice */
    unsigned char kept[ROWS];
    int32_t top[2][ROWS];
    uint64_t last_fired[N], fire_count[N];
    double scale;
    uint64_t caps;
} world;

/* ---- a model that is only a dictionary ------------------------------------------------------- */

static const sae_tensor_spec world_tensors[] = {
    {"W_enc", SAE_PARAM, SAE_REAL, 0, SAE_DIM_N, SAE_DIM_IN},
    {"W_dec", SAE_PARAM, SAE_REAL, 0, SAE_DIM_N, SAE_DIM_OUT},
    {0}};

static inline uint64_t world_caps(const void *opt)
{
    (void)opt;
    return UINT64_MAX;
}

/* ---- recorder -------------------------------------------------------------------------------- */

typedef struct results {
    int rows, points;
    struct {
        char key[64];
        double value, se;
        int64_t count;
        enum sae_better better;
    } row[RESULTS];
    struct {
        char key[32];
        int64_t index;
        double value;
    } point[POINTS];
} results;

static inline int record_row(void *sink, const sae_row *row)
{
    results *o = sink;
    ck_assert_int_lt(o->rows, RESULTS);
    snprintf(o->row[o->rows].key, sizeof o->row[0].key, "%s", row->key);
    o->row[o->rows].value = row->value;
    o->row[o->rows].se = row->se;
    o->row[o->rows].count = row->count;
    ck_assert(row->unit && row->unit[0]);
    o->row[o->rows++].better = row->better;
    return SAE_OK;
}

static inline int record_point(void *sink, const sae_series *p)
{
    results *o = sink;
    ck_assert_int_lt(o->points, POINTS);
    snprintf(o->point[o->points].key, sizeof o->point[0].key, "%s", p->key);
    o->point[o->points].index = p->index;
    o->point[o->points++].value = p->value;
    return SAE_OK;
}

static inline int find_row(const results *o, const char *key)
{
    for (int i = 0; i < o->rows; i++)
        if (!strcmp(o->row[i].key, key))
            return i;
    ck_abort_msg("no result named %s", key);
    return -1;
}
static inline double value_of(const results *o, const char *key)
{
    return o->row[find_row(o, key)].value;
}
static inline double se_of(const results *o, const char *key)
{
    return o->row[find_row(o, key)].se;
}

/* ---- the world ------------------------------------------------------------------------------- */

static inline double draw(uint64_t seed, uint64_t row, uint32_t i)
{
    return sae_normal(seed, SAE_STREAM_SYNTHETIC, row, i);
}

/* Rows of one document share a random offset, so that they are not independent. */
static inline void world_fill(world *w, uint64_t seed)
{
    memset(w, 0, sizeof *w);
    w->rows = w->T = ROWS;
    w->scale = 1;
    uint64_t doc = 0;
    uint32_t pos = 0;
    for (int64_t r = 0; r < ROWS; r++) {
        w->tok[r] = (sae_token){doc, pos++, (uint32_t)r % 50};
        w->label[r] = (int32_t)(doc % 3);
        for (int i = 0; i < D; i++) {
            double x = 1 + draw(seed, doc, 100u + (uint32_t)i) + draw(seed, 1000u + (uint64_t)r,
                                                                      (uint32_t)i);
            double e = (0.3 + 0.1 * fabs(draw(seed, doc, 99))) *
                       draw(seed, 2000u + (uint64_t)r, (uint32_t)i);
            w->x[r * D + i] = (sae_real)x;
            w->xhat[r * D + i] = (sae_real)(0.9 * x + e);
        }
        for (int j = 0; j < N; j++) {
            double v = draw(seed, 3000u + (uint64_t)r, (uint32_t)j) - 0.5;
            w->z[r * N + j] = (sae_real)(v > 0 && j != 3 ? v : 0); /* feature 3 is dead */
        }
        for (int j = 0; j < ATOMS; j++) {
            double v = draw(seed, 4000u + (uint64_t)r, (uint32_t)j) - 0.3;
            w->truth[r * ATOMS + j] = (sae_real)(v > 0 ? v : 0);
        }
        w->kept[r] = w->tok[r].pos > 0;
        w->top[0][r] = (int32_t)(r % 7);
        w->top[1][r] = r % 4 ? w->top[0][r] : 9;
        for (int k = 0; k < 8; k++) /* clean < spliced < ablated, by clear margins */
            w->loss[k][r] = 1 + (k == 1) * 0.2 + (k == 2) * 3 + (k == 3) * 2 + (k > 5) * 4 +
                            0.1 * fabs(draw(seed, 5000u + (uint64_t)r, (uint32_t)k)) +
                            0.1 * fabs(draw(seed, doc, 98));
        if (sae_philox(seed, SAE_STREAM_SYNTHETIC, 6000u + (uint64_t)r, 0).v[0] % 5 == 0) {
            doc++;
            pos = 0;
        }
    }
    for (uint32_t i = 0; i < N * D; i++) {
        w->w_dec[i] = (sae_real)draw(seed, 7000, i);
        w->w_enc[i] = (sae_real)draw(seed, 7001, i);
    }
    for (int j = 0; j < ATOMS; j++) {
        double norm = 0;
        for (uint32_t i = 0; i < D; i++)
            norm += pow(draw(seed, 7002u + (uint64_t)j, i), 2);
        for (uint32_t i = 0; i < D; i++)
            w->dict[j * D + (int)i] = (sae_real)(draw(seed, 7002u + (uint64_t)j, i) / sqrt(norm));
    }
    for (int j = 0; j < N; j++) {
        w->fire_count[j] = (uint64_t)j * 10;
        w->last_fired[j] = (uint64_t)j * 100;
    }
}

static const char *const world_classes[] = {"zero", "one", "two"};
static const sae_label world_labels[] = {{"third", 3, world_classes, 0}};

/* ---- measuring ------------------------------------------------------------------------------- */

typedef struct bench {
    sae_registry *reg;
    sae_engine e;
    sae_variant v;
    sae_model m;
    sae_stats stats;
    sae_ctx c;
    sae_truth truth;
    sae_measure r;
    sae_spec spec;
    sae_err err;
} bench;

/* One metric, from a spec string, over the world's model. */
static inline void bench_open(bench *b, world *w, const char *metric)
{
    memset(b, 0, sizeof *b);
    ck_assert_ok(sae_registry_open(&b->reg, &b->err), b->err);
    ck_assert_ok(sae_engine_open(&b->e, sae_find_backend(b->reg, "ref"), 0, 1, &b->err), b->err);
    ck_assert_ok(sae_spec_parse(&b->spec, b->reg, SAE_KIND_METRIC, metric, &b->err), b->err);
    b->v = (sae_variant){.name = "world", .tensors = world_tensors, .caps = w->caps,
                         .caps_for = world_caps};
    b->m = (sae_model){.v = &b->v, .dim = {D, D, N, N}, .nt = 2};
    b->m.t[0] = (sae_tensor){.spec = &world_tensors[0], .rows = N, .cols = D, .w = w->w_enc};
    b->m.t[1] = (sae_tensor){.spec = &world_tensors[1], .rows = N, .cols = D, .w = w->w_dec};
    b->stats = (sae_stats){N, 1000, w->last_fired, w->fire_count};
    b->c = (sae_ctx){.size = sizeof b->c, .mode = SAE_EVAL, .k = &b->e.k, .dev = b->e.dev,
                     .be = b->e.be, .stats = &b->stats, .err = &b->err};
    b->truth = (sae_truth){ATOMS, D, w->dict, NULL};
    b->r = (sae_measure){.size = sizeof b->r, .m = &b->m, .c = &b->c,
                         .opt = sae_opts_base(b->spec.opts), .truth = &b->truth,
                         .label = world_labels, .labels = 1, .scale = w->scale,
                         .emit = record_row, .point = record_point};
}

static inline void bench_close(bench *b)
{
    sae_spec_free(&b->spec);
    sae_engine_close(&b->e);
    sae_registry_close(&b->reg);
}

static inline void *bench_begin(bench *b)
{
    void *state = sae_alloc(b->spec.metric->state_size(&b->r));
    ck_assert_ptr_nonnull(state);
    ck_assert_ok(b->spec.metric->begin(&b->r, state), b->err);
    return state;
}

/* Compressed rows of a dense table, NULL-terminated memory of the caller's scope. */
typedef struct sparse {
    int64_t rowptr[ROWS + 1];
    int32_t idx[ROWS * N];
    sae_real val[ROWS * N];
    sae_code code;
} sparse;

static inline const sae_code *compress(sparse *s, const sae_real *z, int64_t B, int64_t n)
{
    int64_t nnz = 0;
    for (int64_t r = 0; r < B; r++) {
        s->rowptr[r] = nnz;
        for (int64_t j = 0; j < n; j++)
            if (z[r * n + j] != 0 || j == 0) { /* an entry that is listed but zero is inactive */
                s->idx[nnz] = (int32_t)j;
                s->val[nnz++] = z[r * n + j];
            }
    }
    s->rowptr[B] = nnz;
    s->code = (sae_code){.B = B, .n = n, .nnz = nnz, .cap = ROWS * N, .rowptr = s->rowptr,
                         .idx = s->idx, .val = s->val};
    return &s->code;
}

/* Show rows [first, first + B) and as many tokens of the splice. */
static inline void bench_show(bench *b, void *state, world *w, int64_t first, int64_t B, int dense)
{
    static sparse code, truth;
    sae_code flat = {.B = B, .n = N, .nnz = B * N, .cap = B * N, .dense = 1,
                     .val = w->z + first * N};
    sae_truth t = b->truth;
    t.code = compress(&truth, w->truth + first * ATOMS, B, ATOMS);
    sae_splice splice = {.T = B, .P = B, .tok = w->tok + first, .kept = w->kept + first,
                         .ce_clean = w->loss[0] + first, .ce_splice = w->loss[1] + first,
                         .ce_zero = w->loss[2] + first, .ce_mean = w->loss[3] + first,
                         .kl_splice = w->loss[4] + first, .kl_zero = w->loss[5] + first,
                         .top_clean = w->top[0] + first, .top_splice = w->top[1] + first,
                         .ce_zero_all = w->loss[6] + first, .kl_zero_all = w->loss[7] + first};
    sae_eval e = {.B = B, .d = D, .x = w->x + first * D, .xhat = w->xhat + first * D,
                  .g = w->g + first * D,
                  .code = dense ? &flat : compress(&code, w->z + first * N, B, N),
                  .tok = w->tok + first, .label = w->label + first, .truth = &t,
                  .splice = &splice, .row0 = (uint64_t)first};
    ck_assert_ok(b->spec.metric->batch(&b->r, state, &e), b->err);
}

static inline void bench_end(bench *b, void *state, results *out)
{
    memset(out, 0, sizeof *out);
    b->r.sink = out;
    ck_assert_int_eq(b->spec.metric->end(&b->r, state), SAE_OK);
    sae_free(state);
}

/* The metric over rows [0, w->rows) in batches of `cut`. */
static inline void measure(world *w, const char *metric, int64_t cut, int dense, results *out)
{
    bench b;
    bench_open(&b, w, metric);
    void *state = bench_begin(&b);
    for (int64_t r = 0; r < w->rows; r += cut)
        bench_show(&b, state, w, r, w->rows - r < cut ? w->rows - r : cut, dense);
    bench_end(&b, state, out);
    bench_close(&b);
}

#endif
