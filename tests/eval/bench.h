/* tests/eval/bench.h - one metric at work on the world, and a recorder of what it emits. */
#ifndef SAE_TESTS_EVAL_BENCH_H
#define SAE_TESTS_EVAL_BENCH_H

#include "eval/world.h"

enum { RESULTS = 512, POINTS = 8192 };

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

/* ---- measuring ------------------------------------------------------------------------------- */

/* What a family needs to emit everything on the world, its name where that is nothing. */
static inline const char *spec_of(const char *family)
{
    static const char *const specs[] = {
        "absorption:labels=\"gender sentiment\",min_rows=2,min_f1=0",
        "attribution:rows=200",
        "darkmatter:min_rows=2",
        "error_scaling:min_rows=2",
        "mdl:fvu=0.5",
        "meta:steps=20,batch=4,k=2,width=0.5",
        "probing:min_rows=4",
        "ravel:first=gender,second=sentiment,stride=1,sources=32,steps=2,step_rows=150",
        "scr:min_rows=2,target=gender,spurious=sentiment",
        "steering:label=gender,purity=0.5,seen=1",
        "tpp:min_rows=2",
        "unlearning:label=gender,class=1,features=3,retain_density=1"};
    size_t len = strlen(family);
    for (size_t i = 0; i < sizeof specs / sizeof specs[0]; i++)
        if (!strncmp(specs[i], family, len) && specs[i][len] == ':')
            return specs[i];
    return family;
}

typedef struct bench {
    sae_registry *reg;
    sae_engine e;
    sae_variant v;
    sae_model m, peer_m;
    sae_stats stats;
    sae_ctx c;
    sae_truth truth;
    sae_peer peer;
    sae_measure r;
    sae_spec spec;
    int64_t passes; /* that have ended, by bench_pass */
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
    b->truth = (sae_truth){ATOMS, D, w->dict, NULL, w->parent};
    b->peer_m = b->m;
    b->peer_m.t[1].w = w->peer_w_dec;
    b->peer = (sae_peer){&b->peer_m, &b->c, "world", 1, w->scale};
    b->r = (sae_measure){.size = sizeof b->r, .m = &b->m, .c = &b->c, .spec = "world",
                         .peer = b->spec.metric->needs & SAE_MNEED_PEER ? &b->peer : NULL,
                         .opt = sae_opts_base(b->spec.opts), .truth = &b->truth,
                         .label = world_labels, .labels = LABELS, .scale = w->scale,
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

/* Show rows [first, first + B) and as many tokens of the splice; answers what the metric does. */
static inline int bench_try(bench *b, void *state, world *w, int64_t first, int64_t B, int dense)
{
    static sparse code, truth, other;
    sae_code flat = {.B = B, .n = N, .nnz = B * N, .cap = B * N, .dense = 1,
                     .val = w->z + first * N};
    sae_code other_flat = flat;
    other_flat.val = w->peer_z + first * N;
    sae_eval_peer peer = {w->peer_xhat + first * D,
                          dense ? &other_flat : compress(&other, w->peer_z + first * N, B, N)};
    head_pass here = {world_lm(w), B, w->x + first * D, w->next + first};
    sae_insert insert = {B, VOCAB, w->self, w->self, w->next + first,
                         w->logprob + first * VOCAB, &here, head_insert};
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
                  .tok = w->tok + first, .label = w->label + first * LABELS, .truth = &t,
                  .splice = &splice, .row0 = (uint64_t)first,
                  .insert = &insert, .peer = &peer};
    return b->spec.metric->batch(&b->r, state, &e);
}

static inline void bench_show(bench *b, void *state, world *w, int64_t first, int64_t B, int dense)
{
    ck_assert_ok(bench_try(b, state, w, first, B, dense), b->err);
}

/* The end of a pass: SAE_AGAIN while the metric wants another. */
static inline int bench_pass(bench *b, void *state, results *out)
{
    b->r.sink = out;
    int rc = b->spec.metric->end(&b->r, state);
    ck_assert_ok(rc, b->err);
    if (rc == SAE_AGAIN)
        ck_assert_int_lt(++b->passes, sae_metric_passes(b->spec.metric, b->r.opt));
    return rc;
}

/* The end of the only pass. */
static inline void bench_end(bench *b, void *state, results *out)
{
    memset(out, 0, sizeof *out);
    ck_assert_int_eq(bench_pass(b, state, out), SAE_OK);
    sae_free(state);
}

/* The metric over rows [0, w->rows) in batches of `cut`. */
static inline void measure(world *w, const char *metric, int64_t cut, int dense, results *out)
{
    bench b;
    bench_open(&b, w, metric);
    void *state = bench_begin(&b);
    memset(out, 0, sizeof *out);
    do {
        for (int64_t r = 0; r < w->rows; r += cut)
            bench_show(&b, state, w, r, w->rows - r < cut ? w->rows - r : cut, dense);
    } while (bench_pass(&b, state, out) == SAE_AGAIN);
    sae_free(state);
    bench_close(&b);
}

static inline void bench_show_all(bench *b, void *state, world *w, int64_t first, int64_t last,
                                  int64_t cut)
{
    for (int64_t r = first; r < last; r += cut)
        bench_show(b, state, w, r, last - r < cut ? last - r : cut, 0);
}

/* A metric of two passes; merged: the second one in two halves that are merged. */
static inline void measure_twice(world *w, const char *metric, int64_t cut, int merged,
                                 results *out)
{
    bench b;
    bench_open(&b, w, metric);
    void *state = bench_begin(&b);
    size_t bytes = b.spec.metric->state_size(&b.r);
    bench_show_all(&b, state, w, 0, w->rows, cut);
    ck_assert_int_eq(b.spec.metric->end(&b.r, state), SAE_AGAIN);
    void *half = sae_alloc(bytes);
    ck_assert_ptr_nonnull(half);
    memcpy(half, state, bytes);
    bench_show_all(&b, state, w, 0, merged ? 101 : w->rows, cut);
    if (merged) {
        bench_show_all(&b, half, w, 101, w->rows, cut);
        ck_assert_ok(b.spec.metric->merge(&b.r, state, half), b.err);
    }
    sae_free(half);
    bench_end(&b, state, out);
    bench_close(&b);
}

/* The same in batches of any size, and merged up to the rounding of sums of terms below 100. */
static inline void check_two_passes(world *w, const char *metric)
{
    static results whole, cut;
    measure_twice(w, metric, w->rows, 0, &whole);
    for (int64_t i = 1; i < 10; i += 4) {
        measure_twice(w, metric, i, 0, &cut);
        ck_assert(!memcmp(&whole, &cut, sizeof whole));
    }
    measure_twice(w, metric, 7, 1, &cut);
    ck_assert_int_eq(whole.rows, cut.rows);
    for (int i = 0; i < whole.rows; i++)
        ck_assert_double_eq_tol(whole.row[i].value, cut.row[i].value, ROWS * 100 * 0x1p-52);
}

#endif
